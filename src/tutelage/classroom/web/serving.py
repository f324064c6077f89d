"""One process that answers requests: in the terminal until it is stopped, or beside a program that asks it."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from ...errors import ConfigError
from ..room import Room
from ..simulated_person import MakeClient
from .app import app_of

_STOP_S = 10
_KEEP_ALIVE_S = 75
"""That a connection may be idle: people look at an image for longer than the usual 5 s, when an answer would meet a
connection that is being closed."""
_TIMEOUT_S = 60.0
_POLL_S = 0.02


def serve(room: Room, host: str, port: int, started: Callable[[str], None]) -> None:
    """Answer requests until the process is told to stop; requests that are being answered are finished first.

    Args:
        room: the experiment.
        host: address of this machine; 127.0.0.1: only from this machine.
        port: 0: a free one.
        started: is told the address, when people can come.

    Raises:
        ConfigError: if the address is in use, or is not of this machine.
    """
    with _listening(host, port) as listener:
        server = _server(room)
        name = f"[{host}]" if ":" in host else host
        announcing = threading.Thread(
            target=_announce, args=(server, f"http://{name}:{listener.getsockname()[1]}", started), daemon=True
        )
        announcing.start()
        gc.collect()
        gc.freeze()  # to look for garbage among all that was imported takes a fifth of a second each time
        server.run(sockets=[listener])


@contextmanager
def served(room: Room) -> Iterator[str]:
    """Serve an experiment on a free port of this machine within the block, and give its address.

    Raises:
        ConfigError: if it cannot be served.
    """
    with _listening("127.0.0.1", 0) as listener:
        server = _server(room)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(_POLL_S)
        if not server.started:
            raise ConfigError("the experiment cannot be served.")
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def clients(address: str) -> MakeClient:
    """Return what makes clients of a server on this machine, one for each simulated person."""

    def make() -> httpx.AsyncClient:
        # a context for TLS, which is not used here, costs more than a person's requests
        return httpx.AsyncClient(base_url=address, timeout=_TIMEOUT_S, verify=False, trust_env=False)

    return make


def _server(room: Room) -> uvicorn.Server:
    # addresses hold the ids of people: no log of requests
    return uvicorn.Server(
        uvicorn.Config(
            app_of(room),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_S,
        )
    )


def _announce(server: uvicorn.Server, address: str, started: Callable[[str], None]) -> None:
    while not server.started:
        time.sleep(_POLL_S)
    started(address)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise ConfigError(f"{host}:{port} cannot be served ({reason}); give another --host or --port.") from None
        yield listener
