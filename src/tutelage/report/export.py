"""Suspected label errors as a file to work with: a table, or a page with pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..checkpoint import load_checkpoint
from ..data.columns import write_columns
from ..data.records.atomic import AtomicWriter
from ..errors import ConfigError, unknown
from .document import document
from .gallery import encode, is_image, to_bytes
from .label_errors import PLAIN, SUSPECTED, arms_with_lists, read_list, whose
from .markup import Markup, data_uri, element, paragraph, text
from .reading import Array, Run, read
from .tables import cell, heading, number, table

_SUFFIXES = (".csv", ".parquet", ".html")
_MOST = 200
"""Rows of a page, which is for looking; so many images are kept at most."""
_NUMBERS = {
    "weight_mean": ("Weight", "mean after burn-in"),
    "weight_last": ("Weight", "last"),
    "loss_mean": ("Loss", "mean"),
    "early_loss_mean": ("Loss", "mean in the first tenth"),
}


def export_suspects(run_folder: Path, target: Path, arm: str | None = None) -> Path:
    """Write an arm's list of suspected label errors to a file, the most suspicious row first.

    Args:
        run_folder: of a finished run at one rate of label noise.
        target: ``.csv`` or ``.parquet``: the columns ``index, given, suggested, weight_mean, weight_last, loss_mean,
            early_loss_mean, rank, seen``, and ``true`` where the run injected the errors itself; empty cells for what
            is not known. ``.html``: a page by itself, of the first 200 rows, with class names and small pictures.
        arm: whose list; ``uniform``: that of plain training, by early loss. None: mentornet-dd, else the first arm
            in the order of the run, the oracle aside.

    Returns:
        the file.

    Raises:
        ConfigError: for another suffix, an arm without a list, or a run over several rates of noise.
        CheckpointError: if it is no run folder, damaged, or not finished.
        DataError: if the file cannot be written.
    """
    if target.suffix not in _SUFFIXES:
        raise ConfigError(f"{target}: suspected label errors are written as {', '.join(_SUFFIXES)}.")
    run = read(run_folder)
    if levels := run.part("levels"):
        folders = ", ".join(str(run_folder / level["folder"]) for level in levels.values())
        raise ConfigError(f"{run_folder} has several rates of label noise; give the folder of one: {folders}.")
    arm = _chosen(run, arm)
    columns = read_list(run, arm)
    if target.suffix == ".html":
        AtomicWriter(target, document(f"suspected label errors, {arm}", *_body(run, arm, columns))).close()
    else:
        write_columns(columns, target)
    return target


def _chosen(run: Run, arm: str | None) -> str:
    known = arms_with_lists(run)
    if arm is None:
        weighing = [name for name in known if name not in (PLAIN, "oracle")]
        candidates = ["mentornet-dd", *weighing, PLAIN]
        arm = next((name for name in candidates if name in known), None)
    if arm is None:
        raise ConfigError(f"{run.path} has no list of suspected label errors; run it with an arm that weighs examples.")
    if arm not in known:
        raise ConfigError(f"{run.path}: {unknown('list of suspected label errors', arm, known)}")
    return arm


def _body(run: Run, arm: str, columns: Mapping[str, Array]) -> list[Markup]:
    rows, shown = len(columns["index"]), min(_MOST, len(columns["index"]))
    pictures = _pictures(run, arm)
    by = "by the loss in the first tenth of plain training" if arm == PLAIN else "by the mean weight after burn-in"
    told = [
        f"The training rows that are most likely to have a wrong label, {by}, {whose(run)};",
        f"the first {shown:,} of {rows:,}." if shown < rows else f"all {rows:,}.",
        "The suggested class is the one that the student answered most over training.",
    ]
    if arm != PLAIN:
        count = int((columns["weight_mean"] < SUSPECTED).sum())
        told.append(f"Rows with a weight below {SUSPECTED:g} are suspected: {count:,}.")
    if "true" in columns:
        told.append("This run put the wrong labels in itself, so the true ones are known.")
    head = [
        heading("Rank"),
        *([heading("Image")] if pictures else []),
        heading("Row", "index"),
        heading("Label", class_="words"),
    ]
    head += [heading(*_NUMBERS[name]) for name in _NUMBERS] + [heading("Drawn", "times")]
    classes: Sequence[str] = run.part("data").get("classes", [])
    lines = [_row(i, columns, classes, pictures, mark=arm != PLAIN) for i in range(shown)]
    title = element("h1", text(f"Suspected label errors in {run.part('data').get('name', 'the data')}"))
    kicker = element("p", text(f"tutelage, {arm}"), class_="kicker")
    return [kicker, title, paragraph(*told), table(head, lines)]


def _pictures(run: Run, arm: str) -> dict[int, bytes]:
    """Return the images that the run kept, by row."""
    path = run.path / "suspects" / f"{arm}.safetensors"
    if not path.is_file():
        return {}
    tensors, _ = load_checkpoint(path)
    images = tensors["images"].numpy()
    return dict(zip(tensors["index"].tolist(), map(encode, to_bytes(images)))) if is_image(images) else {}


def _row(
    i: int, columns: Mapping[str, Array], classes: Sequence[str], pictures: Mapping[int, bytes], *, mark: bool
) -> Markup:
    names = dict(enumerate(classes))
    label = {name: names.get(int(columns[name][i]), str(columns[name][i])) for name in _LABELS if name in columns}
    suspected = mark and bool(columns["weight_mean"][i] < SUSPECTED)
    index = int(columns["index"][i])
    cells = [_picture(pictures.get(index), label["given"])] if pictures else []
    cells += [cell(str(index)), _label(label, suspected=suspected)]
    cells += [cell(_number(float(columns[name][i]))) for name in _NUMBERS] + [cell(str(columns["seen"][i]))]
    kind = {"class_": "suspected"} if suspected else {}
    return element("tr", element("th", text(columns["rank"][i]), scope="row"), *cells, **kind)


_LABELS = ("given", "suggested", "true")


def _label(label: Mapping[str, str], *, suspected: bool) -> Markup:
    change = f"{label['given']} → {label['suggested']}" if label["given"] != label["suggested"] else label["given"]
    under = [element("b", text("suspected"))] if suspected else []
    under += [text(f"{' · ' if suspected else ''}truly {label['true']}")] if "true" in label else []
    return element("td", text(change), element("span", *under, class_="under"), class_="words")


def _picture(image: bytes | None, given: str) -> Markup:
    if image is None:
        return cell("")
    return element(
        "td", element("img", src=data_uri("image/png", image), alt=f"image with the label {given}", class_="thumb")
    )


def _number(value: float) -> str:
    return number(value, 3) if value == value else "–"
