"""Chains with teacher assistants: who taught whom, what the planner proposed, and whether it paid."""

from collections.abc import Mapping, Sequence
from typing import Any

from . import distilled_plots, tables
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run

_WORDS = {
    "paid": "the chain paid",
    "harmful": "the chain did harm",
    "not shown": "no difference shown",
    "numbers only": "too few seeds for a verdict",
}


def parts(run: Run) -> list[Markup | None]:
    """Return the sections, none if the run has no chains."""
    facts = run.part("assistant")
    return [chains(facts), planner(facts)] if facts.get("paths") else []


def chains(facts: Mapping[str, Any]) -> Markup:
    """The chains as a picture, and every hop with what it rests on."""
    teacher, paths = facts["teacher"], facts["paths"]
    boxes = [[_box(teacher), *(_box(hop) for hop in path["hops"])] for path in paths]
    alts = "; ".join(f"{_line(teacher, path)}: {_verdict(path)}" for path in paths)
    drawn = distilled_plots.chain(boxes, [_verdict(path, lines=True) for path in paths])
    note = paragraph(
        "Every network is taught by the one on its left; the teacher, on the left, by labels. In each box the name,",
        "the number of parameters, and test accuracy after its own hop, the mean over seeds. The verdict is of the",
        "last student less the one that the teacher taught directly, over the same seeds and batches. Seconds are",
        "wall-clock time, for all seeds together.",
    )
    tabled = [
        element("div", element("h3", text(_names(teacher, path["path"], path["hops"][-1]))), _hops(facts, path))
        for path in paths
    ]
    return section("Chains", note, picture(drawn, f"Chains: {alts}.", "wide"), *tabled)


def _box(network: Mapping[str, Any]) -> tuple[str, str, str]:
    accuracy = network["accuracy"]
    return network["name"], f"{network['parameters']:,}", f"{100 * accuracy['mean']:.2f} %"


def _names(teacher: Mapping[str, Any], between: Sequence[str], student: Mapping[str, Any]) -> str:
    return " → ".join([teacher["name"], *between, student["name"]])


def _line(teacher: Mapping[str, Any], path: Mapping[str, Any]) -> str:
    shown = (f"{n['name']} {100 * n['accuracy']['mean']:.2f} %" for n in (teacher, *path["hops"]))
    return " → ".join(shown)


def _verdict(path: Mapping[str, Any], *, lines: bool = False) -> str:
    if path.get("difference") is None:
        return "direct"
    return f"{_points(path, lines=lines)}: {path['verdict']}"


def _points(path: Mapping[str, Any], *, lines: bool = False) -> str:
    found = path["difference"]
    half = "" if found["ci95"] is None else f" ± {tables.number(100 * found['ci95'], 2)}"
    return f"{tables.signed(100 * found['mean_difference'], 2)}{half}{chr(10) if lines else ' '}points"


def _hops(facts: Mapping[str, Any], path: Mapping[str, Any]) -> Markup:
    head = [
        tables.heading("Network"), tables.heading("Parameters"), tables.heading("Alone", "validation, %"),
        tables.heading("After its hop", "test, %"), tables.heading("Gap r", "mean"),
        tables.heading("Taught with", "T; labels, teacher"), tables.heading("Seconds", "wall"),
        tables.heading("Its teacher", "fingerprint, first seed"), tables.heading("Itself", "fingerprint, first seed"),
    ]  # fmt: skip
    teacher = facts["teacher"]
    first = [
        f"{teacher['parameters']:,}", _percent(teacher.get("alone")),
        tables.mean_and_interval(teacher["accuracy"], 100.0, 2), "–", "labels", f"{teacher['wall_seconds']:.0f}", "–",
        _print(teacher),
    ]  # fmt: skip
    rows = [_row(teacher["name"], first)]
    for hop in path["hops"]:
        gaps = [gap for gap in hop.get("gap", []) if gap is not None]
        values = [
            f"{hop['parameters']:,}",
            _percent(hop.get("alone")),
            tables.mean_and_interval(hop["accuracy"], 100.0, 2),
            f"{sum(gaps) / len(gaps):.3f}" if gaps else "–",
            f"T {hop['temperature']:g}; {hop['ce_weight']:g}, {hop['kd_weight']:g}",
            f"{hop['wall_seconds']:.0f}",
            _first(hop["teacher_fingerprints"]),
            _print(hop),
        ]
        rows.append(_row(hop["name"], values))
    whole = ["", "", "", "", "", f"{path['wall_seconds']:.0f}", "", ""]
    return tables.table(head, [*rows, _row("In all", whole)])


