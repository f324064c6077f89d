"""The researcher's pages, behind a login: what comes in, who is where, and what to do about it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeAlias, get_args

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ...errors import ConfigError
from .. import service
from ..admission import is_password, password_hash, use_link
from ..counting import completed_by_arm
from ..dashboard import is_hidden
from ..opening import open_to_people
from ..people import SessionFacts, list_people, person, withdraw_person
from ..room import Room
from ..study import People, Study
from ..tokens import is_id
from .downloads import DOWNLOADS, EXPLAIN_TEACH, download, media_type
from .logins import Login, Logins, Tries
from .pages import Pages
from .previewing import Previews
from .results import figures
from .security import read_form

Fields: TypeAlias = Annotated[dict[str, str], Depends(read_form)]
Find: TypeAlias = Annotated[str, Query(max_length=64)]
_TOLD = {
    "redeemed": "redeemed: it may be paid.",
    "again": "was redeemed before: do not pay it twice.",
    "unknown": "is no code of this experiment.",
}


@dataclass(frozen=True)
class Researcher:
    """Endpoints of the researcher.

    Attributes:
        room: the experiment.
        pages: its pages.
        logins: of researchers.
        tries: to log in.
        hashing: one hash at a time, as each needs 32 MB.
    """

    room: Room
    pages: Pages
    logins: Logins
    tries: Tries = field(default_factory=Tries)
    hashing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, room: Room, pages: Pages) -> "Researcher":
        """Return the endpoints of an experiment.

        Raises:
            ConfigError: if what is stored of the password is no hash, or others may read it.
        """
        password_hash(room.folder)
        return cls(room, pages, Logins(room.key, room.experiment_id, partial(_password, room)))

    def router(self) -> APIRouter:
        """Return the routes; all but those that log in need a login."""
        routes = APIRouter(default_response_class=HTMLResponse)
        inside = APIRouter(prefix="/admin", dependencies=[Depends(self._required)], default_response_class=HTMLResponse)
        for path, get in (("/admin/login", self.ask), ("/admin/enter/{secret}", self.ask_to_enter)):
            routes.add_api_route(path, get, methods=["GET"])
        for path, enter in (("/admin/login", self.log_in), ("/admin/enter", self.enter)):
            routes.add_api_route(path, enter, methods=["POST"])
        pages: tuple[tuple[str, Callable[..., Any]], ...] = (
            ("", self.overview),
            ("/figures", self.figures),
            ("/people", self.people),
            ("/people/{participant}", self.one),
            ("/codes", self.codes),
            ("/export", self.exports),
            ("/export/{name}", self.export),
        )
        for path, page in pages:
            inside.add_api_route(path, page, methods=["GET"])
        for path, post in (
            ("/logout", self.log_out),
            ("/status", self.change_status),
            ("/people/{participant}/withdraw", self.withdraw),
            ("/people/{participant}/purge", self.purge),
            ("/codes", self.redeem),
        ):
            inside.add_api_route(path, post, methods=["POST"])
        inside.include_router(Previews(self.room, self.pages).router())
        routes.include_router(inside)
        return routes

    def ask(self, request: Request) -> Response:
        """Ask for the password."""
        return _to("/admin") if self.logins.of(request) else self._ask(200)

    def log_in(self, request: Request, fields: Fields) -> Response:
        """Let in whoever has the password."""
        if not self.tries.admits(request):
            return self._ask(429, "Too many tries. Wait a minute.")
        told = _password(self.room)
        with self.hashing:
            right = told is not None and is_password(fields.get("password", ""), told)
        return self._let_in(request, "password") if right else self._ask(401, "That is not the password.")

    def ask_to_enter(self, secret: str) -> Response:
        """Show the button that uses a link; to look at it, as mail programs do, does not."""
        return HTMLResponse(self.pages.render("admin_enter", secret=secret))

    def enter(self, request: Request, fields: Fields) -> Response:
        """Let in whoever has a link that was not used; others who try passwords do not keep them out."""
        if not self.tries.of_address.admits(request):
            return self._ask(429, "Too many tries. Wait a minute.")
        if not use_link(self.room.folder, fields.get("secret", "")):
            return self._ask(401, "This link was used, or is too old. Make another one.")
        return self._let_in(request, "link")

    def log_out(self, request: Request, fields: Fields) -> Response:
        """End a login."""
        self._checked(request, fields)
        response = _to("/admin/login")
        self.logins.end(request, response)
        return response

    def overview(self, request: Request, people: People = "real") -> Response:
        """Show how it goes."""
        values = self._figures(people)
        return self._page(request, "admin_dashboard", here="dashboard", status=service.status(self.room), **values)

    def figures(self, people: People = "real") -> Response:
        """Show what changes of the overview."""
        return HTMLResponse(self.pages.render("admin_figures", **self._figures(people)))

    def change_status(self, request: Request, fields: Fields) -> Response:
        """Open the experiment, if nothing is wrong with it, or close it."""
        login = self._checked(request, fields)
        match fields.get("status"):
            case "open":
                wrong = [problem.line for problem in open_to_people(self.room) if problem.kind == "error"]
                login.notices += [f"Not opened: {line}" for line in wrong] or ["Opened: people can come in."]
            case "closed":
                service.set_status(self.room, "closed")
                login.notices.append("Closed: nobody can come in; those who are in go on.")
            case _:
                raise HTTPException(422)
        return _to("/admin")

    def people(self, request: Request, people: People = "real", find: Find = "", page: int = 1) -> Response:
        """Show the sessions."""
        found = list_people(self.room, people, find=find.strip(), page=page)
        return self._page(request, "admin_people", here="people", found=found, people=people, find=find.strip())

    def one(self, request: Request, participant: str) -> Response:
        """Show one person."""
        sessions = self._sessions(participant)
        return self._page(request, "admin_person", here="people", participant=participant, sessions=sessions)

    def withdraw(self, request: Request, participant: str, fields: Fields) -> Response:
        """Take the answers of a person back, who asked for it."""
        login = self._checked(request, fields)
        self._sessions(participant)
        done = withdraw_person(self.room, participant)
        login.notices.append("Withdrawn." if done else "Nothing to withdraw: that was done before.")
        return _to(f"/admin/people/{participant}")

    def purge(self, request: Request, participant: str, fields: Fields) -> Response:
        """Remove a person everywhere."""
        login = self._checked(request, fields)
        if fields.get("sure") != "yes":
            raise HTTPException(422)
        done = is_id(participant) and service.purge(self.room, participant)
        login.notices.append(f"Removed: {participant}." if done else "There is no such person.")
        return _to("/admin/people")

    def codes(self, request: Request) -> Response:
        """Ask for completion codes."""
        return self._page(request, "admin_codes", here="codes")

    def redeem(self, request: Request, fields: Fields) -> Response:
        """Mark completion codes as paid."""
        login = self._checked(request, fields)
        for code in dict.fromkeys(fields.get("codes", "").split()):
            login.notices.append(f"{code} {_TOLD[service.redeem(self.room, code)]}")
        return _to("/admin/codes")

    def exports(self, request: Request) -> Response:
        """Show what can be downloaded."""
        study = Study.of(self.room)
        completed = {people: completed_by_arm(study, people) for people in get_args(People)}
        hidden = is_hidden(study, completed["real"])
        empty = {(EXPLAIN_TEACH, people) for people, by_arm in completed.items() if not by_arm}
        return self._page(request, "admin_export", here="export", downloads=DOWNLOADS, hidden=hidden, empty=empty)

    def export(self, name: str, people: People = "real", withdrawn: bool = False) -> Response:
        """Send a download."""
        if name not in DOWNLOADS:
            raise HTTPException(404)
        try:
            content = download(Study.of(self.room), name, people=people, withdrawn=withdrawn)
        except ConfigError:
            raise HTTPException(404) from None
        told = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=media_type(name), headers=told)

    def _figures(self, people: People) -> dict[str, Any]:
        preview_of = {name: place for place, name in enumerate(self.room.material.arms)}
        return figures(Study.of(self.room), people, now=self.room.clock(), preview_of=preview_of)

    def _sessions(self, participant: str) -> tuple[SessionFacts, ...]:
        found = person(self.room, participant) if is_id(participant) else ()
        if not found:
            raise HTTPException(404)
        return found

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        login = self._login(request)
        notices, login.notices = login.notices, []
        told = {"token": self.logins.token(login), "notices": notices}
        return HTMLResponse(self.pages.render(template, **told, **values))

    def _ask(self, status: int, told: str = "") -> Response:
        known = _password(self.room) is not None
        return HTMLResponse(self.pages.render("admin_login", told=told, known=known), status)

    def _let_in(self, request: Request, how: str) -> Response:
        service.record(self.room, "admin", {"login": how})
        response = _to("/admin")
        self.logins.begin(request, response)
        return response

    def _required(self, request: Request) -> None:
        if self.logins.of(request) is None:
            raise HTTPException(303, headers={"Location": "/admin/login"})

    def _login(self, request: Request) -> Login:
        login = self.logins.of(request)
        if login is None:  # it ended since it was asked for
            raise HTTPException(303, headers={"Location": "/admin/login"})
        return login

    def _checked(self, request: Request, fields: dict[str, str]) -> Login:
        login = self._login(request)
        if not self.logins.is_token(login, fields.get("token", "")):
            raise HTTPException(403)
        return login


def _password(room: Room) -> str | None:
    """What is stored of the password; None: there is none that can be used."""
    try:
        return password_hash(room.folder)
    except ConfigError:
        return None


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)
