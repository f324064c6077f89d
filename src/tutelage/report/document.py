"""A page of HTML that asks nothing of the network."""

from importlib.resources import files

from .markup import Markup, element, text

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Makes browsers refuse any request and any script, should one ever slip in."""


def document(title: str, *body: Markup) -> bytes:
    """Return a whole page; ``title`` is plain text."""
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light"),
        element("title", text(f"tutelage: {title}")),
        element("style", Markup(style)),
    )
    page = element("html", head, element("body", element("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n".encode()
