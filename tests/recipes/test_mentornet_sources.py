"""Where the mentors of the recipe come from: the run itself, a file, or another run."""

import json

import pytest
import torch

from tutelage.mentors import Mentor, MentorNetwork, Settings, load_mentor, save_mentor, shipped
from tutelage.recipes import mentornet
from tutelage.recipes.mentor_files import find_mentor, mentor_file
from tutelage.recipes.mentornet import DD, Config, run
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder

from .mentor_runs import SMALL, finished_run, planned, quick_fits


@pytest.fixture(autouse=True, scope="module")
def _quick_fits():
    with quick_fits():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


def test_updates_during_the_run(tmp_path):
    options = {"teachers": "uniform,mentornet-dd", "update_at": "21,75"}
    result = run(Config(**SMALL | {"epochs": 12}, **options), tmp_path / "run")
    assert "dump_loss" not in read_outcome(RunFolder.open(tmp_path / "run"), "uniform").tensors
    for seed, facts in enumerate(result["mentors"]):
        updates = facts["origin"]["updates"]
        assert [u["percent"] for u in updates] == [21, 75]
        assert all(0 <= u["agreement"] <= 1 for u in updates)
        made = load_mentor(tmp_path / "run" / mentor_file(seed))
        assert made.held == 75
        assert (made.settings.percentile, made.settings.classes) == (0.5, 10)
        assert facts["made_for"] == []
    records = json.loads((tmp_path / "run" / "arms" / f"{DD}.json").read_text())["records"]
    weights = [r["weight_right"] for r in records[0]]
    dropped = [r["weight_wrong"] for r in records[0]]
    assert weights[:2] == dropped[:2] == [1.0, 1.0]
    assert all(w < 1 for w in weights[3:])


def test_updates_keep_the_settings_that_were_used(tmp_path):
    options = {"update_at": "25,30", "moving_average": 0.9, "burn_in": 4, "percentile": "0.6", "seeds": 1, "epochs": 1}
    result = run(Config(**SMALL | options, teachers="mentornet-dd"), tmp_path / "run")
    settings = load_mentor(tmp_path / "run" / mentor_file(0)).settings
    assert (settings.decay, settings.burn_in, settings.percentile) == (0.9, 4, 0.6)
    # both times lie between two steps of nine (22 and 33 %): one update, logged once
    assert [u["percent"] for u in result["mentors"][0]["origin"]["updates"]] == [33]


def test_all_trusted_rows_come_to_an_update():
    plan = planned(update_at="50", trusted=0.9, teachers="mentornet-dd")
    assert plan.trajectories[DD].validation >= 1132


def test_form_and_time_of_the_network(tmp_path):
    run(Config(**SMALL | {"form": "mlp", "seeds": 1}, teachers=DD), tmp_path / "mlp")
    assert load_mentor(tmp_path / "mlp" / mentor_file(0)).network.form == "mlp"
    run(Config(**SMALL | {"time": "code", "seeds": 1}, teachers=DD), tmp_path / "code")
    assert load_mentor(tmp_path / "code" / mentor_file(0)).network.time == "code"
    run(Config(**SMALL | {"time": "code", "seeds": 1}, teachers=DD, update_at="20"), tmp_path / "updates")
    made = load_mentor(tmp_path / "updates" / mentor_file(0))
    assert (made.network.form, made.network.time, made.network.bias_in_matrix) == ("gate", "code", False)


def test_percentile_of_the_trusted_labels(tmp_path):
    plan = planned(percentile="trusted")
    run(Config(**SMALL, percentile="trusted", teachers=DD), tmp_path / "run")
    for seed, setting in enumerate(plan.settings):
        right = 1 - setting.noise.mask[setting.roles["trusted"]].mean()
        assert load_mentor(tmp_path / "run" / mentor_file(seed)).settings.percentile == pytest.approx(right)


# from elsewhere


def test_a_shipped_mentor(tmp_path):
    result = run(Config(**SMALL | {"epochs": 8}, teachers=DD, mentor="self_paced"), tmp_path / "run")
    assert list(result["training"]["stacked"]) == [DD]
    made, needed = load_mentor(tmp_path / "run" / mentor_file(1)), shipped("self_paced")
    assert torch.equal(made.network.out.weight, needed.network.out.weight)
    assert result["mentors"][0]["origin"] == needed.settings.origin
    assert result["mentors"][0]["made_for"] == []


def test_a_file_that_was_made_for_something_else(tmp_path):
    settings = Settings(percentile=0.8, classes=100, loss="squared_error", burn_in=9, origin={"source": "elsewhere"})
    save_mentor(Mentor(MentorNetwork(seed=5), settings), tmp_path / "mine")
    result = run(Config(**SMALL, teachers=DD, mentor=str(tmp_path / "mine")), tmp_path / "run")
    for facts in result["mentors"]:
        assert facts["made_for"] == [
            "percentile 0.8, used with 0.5",
            "100 classes, used with 10",
            "loss squared_error, used with cross_entropy",
        ]
        assert facts["origin"] == {"source": "elsewhere"}
    same = run(Config(**SMALL, teachers=DD, mentor=str(tmp_path / "mine"), percentile="0.8"), tmp_path / "again")
    assert not any("percentile" in line for line in same["mentors"][0]["made_for"])


def test_the_mentors_of_a_run(finished, tmp_path):
    """Each seed gets its own; one without gets those that are there in turn."""
    _, out = finished
    options = SMALL | {"seeds": 3, "first_seed": 1}
    result = run(Config(**options, teachers=DD, mentor=str(out)), tmp_path / "run")
    assert [facts["seed"] for facts in result["mentors"]] == [1, 2, 3]
    for seed, origin in ((1, 1), (2, 0), (3, 1)):
        used, made = (load_mentor(tmp_path / "run" / mentor_file(seed)), load_mentor(out / mentor_file(origin)))
        assert torch.equal(used.network.out.weight, made.network.out.weight)
    assert torch.equal(find_mentor(str(out)).network.out.weight, find_mentor(str(out), seed=0).network.out.weight)


def test_a_mentor_from_a_run_at_the_same_noise_gives_the_same_students(finished, tmp_path):
    """Nothing but the mentor comes from the plain run."""
    result, out = finished
    again = run(Config(**SMALL, teachers="uniform,mentornet-dd", mentor=str(out)), tmp_path / "run")
    assert again["arms"][DD] == result["arms"][DD]


def test_a_run_with_a_mentor_goes_on_from_another_folder(finished, tmp_path, monkeypatch):
    _, out = finished
    monkeypatch.chdir(out.parent)
    path = tmp_path / "run"
    before = run(Config(**SMALL, teachers=DD, mentor="run"), path)
    monkeypatch.chdir(tmp_path)
    after = mentornet.resume(RunFolder.open(path))
    assert before == after


@pytest.mark.parametrize("fixed_time", [None, True, False])
def test_the_clock(fixed_time):
    plan = planned(mentor="focal", fixed_time=fixed_time, teachers=DD)
    teacher = plan.trajectories[DD].teacher(plan.settings[0], None)
    made = shipped("focal").settings.fixed_time if fixed_time is None else fixed_time
    assert teacher.mentor.settings.fixed_time is made
