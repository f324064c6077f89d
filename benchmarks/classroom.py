"""The classroom under load: many people at once, a killed server, a large experiment on the researcher's page.

    python benchmarks/classroom.py [--people 200] [--kills 100] [--sessions 10000] [--json benchmarks/results/...]

The server is a process of its own, started as users start it (SQLite, synchronous FULL); people are simulated in this
process, over HTTP, on the same cores. "An answer" is its POST, the redirect and the next page. CPU and memory are those
of the server, from /proc. In the part that kills the server people send again what was not acknowledged.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, insert, select

from common import write_results
from tutelage.classroom import service, tables
from tutelage.classroom.admission import make_link
from tutelage.classroom.browser import Browser
from tutelage.classroom.config import CONFIG_FILE
from tutelage.classroom.simulate import simulate
from tutelage.classroom.tokens import Key, random_id
from tutelage.classroom.web.serving import clients
from tutelage.data.items import file_hash
from tutelage.teaching_sets import Picture, Provenance, Shown, TeachingSet

CLASSES = ("one", "two", "three")
SIDE, ITEMS = 144, 60
CONFIG = """
name = "load"
title = "Load"
planned_n = 200
num_train = 20
num_test = 20
consent = {version = "1", text = "I agree."}
arms = [
  {name = "fixed", teaching_set = "arms/set.json"},
  {name = "random", teaching_set = "arms/set.json", teacher = "random"},
]
"""
LENGTH = 40
RETRY_S, RETRY_FOR_S = 0.1, 120.0


def make(folder):
    """An experiment with two arms of 20 items to learn from and 20 to test."""
    for name in ("images", "arms"):
        (folder / name).mkdir(parents=True)
    draws = np.random.default_rng(0)

    def picture(path):
        tiles = draws.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(tiles).resize((SIDE, SIDE)).save(folder / "images" / path)
        return Picture(path, file_hash(folder / "images" / path))

    def shown(i):
        image = picture(f"{i}.png")
        return Shown(image.path, CLASSES[i % 3], image.sha256, explanation=picture(f"{i}-why.png"))

    items = tuple(shown(i) for i in range(ITEMS))
    made = TeachingSet("set", CLASSES, items[:30], Provenance("by chance"), items[30:])
    made.save(folder / "arms" / "set.json")
    (folder / CONFIG_FILE).write_text(CONFIG)
    Key.create(folder)
    return folder


class Server:
    """A process that serves an experiment; it may be killed and started again at the same address."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        """Start it, and return after how many seconds it listened."""
        begun = time.perf_counter()
        command = [sys.executable, "-m", "tutelage", "classroom", "serve", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            assert self.process.poll() is None, "the server ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return time.perf_counter() - begun
            time.sleep(0.02)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


class Patient(httpx.AsyncHTTPTransport):
    """Sends again what got no response, as people reload a page; of a POST the server knows the answer already."""

    async def handle_async_request(self, request):
        until = time.monotonic() + RETRY_FOR_S
        while True:
            try:
                response = await super().handle_async_request(request)
                content = await response.aread()
                return httpx.Response(response.status_code, headers=response.headers, content=content)
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(RETRY_S)


def patient(address):
    return lambda: httpx.AsyncClient(base_url=address, timeout=60.0, transport=Patient(verify=False), trust_env=False)


def at_once(folder, people, pace, seed):
    """People who take part at the same time; pace 0: without a pause."""
    server = Server(folder)
    try:
        with service.open_room(folder) as room:
            before, begun = server.cpu_s(), time.perf_counter()
            how = {"profiles": ("calibrated",), "seed": seed, "at_once": people, "pace": pace}
            found = asyncio.run(simulate(room, clients(server.address), people, **how))
            seconds, cpu = time.perf_counter() - begun, server.cpu_s() - before
        assert found.answers, found.unexpected[:3]
        p50, p95, p99 = found.answer_ms
        facts = {"people": people, "pace": pace, "completed": found.completed, "answers": found.answers}
        facts |= {"lost": found.lost, "double": found.extra, "wrong": found.misjudged}
        facts |= {"errors": len(found.unexpected), "seconds": seconds, "answers_per_s": found.answers / seconds}
        facts |= {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "cpu_ms_per_answer": 1000 * cpu / found.answers}
        return facts | {"memory_mb": server.memory_mb()}
    finally:
        server.stop()


def killed(folder, people, kills, every_s):
    """People who go on while the server is killed again and again."""
    server = Server(folder)
    totals = {"kills": 0, "answers": 0, "lost": 0, "double": 0, "incomplete": 0, "errors": 0}

    async def round_of_people(room, number):
        before = _sessions(room)
        how = {"profiles": ("calibrated",), "seed": 1000 + number, "at_once": people, "pace": 0.05}
        task = asyncio.create_task(simulate(room, patient(server.address), people, **how))
        while _sessions(room) < before + people and not task.done():
            await asyncio.sleep(0.05)  # who they are is kept in memory until they consent
        while totals["kills"] < kills and not task.done():
            await asyncio.sleep(random.Random(totals["kills"]).uniform(0.2, every_s))
            server.kill()
            totals["kills"] += 1
            await asyncio.to_thread(server.start)
        found = await task
        for name, value in (("answers", found.answers), ("lost", found.lost), ("double", found.extra)):
            totals[name] += value
        totals["incomplete"] += found.incomplete + people - found.completed
        totals["errors"] += len(found.unexpected)
        return found.unexpected[:3]

    try:
        with service.open_room(folder) as room:
            for number in range(kills):
                if totals["kills"] == kills:
                    break
                told = asyncio.run(round_of_people(room, number))
                print(f"  {totals['kills']} kills, {totals['answers']} answers", *told, file=sys.stderr)
            with room.database.read() as connection:
                totals["integrity"] = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
    finally:
        server.stop()
    return totals


def _sessions(room):
    with room.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(tables.session))


def large(folder, sessions):
    """The researcher's page and the export of an experiment with many people."""
    with service.open_room(folder) as room:
        fill(room, sessions)
        with room.database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            size = pages * connection.exec_driver_sql("PRAGMA page_size").scalar()
    server = Server(folder)
    try:
        client = httpx.Client(base_url=server.address, timeout=120.0, follow_redirects=True, verify=False)
        client.post("/admin/enter", data={"secret": make_link(folder)})
        overview = [_seconds(client, "/admin") for _ in range(5)]
        export = _seconds(client, "/admin/export/trials.csv")
        listed = _seconds(client, "/admin/people?page=100")
        answers = sessions * LENGTH
        facts = {"sessions": sessions, "answers": answers, "overview_s": min(overview), "overview_first_s": overview[0]}
        return facts | {
            "people_s": listed,
            "export_s": export,
            "bytes_per_answer": size / answers,
            "memory_mb": server.memory_mb(),
        }
    finally:
        server.stop()


