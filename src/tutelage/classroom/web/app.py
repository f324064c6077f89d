"""The app: an experiment's folder in, something that serves it out."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ..adaptive import MAKERS
from ..database import Unavailable
from ..room import Room, open_room
from .pages import STATIC, Pages
from .participant import Participant
from .researcher import Researcher
from .security import Cookies, Guard, add_headers, headers

_MESSAGES = {403: "forged", 404: "not_found", 405: "not_found", 413: "too_large", 415: "invalid", 422: "invalid"}
"""Name of the text for a status."""
_THREADS = 10
"""That answer requests: writers wait for each other in any case, and more only take turns at the interpreter."""


def create_app(folder: str | os.PathLike[str]) -> FastAPI:
    """Return the app of an experiment, with the adaptive teachers that there are; it closes it when it is shut down.

    Serve it in one process, and without a log of requests: their addresses hold the ids of people.

    Args:
        folder: with ``experiment.toml``.

    Raises:
        ConfigError, DataError, Unavailable: as :func:`..room.open_room`.
    """
    return app_of(open_room(folder, makers=MAKERS), closes=True)


def app_of(room: Room, *, closes: bool = False) -> FastAPI:
    """Return the app of an experiment that is open.

    Args:
        room: the experiment.
        closes: whether the app closes it when it is shut down.
    """
    pages = Pages(room.config)
    told = headers(room.config.recruitment.platform)

    @asynccontextmanager
    async def serving(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = _THREADS
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "requests"))
        yield
        if closes:
            room.close()

    def message(status: int, path: str = "") -> Response:
        kind = _MESSAGES.get(status, "broken")
        return HTMLResponse(pages.message(kind, back=_back(path)), status)

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = message(error.status_code, request.url.path)
        response.headers.update(error.headers or {})
        return response

    def invalid(request: Request, error: Exception) -> Response:
        return message(422, request.url.path)

    def unavailable(request: Request, error: Exception) -> Response:
        return HTMLResponse(pages.message("unavailable", back=_back(request.url.path)), 503, {"Retry-After": "10"})

    def broken(request: Request, error: Exception) -> Response:
        response = message(500, request.url.path)  # made outside of the middleware
        add_headers(response.headers, told)
        return response

    app = FastAPI(title=room.config.name, docs_url=None, redoc_url=None, openapi_url=None, lifespan=serving)
    app.state.room = room
    app.add_middleware(Guard, told=told, refuse=message)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Unavailable, unavailable)
    app.add_exception_handler(Exception, broken)
    cookies = Cookies(room.experiment_id, framed=room.config.recruitment.platform == "mturk")
    app.router.routes.extend(Participant(room, pages, cookies).routes())
    app.include_router(Researcher.of(room, pages).router())
    app.mount("/static", _Assets(directory=STATIC))
    return app


def _back(path: str) -> str:
    """Where a page leads that says why something was not done."""
    return "/admin" if path.startswith("/admin") else "/s"


class _Assets(StaticFiles):
    """Files that come with the app; their addresses change with their content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
