"""The command ``tutelage answers``: what people answered who were taught, arm by arm."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from .cli_files import check_new, printable
from .display import console
from .errors import ConfigError
from .human_answers import Answer, export_answers, read_answers
from .human_groups import Calibration, LogNormal, calibration, groups

_out = console()

_TABLE = ("experiment", "arm", "people", "train, %", "test, %", "std", "s.e.m.", "median")
_CALIBRATION = ("experiment", "arm", "a", "b", "std", "corr.", "ln s, train", "ln s, test")
_TEXTS = 2
"""Columns of text, before those of numbers."""


def answers(
    *folders: Path,
    without_duplicates: Annotated[bool, Parameter(negative="")] = False,
    calibrate: Annotated[bool, Parameter(name="--calibration", negative="")] = False,
    export: Path | None = None,
) -> None:
    """Show what people answered who were taught: experiments in the layout of explain_teach.

    Parameters
    ----------
    folders
        Folders with settings.json, teaching_images.json, results.json and *.strat.
    without_duplicates
        Count a session that was saved twice once.
    calibrate
        Show as well what simulated people need: ability as Beta(a, b), empty where people differ by no more than
        chance; its spread; the correlation of two answers of one person; mean and spread of the natural logarithm of
        the seconds between answers.
    export
        A file for the table of answers, a row an answer: .csv, .parquet or .json; must not exist. With
        --without-duplicates it lacks them too.
    """
    if not folders:
        raise ConfigError("tutelage answers: give the folder of an experiment, or several.")
    if export is not None:
        check_new("--export", export, (".csv", ".parquet", ".json"), "answers are written as")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = read_answers(folders)
    for warning in told:
        _warn(str(warning.message))
    kept = tuple(answer for answer in found if not (without_duplicates and answer.duplicate))
    _out.print(_groups(kept))
    _tell_duplicates(found, without_duplicates)
    if calibrate:
        _out.print(_calibrations(calibration(kept)))
    if export is not None:
        export_answers(kept, export)
        _out.print(f"answers: {export} ({len(kept):,} rows)", soft_wrap=True, markup=False)


def _groups(kept: Sequence[Answer]) -> Table:
    table = _table("right answers, mean over people", _TABLE)
    for group in groups(kept):
        numbers = (group.train, group.test, group.std, group.sem)
        median = "-" if group.median is None else f"{group.median:g}"
        table.add_row(_shown(group.experiment), _shown(group.arm), str(group.n), *map(_number, numbers), median)
    return table


def _calibrations(found: Sequence[Calibration]) -> Table:
    table = _table("calibration: ability in the test as Beta(a, b)", _CALIBRATION)
    for of in found:
        times = [_time(time) for time in (of.train_time, of.test_time)]
        if of.ability is None:
            ability = ["-"] * 4
        else:
            a, b, std, correlation = of.ability
            ability = [_number(a), _number(b), _number(std), f"{correlation:.3f}"]
        table.add_row(_shown(of.experiment), _shown(of.arm), *ability, *times)
    return table


def _tell_duplicates(found: Sequence[Answer], left_out: bool) -> None:
    sessions = {(a.experiment, a.arm, a.session) for a in found if a.duplicate}
    if sessions:
        names = ", ".join(f"{experiment} {arm}" for experiment, arm, _ in sorted(sessions))
        done = "left out" if left_out else "counted; leave them out with --without-duplicates"
        _warn(f"saved twice: {len(sessions)} session{'s' * (len(sessions) != 1)} ({names}), {done}.")


def _warn(line: str) -> None:
    _out.print(printable(line), style="yellow", soft_wrap=True, highlight=False, markup=False)


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < _TEXTS else "right")
    return table


def _shown(text: str) -> str:
    return escape(printable(text))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _time(time: LogNormal | None) -> str:
    return "-" if time is None else f"{time.mean:.2f} ± {time.std:.2f}"
