"""Data distillation: how good the labels are that networks gave, and what they say of several views of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checkpoint import load_checkpoint
from . import distilled_plots, tables
from .canvas import Look
from .gallery import encode, is_image, to_bytes
from .markup import Markup, data_uri, element, paragraph, picture, section, text
from .reading import Array, Floats, Run

FILE = "views.safetensors"
Looks = Mapping[str, Look]


def parts(run: Run, looks: Looks) -> list[Markup | None]:
    """Return the sections, none if the run is another one."""
    return [labels(run, looks), views(run)] if run.part("data_distillation") else []


def labels(run: Run, looks: Looks) -> Markup | None:
    """How many labels there are, how many are right, and how sure they are."""
    facts = run.part("data_distillation")
    arms = {arm: m for arm in run.arms if "label_accuracy" in (m := run.part("arms")[arm])}
    if not arms:
        return None
    config = run.part("config")
    share = 100 * facts["labelled_a_batch"] / config["batch_size"] if config.get("batch_size") else None
    note = paragraph(
        f"The labels that networks gave to {facts['other_rows']:,} examples without one, against the right ones, which",
        "no network was told." + ("" if share is None else f" In each batch of {config['batch_size']} are"),
        *([] if share is None else [f"{facts['labelled_a_batch']} labelled examples ({share:.0f} %)."]),
    )
    head = [
        tables.heading("Arm"), tables.heading("Right labels", "%"), tables.heading("Used", "% of the examples"),
        tables.heading("Confidence", "mean, %"),
    ]  # fmt: skip
    rows = []
    for arm, metrics in arms.items():
        names = ("label_accuracy", "kept_share", "label_confidence")
        digits = (2, 1, 1)
        cells = [tables.cell(tables.mean_and_interval(metrics[n], 100.0, d)) for n, d in zip(names, digits)]
        rows.append(element("tr", tables.arm_name(arm, looks), *cells))
    blocks = [block for arm in arms if (block := _histogram(run, arm, looks)) is not None]
    return section("The labels", note, tables.table(head, rows), element("div", *blocks, class_="multiples"))


def _histogram(run: Run, arm: str, looks: Looks) -> Markup | None:
    right, wrong = (_counts(run, arm, f"{kind}_by_confidence") for kind in ("right", "wrong"))
    if right is None or wrong is None:
        return None
    sure = f"{right[9] + wrong[9]:.0f} labels with confidence above .9, {wrong[9]:.0f} of them wrong"
    alt = f"{arm}: labels by confidence; of {right.sum() + wrong.sum():.0f}, {wrong.sum():.0f} are wrong; {sure}."
    drawn = picture(distilled_plots.confidences(right.tolist(), wrong.tolist()), alt)
    return element("div", element("h3", tables.swatch(looks[arm]), text(arm)), drawn, class_="block")


def _counts(run: Run, arm: str, name: str) -> Floats | None:
    ends = run.trajectories[arm].ends if arm in run.trajectories else ()
    rows = [end[name] for end in ends if name in end]
    return np.mean(np.array(rows, dtype=np.float64), axis=0) if rows else None


def views(run: Run) -> Markup | None:
    """Views of some images, with what the labeller says of each, and of all together."""
    if not (run.path / FILE).is_file():
        return None
    tensors, facts = load_checkpoint(run.path / FILE)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    if not is_image(arrays["view.0"]):
        return None
    classes = run.part("data").get("classes", [])
    named = dict(enumerate(classes))
    note = paragraph(
        f"What the first labeller of seed {facts['seed']} says of the views of an example, its most probable class and",
        f"how probable it is: of {facts['among']:,} examples without a label those whose views it disagrees on most.",
        "The mean of the probabilities is the label. Orange: not the right class, which nobody told it.",
    )
    head = [tables.heading("Example", "right class"), *(tables.heading(name) for name in facts["views"])]
    head.append(tables.heading("Mean", "the label"))
    pictures = [to_bytes(arrays[f"view.{k}"]) for k in range(len(facts["views"]))]
    rows = [_row(i, arrays, pictures, facts["views"], named) for i in range(len(arrays["index"]))]
    return section("Views", note, tables.table(head, rows))


def _row(
    i: int, arrays: Mapping[str, Array], pictures: Sequence[Array], names: Sequence[str], named: Mapping[int, str]
) -> Markup:
    label = int(arrays["label"][i])
    cells = [
        _cell(arrays["p"][i, k], label, named, shown[i], name) for k, (shown, name) in enumerate(zip(pictures, names))
    ]
    first = element("th", text(named.get(label, label)), _under(f"row {arrays['index'][i]}"), scope="row")
    return element("tr", first, *cells, _cell(arrays["mean"][i], label, named))


def _cell(p: Floats, label: int, named: Mapping[int, str], pixels: Array | None = None, view: str = "") -> Markup:
    says = int(p.argmax())
    said = f"{named.get(says, says)} {p[says]:.2f}"
    image: list[Markup] = []
    if pixels is not None:
        address = data_uri("image/png", encode(pixels))
        image.append(element("img", src=address, alt=f"view {view}: {said}", class_="thumb"))
    attributes: dict[str, Any] = {} if says == label else {"class_": "verdict-worse"}
    return element("td", *image, element("b", text(said)) if pixels is None else text(said), **attributes)


def _under(value: str) -> Markup:
    return element("span", text(value), class_="under")
