"""The command ``tutelage classroom``: what it prints, writes and refuses; one line for an error, status 2."""

import io
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from importlib import util
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from tests.human_data import write_small
from tutelage.classroom import service, tables
from tutelage.classroom.admission import is_password, password_hash
from tutelage.cli import main

from .experiments import enter, make_experiment, opened, rows, walk

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "hornbeam or beech?"


@pytest.fixture
def folder(tmp_path):
    return make_experiment(tmp_path / "shapes")


def printed(capsys, *arguments):
    status = main(["classroom", *map(str, arguments)])
    told = capsys.readouterr()
    assert status == 0, told.err
    return " ".join(told.out.split())


def refused(capsys, *arguments):
    assert main(["classroom", *map(str, arguments)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1
    return told.err


@pytest.fixture
def made(folder, tmp_path, capsys):
    """An experiment that the command made from the sets and images of another one."""
    (tmp_path / "consent.txt").write_text("I agree.\n\nReally.")
    (tmp_path / "more.toml").write_text("num_train = 3\nnum_test = 2\n")
    target = tmp_path / "made"
    arms = [f"fixed={folder}/arms/forth.json", f"chosen={folder}/arms/back.json@review"]
    told = printed(
        capsys, "new", target, *(part for arm in arms for part in ("--arm", arm)), "--images", folder / "images",
        "--consent", tmp_path / "consent.txt", "--title", "Shapes", "--planned-n", 5,
        "--settings", tmp_path / "more.toml",
    )  # fmt: skip
    assert "2 arms, 3 items to learn from, 2 to test" in told
    return target


def test_a_new_experiment_is_checked_opened_and_closed(made, capsys):
    assert printed(capsys, "check", made).endswith(f"{made}: ready")
    assert printed(capsys, "open", made).endswith(f"{made}: open")
    with service.open_room(made, makers=_makers()) as room:
        assert service.status(room) == "open"
        assert room.config.consent.text == "I agree.\n\nReally."
        assert [arm.teacher for arm in room.config.arms] == ["fixed", "review"]
    assert printed(capsys, "close", made) == f"{made}: closed"
    assert ": closed, configuration" in printed(capsys, "status", made)


def _makers():
    from tutelage.classroom.adaptive import MAKERS

    return MAKERS


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--arm", "a"], "--arm a: needs NAME=FILE"),
        (["--arm", "a=x.json@strikt"], 'unknown teacher "strikt". Did you mean "strict"?'),
        (["--arm", "a=x.json", "--consent", "nowhere.txt"], "--consent nowhere.txt: cannot be read"),
    ],
)
def test_what_new_refuses(tmp_path, capsys, arguments, told):
    consent = tmp_path / "consent.txt"
    consent.write_text("I agree.")
    given = ["--images", tmp_path, "--title", "T", "--planned-n", 5, *arguments]
    given += [] if "--consent" in arguments else ["--consent", consent]
    assert told in refused(capsys, "new", tmp_path / "e", *given)
    assert not (tmp_path / "e").exists()


def test_an_experiment_with_an_error_is_not_opened(folder, capsys):
    next((folder / "images").rglob("train0.png")).write_bytes(b"no image")
    assert "error" in refused(capsys, "check", folder)
    assert "error" in refused(capsys, "open", folder)


def test_a_folder_that_is_none(tmp_path, capsys):
    for command in ("serve", "status", "close", "simulate"):
        assert "tutelage classroom new" in refused(capsys, command, tmp_path)


def test_without_the_extra_one_line_says_what_to_install(folder, capsys, monkeypatch):
    found = util.find_spec
    monkeypatch.setattr("tutelage.cli_classroom.find_spec", lambda name: None if name == "uvicorn" else found(name))
    assert 'pip install "tutelage[classroom]"' in refused(capsys, "serve", folder)


def test_simulated_people_are_counted_and_removed_again(folder, capsys):
    told = printed(capsys, "simulate", folder, "--people", 4, "--profile", "perfect", "--profile", "withdrawer")
    assert "4 simulated people: 2 completed, 2 withdrew" in told
    assert "14 answers: 0 lost, 0 double, 0 marked wrongly" in told
    assert "Results are hidden" in printed(capsys, "status", folder, "--people", "simulated")
    assert printed(capsys, "purge", folder, "--simulated") == "4 simulated people removed"
    with service.open_room(folder) as room:
        assert rows(room, tables.participant) == rows(room, tables.trial) == []


