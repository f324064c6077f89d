"""A browser without a screen: pages as their forms, images and links; cookies and redirects as browsers handle them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx

_VOID_FIELDS = ("submit", "button", "image", "reset")


@dataclass
class Form:
    """A form of a page.

    Attributes:
        action: path that it is sent to.
        fields: what is sent if nothing is filled in, by name.
        choices: values of radio buttons, by name, in their order.
        ticks: values of checkboxes that are not ticked, by name.
    """

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    ticks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A page, or what else came back.

    Attributes:
        status: of HTTP, of the last response after redirects.
        path: where it is.
        forms: by the path that they are sent to.
        images: addresses of its images.
        links: addresses that it leads to.
        text: of the response.
        seconds: from the first request to the last response.
        asked: status of the first response, before redirects.
    """

    status: int
    path: str
    forms: Mapping[str, Form]
    images: tuple[str, ...]
    links: tuple[str, ...]
    text: str
    seconds: float
    asked: int


class Browser:
    """One person's browser.

    Args:
        client: with the address of the app; its cookies are the browser's.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str) -> Seen:
        """Open an address, and follow where it leads."""
        return await self._follow(self.client.build_request("GET", path, headers={"Sec-Fetch-Site": "none"}))

    async def send(self, form: Form, filled: Mapping[str, str] | None = None, *, site: str = "same-origin") -> Seen:
        """Send a form, and follow where it leads.

        Args:
            form: of a page.
            filled: what was filled in; goes before what the page says.
            site: of the page that sends it, as browsers tell.
        """
        data = {**form.fields, **(filled or {})}
        return await self._follow(
            self.client.build_request("POST", form.action, data=data, headers={"Sec-Fetch-Site": site})
        )

    async def images(self, page: Seen) -> list[int]:
        """Load the images of a page, and return their statuses."""
        own = [address for address in page.images if not address.startswith("/static")]
        return [(await self.get(address)).status for address in own]

    async def _follow(self, request: httpx.Request) -> Seen:
        begun = time.perf_counter()
        response = await self.client.send(request, follow_redirects=True)
        seconds = time.perf_counter() - begun
        asked = response.history[0].status_code if response.history else response.status_code
        parsed = _Parser()
        html = response.headers.get("content-type", "").startswith("text/html")
        parsed.feed(response.text if html else "")
        return Seen(
            response.status_code,
            response.url.path,
            parsed.forms,
            tuple(parsed.images),
            tuple(parsed.links),
            response.text if html else "",
            seconds,
            asked,
        )


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, Form] = {}
        self.images: list[str] = []
        self.links: list[str] = []
        self._form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(urlsplit(told.get("action", "")).path)
            self.forms[self._form.action] = self._form
        elif tag == "img":
            self.images.append(told.get("src", ""))
        elif tag == "a":
            self.links.append(told.get("href", ""))
        elif tag in ("input", "textarea", "select", "button") and self._form is not None and told.get("name"):
            self._field(self._form, tag, told, checked="checked" in told)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    @staticmethod
    def _field(form: Form, tag: str, told: Mapping[str, str], *, checked: bool) -> None:
        name, kind, value = told["name"], told.get("type", "text"), told.get("value", "")
        if kind == "radio" or (tag == "button" and value):
            form.choices.setdefault(name, []).append(value)
        elif kind == "checkbox" and not checked:
            form.ticks[name] = value or "on"
        elif kind not in _VOID_FIELDS:
            form.fields[name] = value
