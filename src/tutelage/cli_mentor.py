"""The command ``tutelage mentor``: fit, show, export."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy.typing as npt
from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from . import curricula
from .curricula import CurriculumFunction
from .data.columns import write_columns
from .display import console
from .errors import ConfigError, unknown
from .importing import import_function
from .mentors import Dump, FitReport, Mentor, Rows, Settings, describe, fit_curriculum, fit_rows, grid, save_mentor
from .mentors.network import Form, Time
from .recipes.mentor_files import dump_of_run, find_mentor

mentor_app = App(name="mentor", help="Learned curricula: fit one, look at it, take it elsewhere.")

WRITTEN: dict[str, CurriculumFunction] = {
    f.__name__: f
    for f in (
        curricula.uniform,
        curricula.self_paced,
        curricula.spcl_linear,
        curricula.spcl_2015,
        curricula.hard,
        curricula.focal,
        curricula.predefined,
    )
}

_FROM_LABELS = {"dump", "updates"}
"""What the origin of a mentor that learned from labels holds."""

_out = console()


@mentor_app.command
def fit(
    source: str,
    /,
    *,
    out: Path,
    seed: int = 0,
    form: Form = "gate",
    time: Time = "progress",
    recipe: Literal["ours", "published"] = "ours",
    steps: int | None = None,
    percentile: Annotated[float | None, Parameter(name="--percentile")] = None,
    pooled: bool = False,
    burn_in: int | None = None,
    fixed_time: bool | None = None,
    binary: bool | None = None,
    drop_impossible: bool = False,
) -> None:
    """Teach a mentor a written curriculum, or which given labels are wrong.

    Parameters
    ----------
    source
        uniform, self_paced, spcl_linear, spcl_2015, hard, focal, predefined; your own curriculum as
        package.module:function (loss, threshold, progress) -> weights; a dump of losses with trusted labels (CSV,
        Parquet, or lines of: id percent noisy clean loss); or the folder of a run of mentornet.
    out
        The file to write, .safetensors.
    seed
        Of the initialisation, the order and the held-out part; of a run: which of its seeds.
    form
        Network: gate (as published) or mlp.
    time
        What the network sees of time: progress, or frozen random codes (as published).
    recipe
        How a curriculum is fitted: ours, or published (Adam 0.1, batches of 32, 30,000 steps).
    steps
        Steps of Adam, instead of the recipe's (dumps: 2000).
    percentile
        Dumps: take the threshold as this percentile of the losses of each percent of training, in (0, 1).
    pooled
        Dumps: over the whole dump instead, as the published code does.
    burn_in
        Percent of training with all weights 1; default: 18 for dumps, 0 for curricula.
    fixed_time
        Stop the mentor's clock at the end of the burn-in; default: yes for dumps, no for curricula.
    binary
        Curricula: whether all weights are 0 or 1; default: yes for uniform, self_paced and hard.
    drop_impossible
        Curricula: leave out losses below their difference to the threshold, which cannot occur.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: a mentor file ends in .safetensors.")
    kind: dict[str, Any] = {"seed": seed, "form": form, "time": time}
    if source in WRITTEN or ":" in source:
        v = WRITTEN.get(source) or import_function("curriculum", source)
        options = {"recipe": recipe, "steps": steps, "binary": binary, "drop_impossible": drop_impossible}
        network, report = fit_curriculum(v, **kind, **options)  # type: ignore[arg-type]
        settings = _settings(0.7, burn_in or 0, fixed_time or False, {"curriculum": source}, report)
    else:
        dump = _dump(source, seed)
        rows = dump.rows(percentile, pooled=pooled)
        network, report = fit_rows(rows, steps=2000 if steps is None else steps, **kind)
        origin = {"source": dump.source, "dump": dump.fingerprint()}
        fixed = True if fixed_time is None else fixed_time
        settings = _settings(percentile or 0.5, 18 if burn_in is None else burn_in, fixed, origin, report)
    mentor = Mentor(network, settings)
    save_mentor(mentor, out)
    _describe({str(out): mentor})


