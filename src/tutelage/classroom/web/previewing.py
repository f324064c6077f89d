"""An arm as participants see it, for the researcher: nothing is recorded."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse

from ...errors import ConfigError
from .. import service
from ..config import ADAPTIVE
from ..material import Variant
from ..replies import Feedback, Question
from ..room import Room
from .pages import Links, Pages
from .security import read_form

Fields: TypeAlias = Annotated[dict[str, str], Depends(read_form)]
_AT = "/admin/preview"


@dataclass(frozen=True)
class Previews:
    """Endpoints of previews.

    Attributes:
        room: the experiment.
        pages: its pages.
    """

    room: Room
    pages: Pages

    def router(self) -> APIRouter:
        """Return the routes."""
        routes = APIRouter(default_response_class=HTMLResponse)
        routes.add_api_route("/preview/image/{item}/{variant}", self.image, methods=["GET"])
        routes.add_api_route("/preview/{arm}/{position}", self.page, methods=["GET"])
        routes.add_api_route("/preview/{arm}/answer", self.answer, methods=["POST"])
        routes.add_api_route("/preview/{arm}/next", self.advance, methods=["POST"])
        return routes

    def page(self, arm: int, position: int, given: int | None = None) -> Response:
        """Show an item of an arm, or its feedback."""
        name = self._name(arm)
        try:
            page = service.preview(self.room, name, position, given=given)
        except ConfigError:
            raise HTTPException(404) from None
        links = Links(f"{_AT}/image/", f"{_AT}/{arm}/answer", f"{_AT}/{arm}/next", live=False)
        template = "feedback" if isinstance(page, Feedback) else "question" if page.image else "retry"
        names = {choice.value: choice.name for choice in page.choices}
        adaptive = self.room.material.arms[name].config.teacher in ADAPTIVE
        told = {"page": page, "links": links, "names": names, "arm_name": name, "adaptive": adaptive}
        return HTMLResponse(self.pages.render("admin_preview", shown=f"{template}.html", **told))

    def answer(self, arm: int, fields: Fields) -> Response:
        """Lead to the feedback, or on from a test item."""
        position, given = _number(fields.get("position")), _number(fields.get("response"))
        try:
            page = service.preview(self.room, self._name(arm), position, given=given)
        except ConfigError:
            raise HTTPException(422) from None
        return self._on(arm, position) if isinstance(page, Question) else _to(f"{_AT}/{arm}/{position}?given={given}")

    def advance(self, arm: int, fields: Fields) -> Response:
        """Lead to the next item."""
        self._name(arm)
        return self._on(arm, _number(fields.get("position")))

    def image(self, item: str, variant: Variant) -> Response:
        """Send an image."""
        found = service.preview_image(self.room, item, variant)
        return PlainTextResponse("", 404) if found is None else Response(found.content, media_type=found.media_type)

    def _on(self, arm: int, position: int) -> Response:
        last = position + 1 >= self.room.config.length
        return _to("/admin" if last else f"{_AT}/{arm}/{position + 1}")

    def _name(self, arm: int) -> str:
        names = list(self.room.material.arms)
        if not 0 <= arm < len(names):
            raise HTTPException(404)
        return names[arm]


def _number(told: str | None) -> int:
    if told is None or not (told.isascii() and told.isdigit() and len(told) < 6):
        raise HTTPException(422)
    return int(told)


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)
