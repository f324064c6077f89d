"""The sections of the report; each is None where the run has nothing to show in it."""

import json
from collections.abc import Iterable, Mapping, Sequence

from . import bands, plots, setting, tables
from .canvas import Look
from .gallery import Suspect, gallery, suspects
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Floats, Run, Trajectory
from .surface import loss_edges, surface

Looks = Mapping[str, Look]

ONE_SEED = "One seed only: the values have no intervals, and small differences mean nothing."
_TABLE_CLASSES = 20
"""With more classes the table starts closed."""
_MOST_CLASSES = 100
_OPTIMISTIC = (
    "* Optimistic: the test examples themselves pick this epoch. It is for reference; nothing is chosen by it."
)
_SELECTED = (
    "† At the epoch with the best accuracy on the validation rows. These are training data for teachers that learn "
    "from them, so that their own number there is no estimate, and what it picks no free choice."
)
_VERDICTS = (("better", "beaten by"), ("tie", "tied with"), ("worse", "better than"))
"""What an arm is to a baseline, and what the baseline is to the arm."""


def head(run: Run) -> Markup:
    """Title, the setting in a paragraph, the facts."""
    return setting.head(run, setting.sentences(run), setting.fact_rows(run))


def outcome(run: Run, looks: Looks) -> Markup:
    """The table of results, and accuracy as dots."""
    summaries = {arm: m["accuracy"] for arm in run.arms if "accuracy" in (m := run.part("arms")[arm])}
    parts = [interval_note(run)]
    if summaries:
        means = ", ".join(f"{arm} {100 * s['mean']:.1f} %" for arm, s in summaries.items())
        parts.append(picture(plots.accuracy_dots(summaries, looks), f"Test accuracy: {means}.", "wide"))
    parts.append(tables.results(run, looks))
    if any("best_epoch_accuracy" in metrics for metrics in run.part("arms").values()):
        parts.append(paragraph(_OPTIMISTIC, class_="quiet"))
    if any("validation_selected_accuracy" in metrics for metrics in run.part("arms").values()):
        parts.append(paragraph(_SELECTED, class_="quiet"))
    parts += about(run)
    return section("Results", *parts)


def comparison(run: Run, looks: Looks) -> Markup | None:
    """Each arm against each baseline."""
    if not run.result.get("comparisons"):
        return None
    note = paragraph(
        "Each cell is the arm's value minus the baseline's, seed by seed: mean ± 95 % confidence interval.",
        "Where the interval contains 0 the two are called a tie, whoever won more seeds;",
        "each comparison stands for itself, without correction for their number.",
    )
    return section("Against the baselines", note, _in_short(run), tables.differences(run, looks))


def learning(run: Run, looks: Looks) -> Markup | None:
    """Test accuracy over epochs."""
    series = {arm: t.series("accuracy") for arm, t in run.trajectories.items()}
    curves = {arm: values for arm, values in series.items() if values.shape[1]}
    if not curves:
        return None
    rest = []
    if run.knows_truth:
        rest.append("A curve that rises and then falls is the mark of a student that learns wrong labels by heart.")
    if without := [arm for arm in run.arms if arm not in curves]:
        rest.append(f"Without a curve of their own, because they pick an epoch of another arm: {_listed(without)}.")
    note = paragraph(
        "Accuracy on the test examples after each epoch, the mean over seeds; the first epochs may leave the frame.",
        bands.describe(len(run.seeds)),
        *rest,
    )
    ends = ", ".join(f"{arm} {100 * float(v[:, -1].mean()):.1f} %" for arm, v in curves.items())
    alt = f"Learning curves; after the last epoch: {ends}."
    return section("Learning curves", note, picture(plots.learning_curves(curves, looks), alt, "wide"))


def curriculum(run: Run, looks: Looks) -> Markup | None:
    """Weight against loss over training, for each arm that weighs."""
    arms = run.weighing
    if not arms:
        return None
    edges = loss_edges([t.arrays["loss"] for t in arms.values()])
    note = paragraph(
        "Height and colour are the mean weight that the teacher gave to examples of a certain loss",
        "(logarithmic, easy examples on the left) at a certain time of training.",
        "A cliff means that an example counts or does not, a ramp that it counts by degrees,",
        "a ragged edge that the threshold moves from batch to batch;",
        "grey and blank means that no example had such a loss then.",
        "On the surface the end of training is in front, on the map on top.",
        f"Shown is {_first_seed(run)}; all arms share the axes.",
    )
    blocks = []
    for arm, trajectory in arms.items():
        values = surface(trajectory.arrays["weight"], trajectory.arrays["loss"], edges)
        alt = f"{arm}: mean weight by loss and percent of training"
        pair = [picture(plots.weight_map(values), f"{alt}, as a heat map.")]
        if len(values.weight) > 1:
            pair.insert(0, picture(plots.weight_surface(values), f"{alt}, as a surface."))
        blocks.append(element("div", _arm_heading(arm, looks), element("div", *pair, class_="pair"), class_="block"))
    return section("The curriculum made plain", note, *blocks)


