"""A server that is killed while people answer: nothing that it acknowledged is lost, and everyone goes on."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

import httpx

from tutelage.classroom import service, tables
from tutelage.classroom.browser import Browser

from .experiments import make_experiment, opened, rows

PEOPLE = 50
SERVER = """
import sys
from tutelage.classroom.room import open_room
from tutelage.classroom.web.serving import serve

with open_room(sys.argv[1]) as room:
    serve(room, "127.0.0.1", int(sys.argv[2]), lambda address: print(address, flush=True))
"""
pytestmark = pytest.mark.slow


class Server:
    """A process that serves an experiment, and can be killed."""

    def __init__(self, folder):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.folder, self.process = folder, None

    def start(self):
        paths = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.folder), str(self.port)],
            stdout=subprocess.PIPE,
            env={**os.environ, **paths},
        )
        assert self.process.stdout.readline().startswith(b"http://127.0.0.1:")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Person:
    """Goes through the experiment, and asks again as long as nobody answers."""

    def __init__(self, number, server, acknowledged):
        self.number, self.acknowledged, self.retries = number, acknowledged, 0
        address = f"http://127.0.0.1:{server.port}"
        self.client = httpx.AsyncClient(base_url=address, timeout=60, verify=False, trust_env=False)
        self.browser, self.page = Browser(self.client), None

    async def arrive(self):
        await self.browser.get("/")
        consent = await self.browser.get("/consent")
        self.page = await self.browser.send(consent.forms["/consent"], {"accepted": "yes"})
        while "/answer" not in self.page.forms:
            self.page = await self.browser.send(self.page.forms["/next"])

    async def go(self):
        while not {"/answer", "/next"}.isdisjoint(self.page.forms):
            try:
                await self.step()
            except httpx.TransportError:
                self.retries += 1
                await asyncio.sleep(0.05)
                with suppress(httpx.TransportError):
                    self.page = await self.browser.get("/s")
        await self.client.aclose()

    async def step(self):
        form = self.page.forms.get("/answer")
        if form is None:
            self.page = await self.browser.send(self.page.forms["/next"])
            return
        choices, position = form.choices["response"], int(form.fields["position"])
        response = choices[(self.number + position) % len(choices)]
        answer = await self.client.post("/answer", data={**form.fields, "response": response})
        assert answer.status_code == 303, "the same answer may come twice, and nothing else may happen"
        self.acknowledged[self.number, position] = int(response)
        self.page = await self.browser.get("/s")


async def take_part(server, acknowledged):
    people = [Person(number, server, acknowledged) for number in range(PEOPLE)]
    for person in people:
        await person.arrive()
    walks = asyncio.gather(*(person.go() for person in people))
    while len(acknowledged) < 2 * PEOPLE:
        await asyncio.sleep(0.01)
    server.kill()
    before = dict(acknowledged)
    await asyncio.to_thread(server.start)
    await asyncio.wait_for(walks, 300)
    return people, before


def test_a_server_that_is_killed_loses_no_answer_and_no_session(tmp_path):
    folder = make_experiment(tmp_path / "e")
    opened(folder).close()
    server, acknowledged = Server(folder), {}
    begun = time.monotonic()
    server.start()
    try:
        people, before = asyncio.run(take_part(server, acknowledged))
    finally:
        server.kill()
    assert len(before) < len(acknowledged), f"killed in the middle, {time.monotonic() - begun:.0f} s"
    assert sum(person.retries > 0 for person in people) > PEOPLE / 2
    with service.open_room(folder) as room:
        with room.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        sessions = {room.key.bearer(row.id): row for row in rows(room, tables.session)}
        assert [row.state for row in sessions.values()] == ["completed"] * PEOPLE
        trials = {(row.session_id, row.position): row.response for row in rows(room, tables.trial)}
        assert len(trials) == PEOPLE * room.config.length >= len(acknowledged)
        for (number, position), response in acknowledged.items():
            bearer = next(c.value for c in people[number].client.cookies.jar if c.name.startswith("session"))
            assert trials[sessions[bearer].id, position] == response
