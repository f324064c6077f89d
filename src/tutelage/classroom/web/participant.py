"""The participant's way through an experiment, as requests: GET changes nothing, a POST ends at the current page."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import BaseRoute, Route

from .. import service
from ..replies import Accepted, End, Entered, Question, Refused, Welcome
from ..room import Room
from ..tokens import random_id
from .pages import Pages
from .recruitment import entry, is_preview, plain_entry, prolific_address
from .security import Cookies, RateLimit, read_form
from .visits import Visits

Fields: TypeAlias = Mapping[str, str]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
SESSION, VISIT = "session", "visit"
"""Cookies: what opens the session, and the browser before there is one."""
STATUS: Mapping[str, int] = MappingProxyType(
    {"ahead": 409, "conflict": 409, "forged": 403, "invalid": 422, "missing": 503, "closed": 403, "blocked": 403}
)
"""Of HTTP, by the kind of a refusal; ``unknown`` leads to the start page."""
_KEPT = "private, max-age=3600"


@dataclass(frozen=True)
class Participant:
    """Endpoints of participants.

    Attributes:
        room: the experiment.
        pages: its pages.
        cookies: its cookies.
        visits: browsers before consent.
        entries: people who may come in from one address, a whole class at once among them.
        guesses: codes that one address may try.
    """

    room: Room
    pages: Pages
    cookies: Cookies
    visits: Visits = field(default_factory=Visits)
    entries: RateLimit = field(default_factory=lambda: RateLimit(200, 60.0))
    guesses: RateLimit = field(default_factory=lambda: RateLimit(10, 60.0))

    def routes(self) -> list[BaseRoute]:
        """Return the routes, first those of every answer.

        They are Starlette's own: those of FastAPI look for parameters that there are none of, in a third of the time
        that a request takes.
        """
        reads = (
            ("/s", self.current),
            ("/i/{token}", self.image),
            ("/", self.start),
            ("/consent", self.read_consent),
            ("/declined", self.declined),
            ("/screened-out", self.screened_out),
            ("/withdrawn", self.withdrawn),
            ("/leave", self.leave),
            ("/withdraw-by-code", self.ask_for_code),
        )
        forms = (
            ("/answer", self.answer),
            ("/next", self.advance),
            ("/consent", self.consent),
            ("/decline", self.decline),
            ("/screen-out", self.screen_out),
            ("/withdraw", self.withdraw),
            ("/restart", self.restart),
            ("/withdraw-by-code", self.withdraw_by_code),
        )
        return [
            *(Route(path, _reading(get), methods=["GET"]) for path, get in reads),
            *(Route(path, _taking(post), methods=["POST"]) for path, post in forms),
        ]

    def start(self, request: Request) -> Response:
        """Show the start page, or lead to the session that there is."""
        if is_preview(self.room.config.recruitment, request.query_params):
            return self._preview()
        if request.query_params:
            return self._enter(request)
        if not isinstance(service.page(self.room, self._bearer(request)), Refused):
            return _to("/s")
        visit = self._visit(request) or random_id()
        reply = service.welcome(self.room, self._arrival(visit))
        if isinstance(reply, Entered):
            return self._into(request, reply)
        response = self._refused(reply) if isinstance(reply, Refused) else self._welcome(reply)
        self.cookies.write(response, request, VISIT, visit)
        return response

    def read_consent(self, request: Request) -> Response:
        """Show what people agree to."""
        visit = self._visit(request)
        if not visit:
            return self._message("cookies", 400, "/")
        reply = service.welcome(self.room, self._arrival(visit))
        if isinstance(reply, Entered):
            return self._into(request, reply)
        if isinstance(reply, Refused):
            return self._refused(reply)
        return HTMLResponse(self.pages.consent(reply)) if reply.open else self._refused(Refused("closed"))

    def consent(self, request: Request, fields: Fields) -> Response:
        """Take a person in."""
        visit = self._visit(request)
        arrival = self._arrival(visit)
        if not visit:
            return _to("/")
        if arrival.source != "simulated" and not self.entries.admits(request):
            return self._message("busy", 429, "/consent")
        reply = service.consent(
            self.room,
            arrival,
            token=fields.get("token", ""),
            accepted=fields.get("accepted") == "yes",
            consent_version=fields.get("consent_version", ""),
            language=fields.get("language"),
            age_band=fields.get("age_band"),
        )
        return self._into(request, reply) if isinstance(reply, Entered) else self._refused(reply, "/consent")

    def decline(self, request: Request, fields: Fields) -> Response:
        """Count a person who does not want to take part."""
        visit = self._visit(request)
        reply = service.decline(self.room, self._arrival(visit), token=fields.get("token", ""))
        return self._gone(request, reply, "/declined")

    def screen_out(self, request: Request, fields: Fields) -> Response:
        """Count a person whose device cannot show the images."""
        visit = self._visit(request)
        reply = service.screen_out(self.room, self._arrival(visit), token=fields.get("token", ""))
        return self._gone(request, reply, "/screened-out")

    def declined(self, _request: Request) -> Response:
        """Say goodbye to people who declined."""
        return HTMLResponse(self.pages.left("declined"))

    def screened_out(self, _request: Request) -> Response:
        """Say goodbye to people whose device cannot show the images."""
        return HTMLResponse(self.pages.left("screened_out"))

    def withdrawn(self, _request: Request) -> Response:
        """Say goodbye to people who withdrew by their code."""
        return HTMLResponse(self.pages.left("withdrawn"))

    def current(self, request: Request) -> Response:
        """Show the page that the session is at."""
        page = service.page(self.room, self._bearer(request))
        if isinstance(page, Refused):
            return self._refused(page)
        missing = isinstance(page, Question) and page.image is None
        return HTMLResponse(self.pages.page(page), 503 if missing else 200)

    def leave(self, request: Request) -> Response:
        """Lead people of Prolific back to it when they are done; others to their page."""
        page = service.page(self.room, self._bearer(request))
        code = page.outcome_code if isinstance(page, End) else None
        return _to(prolific_address(self.room.config.recruitment, code) or "/s")

    def image(self, request: Request) -> Response:
        """Send an image that the session may see now."""
        found = service.image(self.room, self._bearer(request), request.path_params["token"])
        if found is None:
            return PlainTextResponse("", 404)
        return Response(found.content, media_type=found.media_type, headers={"Cache-Control": _KEPT})

    def answer(self, request: Request, fields: Fields) -> Response:
        """Take the answer to an item."""
        return self._went_on(
            service.answer(
                self.room,
                self._bearer(request),
                position=fields.get("position", ""),
                token=fields.get("token", ""),
                response=fields.get("response"),
                rt_ms=fields.get("rt_ms"),
                blurs=fields.get("blurs"),
            )
        )

    def advance(self, request: Request, fields: Fields) -> Response:
        """Go on from a page that asks nothing; from the last one, back to the platform."""
        stage = fields.get("stage", "")
        reply = service.advance(
            self.room,
            self._bearer(request),
            position=fields.get("position", ""),
            stage=stage,
            token=fields.get("token", ""),
            comment=fields.get("comment"),
        )
        return self._went_on(reply, "/leave" if stage == "debrief" else "/s")

    def withdraw(self, request: Request, fields: Fields) -> Response:
        """Take a person's answers back."""
        return self._went_on(service.withdraw(self.room, self._bearer(request), token=fields.get("token", "")))

    def restart(self, request: Request, fields: Fields) -> Response:
        """Begin anew after too long a pause."""
        reply = service.restart(self.room, self._bearer(request), token=fields.get("token", ""))
        return self._into(request, reply) if isinstance(reply, Entered) else self._refused(reply)

    def ask_for_code(self, _request: Request) -> Response:
        """Ask for the completion code of somebody who withdraws later."""
        return HTMLResponse(self.pages.withdrawal(failed=False))

    def withdraw_by_code(self, request: Request, fields: Fields) -> Response:
        """Take the answers back of somebody who completed."""
        if not self.guesses.admits(request):
            return self._message("busy", 429, "/withdraw-by-code")
        if not service.withdraw_by_code(self.room, fields.get("code", "")):
            return HTMLResponse(self.pages.withdrawal(failed=True), 422)
        return _to("/withdrawn")

    def _bearer(self, request: Request) -> str:
        return self.cookies.read(request, SESSION)

    def _visit(self, request: Request) -> str:
        return self.cookies.read(request, VISIT)

    def _arrival(self, visit: str) -> service.Arrival:
        entry = self.visits.entry(visit) or plain_entry(self.room.config.recruitment)
        return entry.arrival(visit)

    def _preview(self) -> Response:
        reply = service.welcome(self.room, service.Arrival("", "mturk", ""))
        assert isinstance(reply, Welcome), "nobody has the empty id"
        return HTMLResponse(self.pages.start(reply, preview=True))

    def _enter(self, request: Request) -> Response:
        """Keep what the address says, and show it no more."""
        told = entry(self.room.config.recruitment, request.query_params, self.room.key)
        response = _to("/")
        if told == plain_entry(self.room.config.recruitment):
            return response
        self.cookies.write(response, request, VISIT, self.visits.enter(self._visit(request), told))
        self.cookies.forget(response, request, SESSION)  # perhaps another person's, on a shared computer
        return response

    def _welcome(self, reply: Welcome) -> Response:
        return HTMLResponse(self.pages.start(reply, preview=False)) if reply.open else self._refused(Refused("closed"))

    def _into(self, request: Request, entered: Entered) -> Response:
        response = _to("/s")
        self.cookies.write(response, request, SESSION, entered.bearer)
        return response

    def _gone(self, request: Request, reply: Accepted | Refused, to: str) -> Response:
        if isinstance(reply, Refused):
            return self._refused(reply, "/")
        response = _to(to)
        self.cookies.forget(response, request, VISIT)
        return response

    def _went_on(self, reply: Accepted | Refused, to: str = "/s") -> Response:
        return _to(to) if isinstance(reply, Accepted) else self._refused(reply)

    def _refused(self, reply: Refused, back: str = "/s") -> Response:
        if reply.kind == "unknown":
            return _to("/")
        return self._message(reply.kind, STATUS[reply.kind], back)

    def _message(self, kind: str, status: int, back: str) -> Response:
        return HTMLResponse(self.pages.message(kind, back=back), status)


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)


def _reading(get: Callable[[Request], Response]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await asyncio.get_running_loop().run_in_executor(None, get, request)

    return endpoint


def _taking(post: Callable[[Request, Fields], Response]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        fields = await read_form(request)
        return await asyncio.get_running_loop().run_in_executor(None, post, request, fields)

    return endpoint