def separation(run: Run, looks: Looks) -> Markup | None:
    """Weights of right against wrong labels over training, for each arm that weighs."""
    pictures = []
    for arm, trajectory in run.weighing.items() if run.knows_truth else ():
        right, wrong = trajectory.series("weight_right"), trajectory.series("weight_wrong")
        if not right.shape[1] or not wrong.shape[1]:
            continue
        alt = f"{arm}: mean weight of right and of wrong labels over training, {_ends(right, wrong)}."
        pictures.append(
            element("div", _arm_heading(arm, looks), picture(plots.weight_curves(right, wrong), alt), class_="block")
        )
    if not pictures:
        return None
    note = paragraph(
        "A teacher that recognises wrong labels keeps the two lines apart, right ones above.",
        bands.describe(len(run.seeds)),
    )
    shown = element("div", *pictures, class_="multiples")
    return section("Do right labels count more?", note, tables.right_and_wrong(), shown)


def distrust(run: Run, looks: Looks) -> Markup | None:
    """The images with the least weight."""
    classes = run.part("data").get("classes", [])
    blocks = []
    for arm, trajectory in run.weighing.items():
        if images := suspects(trajectory, classes, truth=run.knows_truth):
            line = [_wrong_ones(trajectory, images)] if run.knows_truth else []
            blocks.append(element("div", _arm_heading(arm, looks), *line, gallery(images)))
    if not blocks:
        return None
    note = paragraph(
        "The training images with the smallest mean weight after burn-in, the least trusted first,",
        f"of {_first_seed(run)}.",
        "A teacher that recognises wrong labels shows wrong labels here; one that prefers hard examples",
        "shows easy ones.",
    )
    return section("What each teacher trusts least", note, *blocks)


def _wrong_ones(trajectory: Trajectory, images: Sequence[Suspect]) -> Markup:
    wrong = sum(suspect.kind == "wrong" for suspect in images)
    share = 100 * float((trajectory.arrays["given"] != trajectory.arrays["true"]).mean())
    return paragraph(
        f"{wrong} of these {len(images)} labels are wrong; of all labels, {share:.1f} % are.", class_="quiet"
    )


def classes(run: Run, looks: Looks) -> Markup | None:
    """Accuracy of each class."""
    known = run.part("per_class")
    names: Sequence[str] = run.part("data").get("classes") or list(next(iter(known.values()), {}))
    if not known or not 1 < len(names) <= _MOST_CLASSES:
        return None
    note = paragraph("Test accuracy in percent, the mean over seeds; the darker a cell, the more errors.")
    table = tables.per_class(run, looks, names)
    if len(names) > _TABLE_CLASSES:
        table = element("details", element("summary", text(f"All {len(names)} classes")), table)
    return section("Accuracy by class", note, table)


def options(run: Run) -> Markup:
    """All options of the run, closed at first."""
    shown = json.dumps(run.part("config"), indent=1, sort_keys=True, ensure_ascii=False)
    summary = element("summary", text("All options of this run"))
    return section("Options", element("details", summary, element("pre", text(shown))))


def _arm_heading(arm: str, looks: Looks) -> Markup:
    return element("h3", tables.swatch(looks[arm]), text(arm))


def interval_note(run: Run) -> Markup:
    """Say what the intervals and the dots are."""
    seeds = len(run.seeds)
    if seeds < 2:
        return paragraph(ONE_SEED)
    return paragraph(
        f"Mean over {seeds} seeds ± half the width of the 95 % confidence interval of that mean;",
        "the small dots are single seeds, the best arm is on top.",
        "Compare arms by their paired differences below, not by whether these intervals overlap.",
    )


def about(run: Run) -> list[Markup]:
    """Return a line about each arm."""
    lines = run.part("about")
    return told_about({arm: str(lines[arm]) for arm in run.arms if lines.get(arm)})


def told_about(lines: Mapping[str, str]) -> list[Markup]:
    """Return a line about each name; nothing if there is none."""
    items = [element("li", element("b", text(name)), text(f": {line}")) for name, line in lines.items()]
    return [element("ul", *items, class_="about")] if items else []


def _in_short(run: Run) -> Markup:
    """Say of each baseline by whom it is beaten, and whom it beats."""
    items = []
    found = run.result["comparisons"]
    for base, metric in dict.fromkeys((c["b"], c["metric"]) for c in found):
        here = {c["a"]: tables.verdict(c) for c in found if (c["b"], c["metric"]) == (base, metric)}
        groups = [
            f"{words} {_listed(arms)}"
            for verdict, words in _VERDICTS
            if (arms := [arm for arm in run.arms if here.get(arm) == verdict])
        ]
        told = "; ".join(groups) or "one seed only, so no verdict"
        items.append(element("li", element("b", text(base)), text(f" in {metric.replace('_', ' ')}: {told}.")))
    return element("ul", *items)


def _ends(right: Floats, wrong: Floats) -> str:
    return f"at the end {float(right[:, -1].mean()):.2f} and {float(wrong[:, -1].mean()):.2f}"


def _first_seed(run: Run) -> str:
    return f"seed {run.seeds[0]}" if run.seeds else "the first seed"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
