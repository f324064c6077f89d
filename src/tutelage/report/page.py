"""The report as a file: all sections in one page that asks nothing of the network."""

from pathlib import Path

from ..checkpoint import write_atomically
from . import (
    diagnosis,
    distilled,
    explained,
    few_labels,
    iterative,
    label_errors,
    levels,
    mentors,
    published,
    sections,
    selected,
    synthesised,
)
from .canvas import looks
from .document import document
from .markup import Markup
from .reading import Run, read
from .setting import title


def write(path: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run; the same folder gives the same bytes.

    A run over several rates or kinds of label noise gets one page over all, and a report in the folder of each.

    Args:
        path: the run folder.

    Returns:
        the file.

    Raises:
        CheckpointError: if it is no run folder, damaged, not finished, or cannot be written.
        DataError: if one of its lists or mentors is damaged, or a table cannot be written.
    """
    run = read(path)
    for level in run.part("levels").values():
        write(path / level["folder"])
    few_labels.write_pictures(run, path)
    synthesised.write_files(run, path)
    body = levels.body(run) if run.part("levels") else _body(run)
    target = path / "report.html"
    write_atomically(target, document(title(run), *body, plays=synthesised.is_one(run)))
    return target


def _body(run: Run) -> list[Markup]:
    if synthesised.is_one(run):
        return [part for part in synthesised.body(run) if part is not None]
    if explained.is_one(run):
        return [part for part in explained.body(run) if part is not None]
    if selected.is_one(run):
        return [part for part in selected.body(run) if part is not None]
    if iterative.is_one(run):
        return [part for part in iterative.body(run) if part is not None]
    look = looks(run.arms)
    if few_labels.is_one(run):
        return [part for part in few_labels.body(run, look) if part is not None]
    if distilled.is_one(run):
        return [part for part in distilled.body(run, look) if part is not None]
    parts = [
        sections.head(run),
        diagnosis.warnings(run),
        sections.outcome(run, look),
        diagnosis.conclusion(run),
        published.beside_ours(run, look),
        sections.comparison(run, look),
        sections.learning(run, look),
        diagnosis.inside(run, look),
        mentors.learned(run),
        sections.curriculum(run, look),
        sections.separation(run, look),
        sections.distrust(run, look),
        label_errors.suspected(run, look),
        sections.classes(run, look),
        sections.options(run),
    ]
    return [part for part in parts if part is not None]
