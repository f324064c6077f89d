"""One writer at a time, whom others wait for; how often a file was started from; files that are set aside."""

import multiprocessing
import os
import threading

import pytest

from tutelage.errors import CheckpointError
from tutelage.logit_cache import LogitFile, cached_logits, locks
from tutelage.logit_cache.locks import locked, set_aside, starts

from .common import Linear, rows


def when_waiting(monkeypatch, act):
    """Do something as soon as it is said that another writer is waited for, which is soon."""
    said = locks.say

    def say(line):
        said(line)
        act()

    monkeypatch.setattr(locks, "_PATIENCE", 0.02)
    monkeypatch.setattr(locks, "say", say)


@pytest.mark.parametrize("patient", [True, False])
def test_a_writer_is_waited_for_and_that_is_said_after_a_while(patient, tmp_path, monkeypatch, capsys):
    path, order, held, enough = tmp_path / "folder" / "a", [], threading.Event(), threading.Event()

    def other():
        with locked(path, wait=True):
            order.append("in")
            held.set()
            enough.wait()
            order.append("out")

    when_waiting(monkeypatch, enough.set)
    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    message = "a is being written by another process; wait for it"
    with pytest.raises(CheckpointError, match=message), locked(path, wait=False):
        pass
    if patient:
        monkeypatch.setattr(locks, "_PATIENCE", 600)
        threading.Timer(0.1, enough.set).start()
    with locked(path, wait=True):
        order.append("mine")
    thread.join()
    assert order == ["in", "out", "mine"]
    assert capsys.readouterr().err == ("" if patient else f"waiting for another process, which writes {path}.\n")
    with locked(path, wait=False):  # all have let go
        pass
    with pytest.raises(ZeroDivisionError), locked(path, wait=False):
        raise ZeroDivisionError
    with locked(path, wait=False):
        pass


def test_starts_are_counted(tmp_path):
    path = tmp_path / "a"
    assert [starts(path) for _ in range(12)] == list(range(12))
    with locked(path, wait=False):  # which keeps the count
        assert starts(path) == 12
    (tmp_path / ".a.lock").write_text("what?")
    assert [starts(path), starts(path)] == [0, 1]
    assert starts(tmp_path / "nowhere" / "a") == 0


def test_a_file_is_set_aside_unless_another_one_has_taken_its_place(tmp_path, capsys):
    path = tmp_path / "a"
    path.write_text("old")
    inode = path.stat().st_ino
    set_aside(path, inode, "It is wrong.")
    assert not path.exists()
    assert (tmp_path / "a.refused").read_text() == "old"
    aside = tmp_path / "a.refused"
    assert capsys.readouterr().err == f"It is wrong. It is set aside as {aside}, and made anew.\n"
    set_aside(path, inode, "It is wrong.")  # gone already
    path.write_text("new")
    set_aside(path, inode, "It is wrong.")
    assert path.read_text() == "new"
    assert capsys.readouterr().err == ""


# Two processes -------------------------------------------------------------------------------------------------------

FORKED = multiprocessing.get_context("fork")


class Slow(Linear):
    """Tells when it is first asked for rows to keep, and waits; three batches are asked for before, at the start."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe

    def answers(self, x):
        if self.calls == 4:
            self.pipe.send("writing")
            self.pipe.recv()
        return super().answers(x)


def write(pipe):
    teacher = Slow(pipe)
    found = cached_logits(teacher, rows(), epochs=2, batch_size=16)
    pipe.send((found.reused, teacher.calls, found.file.path))


@pytest.fixture
def first(tmp_path, monkeypatch):
    """A process that writes the file which this one wants, and waits for a word; and where to send it."""
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    here, there = FORKED.Pipe()
    process = FORKED.Process(target=write, args=(there,))
    process.start()
    assert here.recv() == "writing"
    yield process, here
    process.kill()
    process.join()


def test_a_second_process_waits_and_uses_what_the_first_wrote(first, monkeypatch, capfd):
    _, pipe = first
    when_waiting(monkeypatch, lambda: pipe.send("go on"))
    with pytest.raises(CheckpointError, match="is being written by another process; wait for it"):
        cached_logits(Linear(), rows(), epochs=2, mode="force")
    teacher = Linear()
    second = cached_logits(teacher, rows(), epochs=2, batch_size=16)
    path = second.file.path
    assert pipe.recv() == (False, 3 + 4 + 1, path)
    assert (second.reused, teacher.calls) == (False, 3 + 1)  # those of the start
    assert capfd.readouterr().err == f"waiting for another process, which writes {path}.\n"
    batch = next(rows().batch(8).batches())
    assert second.notes(batch)["hit"] == 8
    second.answers_for(batch)
    assert cached_logits(Linear(), rows(), epochs=2).reused


def test_a_writer_that_dies_leaves_its_part_to_the_one_that_waits(first, monkeypatch):
    process, _ = first
    when_waiting(monkeypatch, process.kill)
    teacher = Linear()
    found = cached_logits(teacher, rows(), epochs=2, batch_size=16)
    assert teacher.calls == 3 + 4 + 1  # it had not come to keeping any
    LogitFile(found.file.path)
    assert sorted(os.listdir(found.file.path.parent)) == [f".{found.file.path.name}.lock", found.file.path.name]
