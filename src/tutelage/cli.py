"""The command ``tutelage``: run, resume, report, list."""

import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import cyclopts
from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.markup import escape

from . import __version__
from .allocator import keep_freed_memory
from .cli_answers import answers
from .cli_classroom_people import classroom_app
from .cli_distilled import distilled_app
from .cli_make import make
from .cli_mentor import mentor_app
from .display import Bars, catalogue_table, conclusions, console, described, result_table, silent_masks
from .errors import CheckpointError, ConfigError, TutelageError, unknown
from .recipes import (
    RECIPES,
    curricula,
    data_distillation,
    dataset_distillation,
    deep_interactions,
    distillation,
    explain,
    iterative,
    maxgrad,
    mentornet,
    pseudo_labels,
)
from .runs import RunFolder
from .teachers import CATALOGUE, SELECTING

app = App(
    name="tutelage",
    version=__version__,
    help="Machine teaching: teachers that choose what a student learns from.",
    suppress_keyboard_interrupt=False,
)
run_app = App(name="run", help="Run a recipe: compare teachers over paired seeds, and write a report.")
app.command(run_app)
app.command(mentor_app)
app.command(distilled_app)
app.command(answers)
app.command(classroom_app)
app.command(make)

_out = console()

Out = Annotated[Path | None, Parameter(help="Folder for the run; default: the next free runs/RECIPE-NNN.")]
ConfigFile = Annotated[Path | None, Parameter(help="TOML file with options; the command line overrides it.")]


def _add(name: str, recipe: ModuleType) -> None:
    """Make a recipe a command, with its options as they are described in its dataclass."""

    standard = recipe.Config()

    def run(*, config: ConfigFile = None, out: Out = None, options: Any = standard) -> None:
        folder = out or RunFolder.free(name)
        with _way_back(folder), Bars(_out) as bars:
            result = recipe.run(options, folder, bars)
        _show(result, folder)

    run.__annotations__["options"] = Annotated[recipe.Config, Parameter(name="*")]
    run_app.command(run, name=name, help=recipe.HELP)


for _name, _recipe in RECIPES.items():
    _add(_name, _recipe)


@app.command
def resume(folder: Path, /) -> None:
    """Go on with a run that was stopped.

    Parameters
    ----------
    folder
        The run folder.
    """
    opened = RunFolder.open(folder)
    if opened.recipe not in RECIPES:
        raise CheckpointError(f"{folder}: {unknown('recipe', opened.recipe, RECIPES)}")
    recipe = RECIPES[opened.recipe]
    with _way_back(folder), Bars(_out) as bars:
        result = recipe.resume(opened, bars)
    _show(result, folder)


@app.command
def report(folder: Path, /) -> None:
    """Draw the report of a finished run again.

    Parameters
    ----------
    folder
        The run folder.
    """
    from .report import write

    RunFolder.open(folder)
    _out.print(f"report: {write(folder)}", soft_wrap=True)


@app.command
def suspects(folder: Path, target: Path, /, *, arm: str | None = None) -> None:
    """Write a list of suspected label errors of a finished run.

    Parameters
    ----------
    folder
        The run folder; of a run over several rates of noise one of the folders within.
    target
        The file: .csv, .parquet, or .html with pictures.
    arm
        Whose list; uniform: that of plain training, by early loss. Default: mentornet-dd, or the first that weighs.
    """
    from .report import export_suspects

    _out.print(f"suspects: {export_suspects(folder, target, arm)}", soft_wrap=True)


@app.command(name="list")
def list_all() -> None:
    """List teachers and recipes, with their papers."""
    teachers = {name: described(factory) for name, factory in CATALOGUE.items()}
    _out.print(catalogue_table("Teachers", teachers))
    selecting = {name: described(factory) for name, factory in SELECTING.items()}
    _out.print(catalogue_table("Teachers that select from a pool", selecting))
    arms = {**deep_interactions.ARMS, **mentornet.ARMS}
    others = {name: (text, "") for name, (_, text) in arms.items() if name not in CATALOGUE}
    others |= {name: (arm.about, "") for name, arm in pseudo_labels.ARMS.items() if name not in others}
    others |= {name: (text, "") for name, text in distillation.ABOUT.items() if name not in others}
    others |= {name: (arm.about, "") for name, arm in data_distillation.ARMS.items() if name not in others}
    others |= {name: (text, "") for name, text in dataset_distillation.ABOUT.items() if name not in others}
    for recipe in (maxgrad, explain, iterative):
        others |= {name: (text, "") for name, text in recipe.ABOUT.items() if name not in others}
    _out.print(catalogue_table("Further arms of the recipes", others))
    _out.print(catalogue_table("Recipes", {name: described(module) for name, module in RECIPES.items()}))


class _Stopped(TutelageError):
    """The user stopped a run."""


@contextmanager
def _way_back(folder: Path) -> Iterator[None]:
    """Say how to go on if a run is stopped or cannot write."""
    try:
        yield
    except (KeyboardInterrupt, CheckpointError) as error:
        on = f"go on with: tutelage resume {folder}" if (folder / "config.json").is_file() else "nothing was written"
        if isinstance(error, KeyboardInterrupt):
            raise _Stopped(f"stopped; {on}") from None
        raise CheckpointError(
            f"{error} Then {on}" if "resume" in on and "resume" not in str(error) else str(error)
        ) from error


def _show(result: dict[str, Any], folder: Path) -> None:
    from .report import export_suspects, write

    _out.print(result_table(result))
    for line in conclusions(result):
        _out.print(line, soft_wrap=True)
    for line in silent_masks(result):
        _out.print(line, style="yellow", soft_wrap=True, highlight=False)
    if result["config"].get("export") and "noise" in result:
        written = export_suspects(folder, Path(result["config"]["export"]))
        _out.print(f"suspects: {written}", soft_wrap=True)
    _out.print(f"result: {folder / 'result.json'}", soft_wrap=True)
    _out.print(f"report: {write(folder)}", soft_wrap=True)


def _file_options(arguments: Sequence[str]) -> list[Any]:
    """Return what ``--config FILE`` adds to the options, for cyclopts.

    Raises:
        ConfigError: if the file cannot be read.
    """
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != "--config":
            continue
        if not equals:
            value = arguments[position + 1] if position + 1 < len(arguments) else ""
        try:
            options = tomllib.loads(Path(value).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--config {value}: cannot be read ({error}).") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"--config {value}: not valid TOML: {error}.") from error
        recipe = next((RECIPES[a].Config for a in arguments if a in RECIPES), curricula.Config)
        known = {f.replace("_", "-") for f in recipe.__dataclass_fields__}
        for key in options:
            if key.replace("_", "-") not in known:
                raise ConfigError(f"--config {value}: {unknown('option', key, sorted(known))}")
        return [cyclopts.config.Dict(options, use_commands_as_keys=False, source=value)]
    return []


def _fail(message: str) -> int:
    shown = "".join(letter if letter.isprintable() else " " for letter in message)  # a file may have put it there
    line = escape(" ".join(shown.split()))
    Console(stderr=True, emoji=False).print(f"[bold red]error:[/bold red] {line}", soft_wrap=True, highlight=False)
    return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, or 2 with one line on standard error for a user's error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    keep_freed_memory()
    try:
        app.config = _file_options(given)
        app(given, exit_on_error=False, print_error=False, result_action="return_none")
    except _Stopped as error:
        _fail(str(error))
        return 130
    except TutelageError as error:
        return _fail(str(error))
    except CycloptsError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped")
        return 130
    finally:
        app.config = []
    return 0