def _row(name: str, values: Sequence[str]) -> Markup:
    return element("tr", element("th", text(name), scope="row"), *(tables.cell(value) for value in values))


def _percent(value: float | None) -> str:
    return "–" if value is None else tables.number(100 * value, 2)


def _print(network: Mapping[str, Any]) -> str:
    return _first(network["fingerprints"])


def _first(prints: Sequence[str]) -> str:
    return prints[0][:8] if prints else "–"


def planner(facts: Mapping[str, Any]) -> Markup | None:
    """What the planner measured and proposed, beside what became of it."""
    teacher, candidates, groups = facts["teacher"], facts.get("candidates", []), facts.get("proposed")
    if not groups or not candidates:
        return None
    student = candidates[-1]
    measured = [n for n in (teacher, *candidates) if n.get("alone") is not None]
    ends = teacher.get("alone"), student.get("alone")
    middle = None if ends[0] is None or ends[1] is None else (ends[0] + ends[1]) / 2
    proposed = _proposed(groups, teacher, student)
    note = paragraph(
        "Candidates and student were trained alone, in short runs by labels, and measured on validation examples, as",
        "was the teacher after all of its training.",
        _rule(facts),
        _basis(facts["planned"]["basis"], sum(len(group["seeds"]) for group in groups)),
        f"The planner proposes {proposed}.",
        _became(facts["planned"]),
    )
    alt = ", ".join(f"{n['name']} {100 * n['alone']:.2f} % with {n['parameters']:,} parameters" for n in measured)
    image = []
    if len(measured) > 1:
        drawn = distilled_plots.ladder(measured, [name for group in groups for name in group["path"]], middle)
        image.append(picture(drawn, f"Candidates alone: {alt}. Proposed: {proposed}.", "wide"))
    return section("The planner", note, *image)


def _proposed(groups: Sequence[Mapping[str, Any]], teacher: Mapping[str, Any], student: Mapping[str, Any]) -> str:
    """The paths that are proposed, and where they differ, for how many seeds each."""
    names = [_names(teacher, group["path"], student) for group in groups]
    if len(groups) == 1:
        return names[0]
    seeds = [len(group["seeds"]) for group in groups]
    *most, last = (f"{path} for {n} seed{'s' * (n != 1)}" for path, n in zip(names, seeds))
    return f"{', '.join(most)} and {last}"


def _basis(basis: str, seeds: int) -> str:
    """Whose validation examples choose."""
    if seeds == 1:
        return ""
    if basis == "all seeds":
        return "The means over all seeds decide, as none of their validation examples is a test example."
    return (
        "Each seed goes by its own validation examples, since those of other seeds may be its test examples; shown are "
        "the means."
    )


def _became(planned: Mapping[str, Any]) -> str:
    """What following the planner comes to."""
    if planned["difference"] is None:
        return ""
    whose = "the student of each seed's own path" if planned["arm"] == "planned" else "its student"
    return f"Trained, {whose} is {_points(planned)} from the direct one: {_WORDS[planned['verdict']]}."


def _rule(facts: Mapping[str, Any]) -> str:
    match facts["plan"]:
        case "one":
            return "The assistant is the one whose accuracy is nearest to half-way between teacher and student."
        case "bisect":
            points = 100 * facts["min_gap"]
            return (
                "The widest interval of accuracies is halved by the candidate nearest to its middle, while it is wider "
                f"than {points:g} point{'s' * (points != 1)} and there are fewer than {facts['max_hops']} assistants."
            )
        case "all":
            return "All chains were trained, and the one that is best on validation examples is proposed."
    return ""