@mentor_app.command
def show(
    *sources: Annotated[str, Parameter(name="sources")],
    out: Path | None = None,
    bound: float | None = None,
    percents: str | None = None,
    threshold: float = 0.5,
    seed: int | None = None,
) -> None:
    """Draw curricula: surfaces over training, an animation, a page, the numbers; several side by side.

    Parameters
    ----------
    sources
        Mentor files; folders of runs of mentornet; self_paced, spcl_linear, hard, focal, predefined (the mentors that
        come along); written curricula as tutelage.curricula:NAME, or your own as package.module:function.
    out
        Folder for the pictures; default: drawings/ and the names.
    bound
        Losses up to this are drawn, and differences to the threshold up to it on both sides; default: 15 if a mentor
        learned from labels is among them, else 5.
    percents
        Percents of training to draw, such as 0,18,50,99.
    threshold
        Of the line that occurs.
    seed
        Of a run: whose mentor.
    """
    from .report.drawing import PERCENTS, draw

    if not sources:
        raise ConfigError("mentor show needs at least one mentor; such as: tutelage mentor show predefined")
    titles = [_title(source) for source in sources]
    found: dict[str, CurriculumFunction] = {
        source if titles.count(title) > 1 else title: _curriculum(source, seed)
        for title, source in zip(titles, sources)
    }
    mentors = {name: v for name, v in found.items() if isinstance(v, Mentor)}
    if bound is None:
        bound = 15.0 if any(_FROM_LABELS & m.settings.origin.keys() for m in mentors.values()) else 5.0
    folder = out or Path("drawings") / "-".join(titles)
    files = draw(found, folder, bound=bound, percents=_percents(percents) or PERCENTS, threshold=threshold)
    if mentors:
        _describe(mentors)
    page = next(file for file in files if file.suffix == ".html")
    _out.print(f"{len(files)} files in {folder}; open {page}", soft_wrap=True)


@mentor_app.command
def export(source: str, target: Path, /, *, seed: int | None = None, dump: bool = False) -> None:
    """Take a mentor, its numbers, or the losses it was learned from, out of a run or a file.

    Parameters
    ----------
    source
        A mentor file, the folder of a run of mentornet, or the name of a mentor that comes along.
    target
        .safetensors: the mentor; .csv or .parquet: its weight on the grid of losses (0 to 29), differences to the
        threshold (-5 to 4.9) and percents of training. With --dump also .txt, the published form.
    seed
        Of a run: whose mentor.
    dump
        Of a run: the losses of the trusted rows during plain training instead.
    """
    if dump:
        dump_of_run(Path(source), seed).write(target)
    else:
        mentor = find_mentor(source, seed=seed)
        match target.suffix:
            case ".safetensors":
                save_mentor(mentor, target)
            case ".csv" | ".parquet":
                write_columns(_columns(grid(mentor)), target)
            case suffix:
                raise ConfigError(unknown("kind of file", suffix or str(target), (".safetensors", ".csv", ".parquet")))
    _out.print(f"written: {target}", soft_wrap=True)


def _settings(percentile: float, burn_in: int, fixed_time: bool, origin: dict[str, Any], report: FitReport) -> Settings:
    return Settings(percentile=percentile, burn_in=burn_in, fixed_time=fixed_time, origin=report.origin(**origin))


def _dump(source: str, seed: int) -> Dump:
    path = Path(source)
    if path.is_dir():
        return dump_of_run(path, seed)
    if not path.exists():
        raise ConfigError(f"{unknown('curriculum', source, WRITTEN)} Or a dump, a run folder, package.module:function.")
    return Dump.read(path)


def _curriculum(source: str, seed: int | None) -> CurriculumFunction:
    return import_function("curriculum", source) if ":" in source else find_mentor(source, seed=seed)


def _title(source: str) -> str:
    return source.rpartition(":")[2] if ":" in source else Path(source).name.removesuffix(".safetensors")


def _percents(text: str | None) -> tuple[int, ...]:
    try:
        return () if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f'--percents is "{text}"; give whole numbers in 0..99, such as 0,18,50,99.') from None


def _describe(mentors: dict[str, Mentor]) -> None:
    """Print what the mentors are, side by side."""
    facts = {name: describe(mentor) for name, mentor in mentors.items()}
    table = Table(box=SIMPLE_HEAD)
    table.add_column("")
    for name in facts:
        table.add_column(name, overflow="fold")
    for line in dict.fromkeys(line for each in facts.values() for line in each):
        table.add_row(line, *(each.get(line, "-") for each in facts.values()))
    _out.print(table)


def _columns(rows: Rows) -> dict[str, npt.NDArray[Any]]:
    names = {"percent": rows.percent, "loss": rows.loss, "difference": rows.difference, "weight": rows.target}
    return {name: values.numpy() for name, values in names.items()}
