"""Researchers who are logged in: a random id in a cookie, and the rest in memory, so that a restart ends them all."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request, Response

from ..tokens import Key, random_id
from .security import LOCAL_HOSTS

_HOURS = 12
_MOST = 100


@dataclass
class Login:
    """A browser that a researcher uses.

    Attributes:
        name: of the login, for the tokens of its forms; it opens nothing.
        until: time by the clock of the logins.
        notices: what the next page tells of what was done.
    """

    name: str
    until: float
    notices: list[str] = field(default_factory=list)


class Logins:
    """The logins of an experiment. Safe to share among threads.

    Args:
        key: of the experiment.
        experiment: its id, for the name of the cookie.
        clock: gives seconds.
    """

    def __init__(self, key: Key, experiment: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._cookie, self._clock = key, f"researcher_{experiment[:8]}", clock
        self._logins: dict[str, Login] = {}
        self._lock = threading.Lock()

    def begin(self, request: Request, response: Response) -> None:
        """Log a browser in, for 12 hours."""
        secret, now = random_id(), self._clock()
        with self._lock:
            kept = [(name, login) for name, login in self._logins.items() if login.until > now]
            self._logins = dict(kept[-_MOST:])
            self._logins[_hash(secret)] = Login(random_id(), now + _HOURS * 3600)
        self._write(request, response, secret, _HOURS * 3600)

    def of(self, request: Request) -> Login | None:
        """Return the login of a browser; None: it has none, or it is over."""
        with self._lock:
            login = self._logins.get(_hash(request.cookies.get(self._cookie, "")))
        return login if login is not None and login.until > self._clock() else None

    def end(self, request: Request, response: Response) -> None:
        """Log a browser out."""
        with self._lock:
            self._logins.pop(_hash(request.cookies.get(self._cookie, "")), None)
        self._write(request, response, "", 0)

    def token(self, login: Login) -> str:
        """Return the token of the forms of a login."""
        return self._key.form(login.name, 0, "researcher")

    def is_token(self, login: Login, token: str) -> bool:
        """Whether a form is ours."""
        return self._key.check_form(token, login.name, 0, "researcher")

    def _write(self, request: Request, response: Response, value: str, age: int) -> None:
        secure = "" if request.url.hostname in LOCAL_HOSTS else "; Secure"
        told = f"{self._cookie}={value}; HttpOnly; Max-Age={age}; Path=/admin; SameSite=Strict{secure}"
        response.headers.append("Set-Cookie", told)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
