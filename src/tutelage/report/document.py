"""A page of HTML that asks nothing of the network."""

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

from .markup import Markup, element, text

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Makes browsers refuse any request and any script, should one ever slip in."""


def document(title: str, *body: Markup, plays: bool = False) -> bytes:
    """Return a whole page; ``title`` is plain text; ``plays``: with the script of pictures that play, and no other."""
    here = files(__package__)
    styles = [here.joinpath("style.css")]
    policy, last = _POLICY, []
    if plays:
        script = here.joinpath("drawing", "player.js").read_text(encoding="utf-8")
        styles.append(here.joinpath("drawing", "player.css"))
        policy += f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        last = [element("script", Markup(script))]
    page = element("html", head(title, policy, styles), element("body", element("main", *body), *last), lang="en")
    return f"<!DOCTYPE html>\n{page}\n".encode()


def head(title: str, policy: str, styles: Iterable[Traversable]) -> Markup:
    """Return the head of a page: its title as plain text, what browsers may do for it, and its styles."""
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light"),
        element("title", text(f"tutelage: {title}")),
        *(element("style", Markup(style.read_text(encoding="utf-8"))) for style in styles),
    )