def test_export_and_backup(folder, tmp_path, capsys):
    with opened(folder) as room:
        walk(room, enter(room))
    told = printed(capsys, "export", folder, tmp_path / "out")
    assert "trials.csv" in told
    assert len((tmp_path / "out" / "trials.csv").read_text().splitlines()) == 1 + 7
    assert "out" in refused(capsys, "export", folder, tmp_path / "out")
    assert "bytes" in printed(capsys, "backup", folder, tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").read_bytes().startswith(b"SQLite format 3")
    assert "exists" in refused(capsys, "backup", folder, tmp_path / "copy.sqlite")


def test_codes_are_listed_and_redeemed_once(folder, capsys):
    with opened(folder) as room:
        code = walk(room, enter(room))[-1].code
    assert code in printed(capsys, "codes", folder)
    assert printed(capsys, "codes", folder, "--redeem", code) == f"{code}: redeemed"
    assert "were not redeemed now" in refused(capsys, "codes", folder, "--redeem", code)
    assert "were not redeemed now" in refused(capsys, "codes", folder, "--redeem", "A" * 16)


def test_purge_removes_one_person_and_wants_to_know_whom(folder, capsys):
    with opened(folder) as room:
        enter(room)
        (person,) = rows(room, tables.participant)
    assert "give one of these" in refused(capsys, "purge", folder)
    assert "no participant" in refused(capsys, "purge", folder, "0" * 32)
    assert printed(capsys, "purge", folder, "--raw-ids") == "0 ids removed"
    assert printed(capsys, "purge", folder, person.id) == f"{person.id}: removed"
    with service.open_room(folder) as room:
        assert rows(room, tables.participant) == []


def test_links_are_for_experiments_that_ask_for_them(tmp_path, capsys):
    open_to_all = make_experiment(tmp_path / "open")
    assert "single_use" in refused(capsys, "links", open_to_all, 3)
    folder = make_experiment(tmp_path / "single", recruitment={"links": "single_use"})
    assert "1 or more" in refused(capsys, "links", folder, 0)
    found = printed(capsys, "links", folder, 3, "--url", "https://example.org/").split()
    assert len(set(found)) == 3
    assert all(link.startswith("https://example.org/?code=") for link in found)


def test_a_password_is_stored_as_a_hash(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
    assert printed(capsys, "password", folder) == f"{folder}: password set"
    file = folder / "private" / "password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    assert is_password(PASSWORD, password_hash(folder))
    assert not is_password(PASSWORD + "!", password_hash(folder))


@pytest.mark.parametrize("given", ["", "short", "aaaaaaaaaaaaaaaa", "changeme-changeme", "my Password is long"])
def test_placeholders_are_no_passwords(folder, capsys, monkeypatch, given):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{given}\n"))
    assert "the password" in refused(capsys, "password", folder)
    assert password_hash(folder) is None


def test_results_of_explain_teach_are_imported_shown_and_exported(tmp_path, capsys):
    source, database = tmp_path / "released", tmp_path / "imported.sqlite"
    write_small(source)
    assert "sessions of" in printed(capsys, "import", source, database)
    assert "fixed 2 75.0" in printed(capsys, "status", database)
    assert "explain_teach" in printed(capsys, "export", database, tmp_path / "out")
    assert (tmp_path / "out" / "explain_teach" / "results.json").is_file()
    assert "holds the experiment" in refused(capsys, "import", source, database)


@pytest.mark.slow
def test_serve_answers_until_it_is_stopped(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tutelage", "classroom", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = process.stdout.readline().removeprefix("participants: ").strip()
            link = process.stdout.readline()
            assert "/admin/enter/" in link
            assert link.startswith("researcher, once")
            with urllib.request.urlopen(address + "admin/login", timeout=60) as response:
                assert response.status == 200
                assert "server" not in response.headers
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_an_address_that_is_in_use(folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be served" in refused(capsys, "serve", folder, "--port", port)
    assert "no such port" in refused(capsys, "serve", folder, "--port", 70000)
