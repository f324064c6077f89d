"""The command ``tutelage distilled``: show, train, check."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from .cli_files import check_new, printable
from .display import console
from .distilled import DistilledSet, named_rates
from .distilled.artefact import Artefact
from .distilled.files import load
from .errors import DataError
from .evaluation import Summary, accuracy
from .nets import save_weights
from .recipes.dataset_distillation.checking import Check, Rows, check, domain_of, robustness
from .recipes.dataset_distillation.rows import Domain
from .recipes.options import pick_device
from .rules import SGD
from .student import Student

distilled_app = App(name="distilled", help="Distilled sets: look at one, train a network by it, check what it claims.")

_RATES = {
    "overall": "all classes",
    "a_accuracy": "the attacked class, as itself",
    "attack": "taken for the other",
    "others": "other classes",
}

_out = console()

Options = Annotated[Rows, Parameter(name="*")]
_STATED = Rows()
"""The rows that the file names."""


@distilled_app.command
def show(file: Path, /, *, out: Path | None = None) -> None:
    """Say what a distilled set is, and draw its images with labels and step sizes; of many images the first.

    Parameters
    ----------
    file
        The set, .safetensors.
    out
        The picture, .png, which must not exist; default: drawings/ and the name of the file, drawn anew.
    """
    from .report.sheet import MOST_IMAGES, sheet

    if out is not None:
        check_new("--out", out, (".png",), "the picture of a distilled set ends in")
    artefact = load(file)
    names, target = _names(artefact), out or Path("drawings") / f"{file.stem}.png"
    made = _drawable(artefact.distilled, MOST_IMAGES)
    if out is None:
        _make_folder(target.parent)
    sheet(made.images, made.labels, made.step_sizes, names, target)
    _facts(_told(artefact))
    if artefact.attack is not None:
        a, b = (names[c] for c in artefact.attack)
        _warn(f"made to do harm: networks that it teaches take {a} for {b}.")
    drawn, count = (len(of.images.flatten(0, 1)) for of in (made, artefact.distilled))
    few = "" if drawn == count else f" (the first {drawn:,} of {count:,})"
    _out.print(f"images: {target}{few}", soft_wrap=True, markup=False)


@distilled_app.command
def train(
    file: Path,
    /,
    *,
    net: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    rows: Options = _STATED,
) -> None:
    """Train a network by a distilled set, and test it.

    Parameters
    ----------
    file
        The set, .safetensors.
    net
        Network: a name of the library, or your own as package.module:function; default: that of the file. A function
        that only the file names is not run.
    seed
        Of initial weights and free training; of stored initial weights, which.
    out
        The file for the network's weights, .safetensors, which must not exist; with it, and without --data or another
        option of the rows, nothing is tested.
    device
        cpu, cuda, cuda:1, or auto: cuda if there is one.
    """
    if out is not None:
        check_new("--out", out, (".safetensors",), "a file of weights ends in")
    artefact = load(file)
    domain = None if out is not None and rows == _STATED else domain_of(artefact, rows, str(pick_device(device)))
    trained = artefact.train(net, seed, device=str(pick_device(device)))
    name = net or artefact.architecture.called
    facts: dict[str, Any] = {"net": name, "shape": list(artefact.inputs.shape), "classes": list(artefact.classes)}
    facts |= {"seed": seed, "distilled": file.name, "objective": artefact.told_objective}
    if domain is not None:
        rows_of_test = domain.test_x.to(next(trained.parameters()))
        facts["accuracy"] = accuracy(Student(trained, SGD(1.0)).predict(rows_of_test), domain.test_y)
        told = f"{name}, seed {seed}: {_percent(facts['accuracy'])} % of {len(domain.test_y):,} test rows"
        _out.print(told, soft_wrap=True, markup=False)
    if out is not None:
        save_weights(trained, out, facts)
        _out.print(f"network: {out}", soft_wrap=True, markup=False)


@distilled_app.command(name="check")
def check_file(
    file: Path,
    /,
    *,
    net: str | None = None,
    nets: int | None = None,
    seed: int | None = None,
    robust: Annotated[bool, Parameter(name="--robustness", negative="")] = False,
    device: str = "auto",
    rows: Options = _STATED,
) -> None:
    """Teach networks by a distilled set, and compare their accuracy with the one that the file states.

    Parameters
    ----------
    file
        The set, .safetensors.
    net
        Network, see train; default: that of the file.
    nets
        How many networks; default: as many as the file states an accuracy of.
    seed
        Draw other networks than those that the file states an accuracy of.
    robust
        Judge the set with other step sizes, orders, roundings, networks and inits as well, which takes minutes.
    device
        cpu, cuda, cuda:1, or auto: cuda if there is one.
    """
    artefact = load(file)
    domain = domain_of(artefact, rows, str(pick_device(device)))
    found = check(artefact, domain, nets, net=net, seed=seed)
    _out.print(_accuracies(found, domain, artefact))
    style = "red" if found.agrees is False else ""
    _out.print(f"{found.verdict}.", style=style, soft_wrap=True, highlight=False, markup=False)
    if found.attack is not None:
        _out.print(_attacked(found, artefact))
    if robust:
        _out.print(_robustness_table(robustness(artefact, domain, nets, net=net, seed=seed)))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be made ({error.strerror}): give --out.") from None


def _drawable(made: DistilledSet, most: int) -> DistilledSet:
    """A set of so many images as a sheet takes: whole batches, or of one that is larger the first images."""
    batches, rows = made.images.shape[:2]
    fit, few = max(1, min(batches, most // rows)), min(rows, most)
    labels = made.labels[:fit, :few] if made.labels.ndim > 1 else made.labels[:few]
    sizes = made.step_sizes.view(made.applications // batches, batches)[:, :fit].flatten()
    return DistilledSet(made.images[:fit, :few], labels, sizes, made.epochs)


def _names(artefact: Artefact) -> list[str]:
    """The classes, as a terminal can show them, whoever named them."""
    return [printable(name) for name in artefact.classes]


def _told(artefact: Artefact) -> dict[str, str]:
    """What a set is, in words."""
    made, start, inputs = artefact.distilled, artefact.start, artefact.inputs
    batches, rows = made.images.shape[:2]
    shape, count = "×".join(map(str, inputs.shape)), len(artefact.classes)
    facts = {
        "objective": artefact.told_objective,
        "method": artefact.method,
        "images": f"{batches * rows} of {shape}: {batches} batch{'es' * (batches != 1)} of {rows}",
        "classes": f"{count}: {', '.join(_names(artefact)[:12])}{', ...' * (count > 12)}",
        "labels": "soft" if made.soft else "class ids",
        "order": f"{made.applications} steps: {made.epochs} epoch{'s' * (made.epochs != 1)}"
        if made.applications
        else "-",
        "step sizes": named_rates(made.step_sizes.tolist()) if made.applications else "-",
        "network": artefact.architecture.called,
        "initial weights": _start(artefact),
        "inputs": f"0 to {inputs.scale:g}, as 0 to 1; {inputs.told}",
        "augmentation": ", ".join(artefact.augmentation) or "-",
        "free training": "-" if artefact.free_training is None else artefact.free_training.told,
        "accuracy": _stated(artefact),
        "seed": str(artefact.seed),
        "made with": ", ".join(f"{name} {version}" for name, version in artefact.versions.items()),
    }
    if artefact.truncate is not None:
        facts["hypergradient"] = f"of the last {artefact.truncate} steps only"
    if start.seed != artefact.seed:
        facts["seed"] += f"; of the networks that judged it {start.seed}"
    return facts


def _start(artefact: Artefact) -> str:
    start = artefact.start
    kind = start.scheme if start.gain == 1 else f"{start.scheme}, gain {start.gain:g}"
    stored = f", {start.stored} stored" if start.stored else ""
    return f"{start.regime}{stored}" if start.trained else f"{start.regime}: {kind}{stored}"


def _stated(artefact: Artefact) -> str:
    evaluation = artefact.evaluation
    if evaluation is None:
        return "not stated"
    data, count = evaluation.data.get("data", "data that is not named"), len(evaluation.values)
    return (
        f"{_summary(evaluation.summary)} % over {count} network{'s' * (count != 1)}, {evaluation.rows:,} test rows of "
        f"{Path(str(data)).name}"
    )


def _facts(facts: Mapping[str, str]) -> None:
    table = Table(box=SIMPLE_HEAD, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, escape(value))
    _out.print(table)


def _warn(line: str) -> None:
    _out.print(line, style="yellow", soft_wrap=True, highlight=False, markup=False)


def _accuracies(found: Check, domain: Domain, artefact: Artefact) -> Table:
    count = len(found.after["values"])
    table = _table(
        f"{domain.source.name}: {len(domain.test_y):,} test rows, {count} network{'s' * (count != 1)}",
        ("accuracy, %", "mean", "std", "95 % interval", "least", "most"),
    )
    _add(table, "before", found.before)
    _add(table, "after", found.after)
    if found.stated is not None:
        _add(table, "stated in the file", found.stated)
    return table


def _add(table: Table, name: str, value: Summary) -> None:
    half = "-" if value["ci95"] is None else f"±{100 * value['ci95']:.1f}"
    spread = [_percent(v) for v in (min(value["values"]), max(value["values"]))]
    table.add_row(name, _percent(value["mean"]), _percent(value["std"]), half, *spread)


def _attacked(found: Check, artefact: Artefact) -> Table:
    assert found.attack is not None
    assert artefact.attack is not None
    a, b = (_names(artefact)[c] for c in artefact.attack)
    table = _table(f"attack: {a} taken for {b}", ("share of test rows, %", "before", "after"))
    for name, words in _RATES.items():
        table.add_row(words, *(_percent(found.attack[when][name]) for when in ("before", "after")))
    return table


def _robustness_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("what the set bears", ("change", "mean", "std", "drop", "note"))
    for row in rows:
        drop = "-" if row["drop"] is None else f"{100 * row['drop']:.1f}"
        table.add_row(escape(row["name"]), _percent(row["mean"]), _percent(row["std"]), drop, escape(row["note"]))
    return table


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=escape(title), box=SIMPLE_HEAD)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 or head == "note" else "right")
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _summary(value: Summary) -> str:
    return _percent(value["mean"]) + ("" if value["std"] is None else f" ± {_percent(value['std'])}")
