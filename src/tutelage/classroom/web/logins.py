"""Researchers who are logged in: a random id in a cookie, and the rest in memory, so that a restart ends them all.

Another password ends them too: whoever sets one wants nobody to go on who came in by the old one.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request, Response

from ..tokens import Key, random_id
from .security import LOCAL_HOSTS, RateLimit

_OF_ADDRESS, _OF_ALL, _MINUTE = 5, 30, 60.0
"""Passwords that are looked at within a minute."""
_HOURS = 12
_MOST = 100


@dataclass
class Login:
    """A browser that a researcher uses.

    Attributes:
        name: of the login, for the tokens of its forms; it opens nothing.
        until: time by the clock of the logins.
        password: what was stored of the password when it began.
        notices: what the next page tells of what was done.
    """

    name: str
    until: float
    password: str | None = None
    notices: list[str] = field(default_factory=list)


class Logins:
    """The logins of an experiment. Safe to share among threads.

    Args:
        key: of the experiment.
        experiment: its id, for the name of the cookie.
        password: gives what is stored of the password.
        clock: gives seconds.
    """

    def __init__(
        self,
        key: Key,
        experiment: str,
        password: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key, self._cookie, self._password, self._clock = key, f"researcher_{experiment[:8]}", password, clock
        self._logins: dict[str, Login] = {}
        self._lock = threading.Lock()

    def begin(self, request: Request, response: Response) -> None:
        """Log a browser in, for 12 hours; an earlier login of it ends."""
        secret, now = random_id(), self._clock()
        begun = Login(random_id(), now + _HOURS * 3600, self._password())
        with self._lock:
            self._logins.pop(self._of(request), None)
            kept = [(name, login) for name, login in self._logins.items() if login.until > now]
            self._logins = dict(kept[-_MOST:])
            self._logins[_hash(secret)] = begun
        self._write(request, response, secret, _HOURS * 3600)

    def of(self, request: Request) -> Login | None:
        """Return the login of a browser; None: it has none, or it is over."""
        with self._lock:
            login = self._logins.get(self._of(request))
        goes_on = login is not None and login.until > self._clock() and login.password == self._password()
        return login if goes_on else None

    def end(self, request: Request, response: Response) -> None:
        """Log a browser out."""
        with self._lock:
            self._logins.pop(self._of(request), None)
        self._write(request, response, "", 0)

    def token(self, login: Login) -> str:
        """Return the token of the forms of a login."""
        return self._key.form(login.name, 0, "researcher")

    def is_token(self, login: Login, token: str) -> bool:
        """Whether a form is ours."""
        return self._key.check_form(token, login.name, 0, "researcher")

    def _of(self, request: Request) -> str:
        return _hash(request.cookies.get(self._cookie, ""))

    def _write(self, request: Request, response: Response, value: str, age: int) -> None:
        secure = "" if request.url.hostname in LOCAL_HOSTS else "; Secure"
        told = f"{self._cookie}={value}; HttpOnly; Max-Age={age}; Path=/admin; SameSite=Strict{secure}"
        response.headers.append("Set-Cookie", told)


class Tries:
    """Who may try a password: an address 5 times a minute, and all of them 30 times, as one person can have many.

    Safe to share among threads.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.of_address = RateLimit(_OF_ADDRESS, _MINUTE, clock)
        self._all: deque[float] = deque(maxlen=_OF_ALL)
        self._clock, self._lock = clock, threading.Lock()

    def admits(self, request: Request) -> bool:
        """Count a try, and return whether it may be looked at."""
        if not self.of_address.admits(request):
            return False
        with self._lock:
            now = self._clock()
            full = len(self._all) == _OF_ALL and self._all[0] > now - _MINUTE
            if not full:
                self._all.append(now)
            return not full


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
