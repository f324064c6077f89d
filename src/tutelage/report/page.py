"""The report as a file: all sections in one page that asks nothing of the network."""

from importlib.resources import files
from pathlib import Path

from ..checkpoint import write_atomically
from . import sections
from .canvas import looks
from .markup import Markup, element, text
from .reading import Run, read
from .setting import title

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Makes browsers refuse any request and any script, should one ever slip in."""


def write(path: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run; the same folder gives the same bytes.

    Args:
        path: the run folder.

    Returns:
        the file.

    Raises:
        CheckpointError: if it is no run folder, damaged, not finished, or cannot be written.
    """
    page = _page(read(path))
    target = path / "report.html"
    write_atomically(target, f"<!DOCTYPE html>\n{page}\n".encode())
    return target


def _page(run: Run) -> Markup:
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light"),
        element("title", text(f"tutelage: {title(run)}")),
        element("style", Markup(style)),
    )
    return element("html", head, element("body", element("main", *_body(run))), lang="en")


def _body(run: Run) -> list[Markup]:
    look = looks(run.arms)
    parts = [
        sections.head(run),
        sections.outcome(run, look),
        sections.comparison(run, look),
        sections.learning(run, look),
        sections.curriculum(run, look),
        sections.separation(run, look),
        sections.distrust(run, look),
        sections.classes(run, look),
        sections.options(run),
    ]
    return [part for part in parts if part is not None]
