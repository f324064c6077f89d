"""The results as one page that needs no server, and what the command says of bad input on the way there."""

import warnings

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from tests.human_data import write_small
from tutelage.classroom import importing, service
from tutelage.classroom.check import check
from tutelage.cli import main

from .experiments import enter, make_experiment, opened, walk


def run(capsys, *arguments):
    """Returns the status, and what the command printed for the user or about an error."""
    status = main(["classroom", *map(str, arguments)])
    told = capsys.readouterr()
    return status, told.out if status == 0 else told.err


@pytest.fixture
def imported(tmp_path, capsys):
    write_small(tmp_path / "released")
    assert run(capsys, "import", tmp_path / "released", tmp_path / "imported.sqlite")[0] == 0
    return tmp_path / "imported.sqlite"


def test_released_results_are_one_page_that_loads_and_leads_to_nothing(imported, tmp_path, capsys):
    page = tmp_path / "results.html"
    assert run(capsys, "results", imported, page) == (0, f"{page}\n")
    html = page.read_text()
    assert "Imported from released results" in html
    assert "75.0" in html
    assert "No times are known." in html
    assert "Before consent" not in html
    assert html.count('<svg class="chart"') >= 2
    for leads in ("src=", "href=", "<script", "<link", "<form", "url("):
        assert leads not in html


def test_results_are_hidden_here_too_until_all_arms_are_full(tmp_path, capsys):
    folder = make_experiment(tmp_path / "shapes", planned_n=5)
    with opened(folder) as room:
        walk(room, enter(room))
    assert run(capsys, "results", folder, tmp_path / "results.html")[0] == 0
    html = (tmp_path / "results.html").read_text()
    assert "Hidden for now" in html
    assert "<svg" not in html


def test_a_page_that_exists_is_not_written_over(imported, tmp_path, capsys):
    page = tmp_path / "results.html"
    page.write_text("mine")
    status, told = run(capsys, "results", imported, page)
    assert (status, page.read_text()) == (2, "mine")
    assert "it exists" in told
    assert "written as .html" in run(capsys, "results", imported, tmp_path / "results.pdf")[1]


@pytest.mark.parametrize("command", ["status", "results", "export"])
def test_neither_a_folder_nor_a_database(tmp_path, capsys, command):
    more = {"results": [tmp_path / "page.html"], "export": [tmp_path / "out"]}.get(command, [])
    status, told = run(capsys, command, tmp_path / "gone.sqlite", *more)
    assert status == 2
    assert "gone.sqlite: there is neither an experiment nor a database" in told
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_named_as_it_was_given(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no database")
    status, told = run(capsys, "status", tmp_path / "notes.txt")
    assert status == 2
    assert told.startswith(f"error: {tmp_path / 'notes.txt'}: the database fails now: file is not a database")


def test_a_server_that_is_not_there_keeps_the_password(capsys):
    status, told = run(capsys, "status", "postgresql://nobody:hornbeam@127.0.0.1:1/none")
    assert status == 2
    assert len(told.splitlines()) == 1
    assert "hornbeam" not in told
    assert "127.0.0.1:1/none: the database fails now" in told


def test_what_an_import_warns_of_is_a_line_for_the_user(tmp_path, capsys, monkeypatch):
    true = importing.import_results

    def warns(*arguments, **how):
        warnings.warn("ids do not belong to the list", stacklevel=1)
        return true(*arguments, **how)

    monkeypatch.setattr(importing, "import_results", warns)
    write_small(tmp_path / "released")
    status, told = run(capsys, "import", tmp_path / "released", tmp_path / "imported.sqlite")
    assert status == 0
    assert "warning: ids do not belong to the list\n" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"language": "xx"}, 'unknown language "xx"'), ({"database": "mysql://a/b"}, 'a URL of the kind "mysql"')],
)
def test_what_lets_nobody_serve_it_is_found_by_check(tmp_path, changes, told):
    found = [problem.line for problem in check(make_experiment(tmp_path / "e", **changes)) if problem.kind == "error"]
    assert len(found) == 1
    assert told in found[0]


def test_nobody_is_simulated_in_a_closed_experiment(tmp_path, capsys):
    folder = make_experiment(tmp_path / "shapes")
    with opened(folder) as room:
        service.set_status(room, "closed")
    status, told = run(capsys, "simulate", folder, "--people", 2)
    assert status == 2
    assert "closed; open it for simulated people too" in told


def test_a_changed_configuration_says_how_simulated_people_are_removed(tmp_path, capsys):
    folder = make_experiment(tmp_path / "shapes")
    assert run(capsys, "simulate", folder, "--people", 1, "--profile", "perfect")[0] == 0
    file = folder / "experiment.toml"
    file.write_text(file.read_text().replace("planned_n = 10", "planned_n = 11"))
    status, told = run(capsys, "status", folder)
    assert status == 2
    assert f"tutelage classroom purge {folder} --simulated" in told
    file.write_text(file.read_text().replace("planned_n = 11", "planned_n = 10"))
    assert run(capsys, "purge", folder, "--simulated") == (0, "1 simulated person removed\n")


def test_new_names_what_was_given_twice_and_a_folder_that_is_not_there(tmp_path, capsys):
    source = make_experiment(tmp_path / "source")
    (tmp_path / "consent.txt").write_text("I agree.")
    arm, told = f"a={source}/arms/forth.json", ["--consent", tmp_path / "consent.txt", "--title", "T", "--planned-n", 5]
    twice = run(capsys, "new", tmp_path / "e", "--arm", arm, "--arm", arm, "--images", source / "images", *told)
    assert twice == (2, 'error: two arms have the name "a"; give each its own.\n')
    status, line = run(capsys, "new", tmp_path / "e", "--arm", arm, "--images", tmp_path / "gone", *told)
    assert status == 2
    assert "gone: there is no such folder" in line
    assert not (tmp_path / "e").exists()
