"""A killed process loses no answer that was acknowledged."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import End

from .experiments import make_experiment, opened, rows, walk

PEOPLE = """
import sys, threading
from tests.classroom.experiments import enter, step
from tutelage.classroom import service, tables
from tutelage.classroom.replies import End, Question

room = service.open_room(sys.argv[1])

def take_part():
    while True:
        bearer = enter(room)
        while not isinstance(page := service.page(room, bearer), End):
            step(room, bearer)
            if isinstance(page, Question):
                sys.stdout.write(f"{bearer} {page.place.position}\\n")
                sys.stdout.flush()

for _ in range(8):
    threading.Thread(target=take_part).start()
"""


@pytest.mark.slow
def test_a_killed_process_loses_no_answer(tmp_path):
    folder = make_experiment(tmp_path / "e")
    opened(folder).close()
    root = Path(__file__).resolve().parents[2]
    paths = {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    told = tmp_path / "acknowledged"
    for kills in range(1, 3):
        with told.open("a") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", PEOPLE, str(folder)], stdout=out, env={**os.environ, **paths}, cwd=root
            )
        before = told.read_text().count("\n")
        deadline = time.monotonic() + 60
        while told.read_text().count("\n") < before + 25 * kills and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    acknowledged = {tuple(line.split()) for line in told.read_text().splitlines()}
    assert len(acknowledged) >= 75
    with service.open_room(folder) as room:
        with room.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        bearers = {row.id: room.key.bearer(row.id) for row in rows(room, tables.session)}
        trials = rows(room, tables.trial)
        assert acknowledged <= {(bearers[trial.session_id], str(trial.position)) for trial in trials}
        for session in rows(room, tables.session):
            done = session.position + (session.stage == "feedback")
            assert sorted(t.position for t in trials if t.session_id == session.id) == list(range(done))
        some = next(bearers[row.id] for row in rows(room, tables.session) if row.state != "completed")
        assert isinstance(walk(room, some)[-1], End)