def _seconds(client, path):
    begun = time.perf_counter()
    response = client.get(path)
    assert response.status_code == 200, (path, response.status_code)
    assert response.url.path == path.split("?")[0], f"{path} leads to {response.url.path}"
    return time.perf_counter() - begun


def fill(room, sessions):
    """Write completed sessions as they would be, by chance."""
    draws = np.random.default_rng(0)
    items, arms, now = list(room.material.items.values()), list(room.arm_names), room.now()
    for begin in range(0, sessions, 500):
        rows = {table: [] for table in (tables.participant, tables.session, tables.plan, tables.trial)}
        for number in range(begin, min(begin + 500, sessions)):
            _add_session(rows, room, arms[number % len(arms)], items, draws, now)
        with room.database.write() as connection:
            for table, made in rows.items():
                connection.execute(insert(table), made)


def _add_session(rows, room, arm, items, draws, now):
    person, session = random_id(), random_id()
    facts = {"experiment_id": room.experiment_id, "source": "direct", "consent_at": now, "consent_version": "1"}
    rows[tables.participant].append({"id": person, "external_hmac": room.key.external("direct", person), **facts})
    rows[tables.session].append(
        {
            "id": session, "participant_id": person, "arm_id": arm, "bearer_hash": session * 2, "state": "completed",
            "position": LENGTH, "stage": "over", "button_order": "[0, 1, 2]", "seed": str(draws.integers(2**62)),
            "created_at": now, "last_seen_at": now, "completed_at": now, "resumes": 0,
        }
    )  # fmt: skip
    shown = draws.integers(0, ITEMS, LENGTH).tolist()
    given, times = draws.integers(0, 3, LENGTH).tolist(), draws.integers(500, 20_000, LENGTH).tolist()
    for position, (i, response, ms) in enumerate(zip(shown, given, times, strict=True)):
        both = {"session_id": session, "position": position, "item_id": items[i].id, "shown_at": now}
        both["phase"] = "train" if position < 20 else "test"
        rows[tables.plan].append({**both, "show_explanation": position < 20})
        correct = response == items[i].label
        rows[tables.trial].append(
            {**both, "answered_at": now, "response": response, "correct": correct, "rt_ms_client": ms, "blurs": 0}
        )


