"""The recipe over several kinds and rates of noise."""

import json

import pytest

from tutelage.cli import main
from tutelage.recipes.deep_interactions import Config, run

from .deep_runs import COMMAND, SMALL
from .interrupted import read
from .test_curricula import line_of


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "kinds"
    options = SMALL | {"noise_kind": None, "teachers": "uniform,l2rw,surface,deep", "checkpoint_seconds": 0.0}
    return run(Config(**options), out), out


def test_a_folder_for_each_kind(kinds, tmp_path):
    result, out = kinds
    assert list(result["levels"]) == ["pair-flip-exact", "symmetric-exact"]
    assert result["config"]["noise_kind"] == "pair-flip-exact,symmetric-exact"
    for kind, level in result["levels"].items():
        assert level["folder"] == f"noise-{kind}"
        inner = read(out / level["folder"])
        assert inner["config"]["noise_kind"] == kind
        assert level["conclusion"] == inner["conclusion"]
        for arm, metrics in inner["arms"].items():
            assert result["arms"][f"{arm} @ {kind}"] == metrics
    alone = run(Config(**SMALL, teachers="uniform,l2rw,surface,deep"), tmp_path / "run")
    assert json.loads(json.dumps(alone))["arms"] == read(out / "noise-pair-flip-exact")["arms"]


def test_kinds_and_rates(tmp_path):
    options = SMALL | {"seeds": 1, "epochs": 1, "noise": "0.2,0.4", "noise_kind": "pair-flip,symmetric"}
    result = run(Config(**options, teachers="uniform"), tmp_path / "run")
    names = ["pair-flip 0.2", "pair-flip 0.4", "symmetric 0.2", "symmetric 0.4"]
    assert list(result["levels"]) == names
    assert [level["folder"] for level in result["levels"].values()] == [f"noise-{n.replace(' ', '-')}" for n in names]


def test_every_label_wrong(tmp_path):
    options = SMALL | {"epochs": 1, "noise": "1"}
    result = run(Config(**options, teachers="uniform,dynamic-loss,trusted-only"), tmp_path / "run")
    assert result["noise"]["realised"] == [1.0, 1.0]
    assert "auc" not in result["arms"]["dynamic-loss"]


def test_the_command_line_says_what_follows(kinds, capsys):
    result, out = kinds
    assert main(["resume", str(out)]) == 0
    printed = capsys.readouterr().out
    for kind, level in result["levels"].items():
        assert kind in printed
        for line in level["conclusion"]["lines"]:
            assert line in printed
    page = (out / "report.html").read_text()
    assert "What follows" in page
    assert "noise-symmetric-exact/report.html" in page
    inner = (out / "noise-symmetric-exact" / "report.html").read_text()
    for text in ("Inside the teachers", "Validation-selected", "Noisy fit", "What follows", "mean raw score"):
        assert text in inner, text


def test_the_folder_of_several_kinds_has_no_teachers_itself(kinds, capsys, tmp_path, monkeypatch):
    _, out = kinds
    monkeypatch.chdir(tmp_path)
    line = line_of(capsys, *COMMAND, "--teachers", "deep", "--teacher-from", str(out))
    assert "is a run over several kinds of noise; name one of its folders: noise-pair-flip-exact, noise-symm" in line
    line = line_of(capsys, *COMMAND, "--teachers", "bilinear", "--teacher-from", str(out / "noise-symmetric-exact"))
    assert "has no teacher of the arm bilinear; it has deep, surface." in line
