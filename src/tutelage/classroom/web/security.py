"""What keeps other sites, large bodies and guessing out, and what every response says to the browser."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

from fastapi import HTTPException, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..config import Platform
from ..tokens import is_id
from .recruitment import MTURK_FRAMES, MTURK_SUBMIT, PROLIFIC

MOST_BYTES = 64 * 1024
"""Of the body of a request."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_MOST_FIELDS = 32
_MOST_ADDRESSES = 10_000
_COOKIE_S = 30 * 24 * 3600


def headers(platform: Platform) -> Mapping[str, str]:
    """Return the headers of every response.

    Args:
        platform: MTurk shows pages in a frame; forms lead to it, and to Prolific.
    """
    frames = " ".join(MTURK_FRAMES) if platform == "mturk" else "'none'"
    forms = {"mturk": MTURK_SUBMIT, "prolific": (PROLIFIC,)}.get(platform, ())
    policy = (
        "default-src 'self'",
        "base-uri 'none'",
        "object-src 'none'",
        " ".join(("form-action 'self'", *forms)),
        f"frame-ancestors {frames}",
    )
    told = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
    return MappingProxyType(told if platform == "mturk" else {**told, "X-Frame-Options": "DENY"})


def is_same_site(given: Headers) -> bool:
    """Whether a request that may change something comes from a page of ours, or from no page at all.

    Browsers that do not send Sec-Fetch-Site are told by Origin. A program may send neither; it has no cookies of a
    person, and the token of the form is asked for in any case.
    """
    site = given.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = given.get("origin")
    if origin is None:
        return True
    try:
        host = urlsplit(origin).netloc
    except ValueError:  # a bracket that is not closed
        return False
    return host != "" and host == given.get("host")


class Guard:
    """Middleware: refuses what other sites post (403) and large bodies (413), and adds the headers.

    Args:
        app: that is guarded.
        told: headers of every response; ``Cache-Control: no-store`` is added where a response says nothing of it.
        refuse: makes the page for a status.
    """

    def __init__(self, app: ASGIApp, told: Mapping[str, str], refuse: Callable[[int], Response]) -> None:
        self._app, self._told, self._refuse = app, told, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(MutableHeaders(scope=message), self._told)
            await send(message)

        given = Headers(scope=scope)
        if scope["method"] not in SAFE_METHODS and not is_same_site(given):
            await self._refuse(403)(scope, receive, send_with_headers)
            return
        try:
            body = await _body(given, receive)
        except ClientDisconnect:
            return  # half a form must not pass for one, and nobody waits for the response
        if body is None:
            await self._refuse(413)(scope, receive, send_with_headers)
            return
        await self._app(scope, _again(body, receive), send_with_headers)


def add_headers(found: MutableHeaders, told: Mapping[str, str]) -> None:
    """Add the headers that every response has."""
    for name, value in told.items():
        found[name] = value
    found.setdefault("Cache-Control", "no-store")


async def _body(given: Headers, receive: Receive) -> bytes | None:
    """Return the body, or None if it is too large; what is announced as too large is not read.

    Raises:
        ClientDisconnect: if the browser went away before it was all there.
    """
    length = given.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= MOST_BYTES):
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives a body that was read, and then what comes after it."""
    left = [body]

    async def replay() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; of a name that comes twice the last.

    Raises:
        HTTPException: 415 for a body of another type, such as JSON sent as text; 422 for one that is no form.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415)
    try:
        text = (await request.body()).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise HTTPException(422) from None


@dataclass(frozen=True)
class Cookies:
    """Cookies that hold a random id and nothing else.

    Attributes:
        experiment: goes into the names, since a host shares its cookies among ports.
        framed: pages are in a frame of another site, where only ``SameSite=None; Partitioned`` cookies are sent.
    """

    experiment: str
    framed: bool

    def read(self, request: Request, name: str) -> str:
        """Return the id of a cookie; empty if there is none, or it is no id."""
        found = request.cookies.get(self._name(name), "")
        return found if is_id(found) else ""

    def write(self, response: Response, request: Request, name: str, value: str) -> None:
        """Set a cookie; only on this machine it may travel without TLS."""
        self._write(response, request, name, value, _COOKIE_S)

    def forget(self, response: Response, request: Request, name: str) -> None:
        """Delete a cookie."""
        self._write(response, request, name, "", 0)

    def _name(self, name: str) -> str:
        return f"{name}_{self.experiment[:8]}"

    def _write(self, response: Response, request: Request, name: str, value: str, age: int) -> None:
        site = "SameSite=None; Partitioned" if self.framed else "SameSite=Lax"
        secure = "; Secure" if self.framed or request.url.hostname not in LOCAL_HOSTS else ""
        told = f"{self._name(name)}={value}; HttpOnly; Max-Age={age}; Path=/; {site}{secure}"
        response.headers.append("Set-Cookie", told)


class RateLimit:
    """How often an address may do something; held in memory only. Safe to share among threads.

    Addresses of IPv6 count by their first 64 bits, since a household has all that follow.

    Args:
        most: times within the window.
        seconds: length of the window.
        clock: gives seconds.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def admits(self, request: Request) -> bool:
        """Count a request, and return whether its address may go on."""
        address = _network(request.client.host if request.client else "")
        with self._lock:
            now = self._clock()
            since = now - self._seconds
            if len(self._times) > _MOST_ADDRESSES:
                self._times = {who: times for who, times in self._times.items() if times[-1] > since}
            times = self._times.setdefault(address, deque(maxlen=self._most))
            full = len(times) == self._most and times[0] > since
            if not full:
                times.append(now)
            return not full


def _network(address: str) -> str:
    """Return an address, or the network of one of IPv6."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return address if known.version == 4 else str(ip_network((known.packed[:8] + bytes(8), 64)))
