"""HTML as a type of its own, so that the type checker finds text that was not escaped."""

import base64
import html
from typing import NewType

Markup = NewType("Markup", str)
"""Text that is HTML already: made by the functions of this module only."""

_VOID = ("img", "meta")


def text(value: object) -> Markup:
    """Return a value as text, escaped."""
    return Markup(html.escape(str(value)))


def element(name: str, /, *children: Markup, **attributes: str) -> Markup:
    """Return an element; ``class_`` and ``http_equiv`` stand for the attributes that Python cannot spell."""
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    end = "" if name in _VOID else f"</{name}>"
    return Markup(f"<{name}{pairs}>{''.join(children)}{end}")


def paragraph(*sentences: str, class_: str = "") -> Markup:
    """Return sentences of plain text as a paragraph; a percent sign stays on the line of its number."""
    attributes = {"class_": class_} if class_ else {}
    return element("p", text(" ".join(sentences).replace(" %", "\N{NO-BREAK SPACE}%")), **attributes)


def section(heading: str, *parts: Markup) -> Markup:
    """Return a part of a page under its heading."""
    return element("section", element("h2", text(heading)), *parts)


def picture(address: str, alt: str, class_: str = "plot") -> Markup:
    """Return an image with words in its place."""
    return element("figure", element("img", src=address, alt=alt), class_=class_)


def data_uri(kind: str, content: bytes) -> str:
    """Return bytes as an address that needs no request; ``kind`` such as ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