def page_bytes(folder):
    """The page of a question with its style and script, without images."""
    server = Server(folder)
    try:
        with service.open_room(folder) as room:
            secret = room.key.form("simulated", 0, "simulated")

            async def walk():
                async with clients(server.address)() as client:
                    browser = Browser(client)
                    await browser.get(f"/?simulated={secret}")
                    page = await browser.send((await browser.get("/consent")).forms["/consent"], {"accepted": "yes"})
                    while "/answer" not in page.forms:
                        page = await browser.send(page.forms["/next"])
                    parts = [name for name in page.text.split('"') if name.startswith("/static")]
                    return len(page.text) + sum([len((await client.get(part)).content) for part in parts])

            total = asyncio.run(walk())
        server.stop()
        return {"page_kb": total / 1024, "cold_start_s": server.start()}
    finally:
        server.stop()


def judged(rows):
    """Print rows of what, value, unit, sign and target."""
    table = Table("what", "measured", "target", "", title="the classroom")
    for what, value, unit, sign, target in rows:
        met = value <= target if sign == "<=" else value >= target
        table.add_row(what, f"{value:,.1f} {unit}", f"{sign} {target:,} {unit}", "ok" if met else "MISSED")
    Console(width=120).print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--pace", type=float, default=0.4, help="of thinking; 0.4: about 4 s between answers")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        facts["page"] = page_bytes(make(place / "page"))
        facts["people_at_once"] = calm = at_once(make(place / "calm"), options.people, options.pace, 1)
        facts["no_pause"] = busy = at_once(make(place / "busy"), min(50, options.people), 0.0, 2)
        facts["killed"] = crash = killed(make(place / "kill"), min(50, options.people), options.kills, 3.0)
        facts["large"] = big = large(make(place / "large"), options.sessions)
    facts["load_average"] = os.getloadavg()
    lost = calm["lost"] + calm["double"] + busy["lost"] + busy["double"] + calm["errors"] + busy["errors"]
    judged(
        [
            (f"{calm['people']} people: an answer, median", calm["p50_ms"], "ms", "<=", 100),
            (f"{calm['people']} people: an answer, 95 %", calm["p95_ms"], "ms", "<=", 100),
            (f"{calm['people']} people: an answer, 99 %", calm["p99_ms"], "ms", "<=", 250),
            (f"{calm['people']} people: completed", calm["completed"], "", ">=", calm["people"]),
            ("lost or double answers, errors", lost, "", "<=", 0),
            (f"{busy['people']} clients without a pause", busy["answers_per_s"], "answers/s", ">=", 100),
            ("CPU of an answer without a pause", busy["cpu_ms_per_answer"], "ms", "<=", 3),
            (f"after {crash['kills']} kills: lost, double, incomplete",
             crash["lost"] + crash["double"] + crash["incomplete"], "", "<=", 0),
            (f"page of {big['sessions']:,} sessions", big["overview_first_s"], "s", "<=", 2),
            ("trials.csv of them", big["export_s"], "s", "<=", 10),
            ("database", big["bytes_per_answer"], "bytes an answer", "<=", 500),
            ("memory under load", calm["memory_mb"], "MB", "<=", 200),
            ("cold start", facts["page"]["cold_start_s"], "s", "<=", 2),
            ("page without images", facts["page"]["page_kb"], "kB", "<=", 60),
        ]
    )  # fmt: skip
    if options.json:
        write_results(options.json, torch.device("cpu"), **facts)


if __name__ == "__main__":
    main()
