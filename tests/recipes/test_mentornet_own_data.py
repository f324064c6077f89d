"""The recipe on one's own data, with right labels of some rows."""

import numpy as np
import pytest

from tutelage.errors import CheckpointError
from tutelage.recipes import mentornet
from tutelage.recipes.dumping import dump_of
from tutelage.recipes.mentornet import DD, Config, run
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder

from .mentor_runs import SMALL, planned, quick_fits


@pytest.fixture(autouse=True, scope="module")
def _quick_fits():
    with quick_fits():
        yield


@pytest.fixture
def own(tmp_path):
    """Three blobs; a third of the labels is wrong, and an expert looked at sixty."""
    generator = np.random.default_rng(1)
    true = generator.integers(0, 3, 300)
    x = (np.eye(3)[true] * 4 + generator.normal(size=(300, 3))).astype(np.float32)
    given = np.where(generator.random(300) < 0.33, (true + 1) % 3, true)
    np.savez(tmp_path / "own.npz", x=x, y=given, classes=np.array(["ant", "bee", "cow"]))
    index = np.sort(generator.permutation(300)[:60])
    lines = [f"{i},{('ant', 'bee', 'cow')[true[i]]}" for i in index]
    (tmp_path / "right.csv").write_text("\n".join(["index,label", *lines]) + "\n")
    return true, given, index


def own_options(tmp_path):
    return SMALL | {
        "data": str(tmp_path / "own.npz"),
        "trusted_labels": str(tmp_path / "right.csv"),
        "noise": "0",
        "batch_size": 32,
    }


@pytest.mark.parametrize("update_at", [None, "20,60"])
def test_own_data_with_right_labels_of_some_rows(own, tmp_path, update_at):
    true, given, index = own
    options = own_options(tmp_path) | {"teachers": "uniform,mentornet-dd,trusted-only,early-stopping"}
    result = run(Config(**options, update_at=update_at), tmp_path / "run")
    assert (result["data"]["trusted_rows"], result["data"]["test_rows"]) == (60, 90)
    assert result["data"]["train_rows"] == 210
    plan = planned(**options, update_at=update_at)
    tests = []
    for setting in plan.settings:
        roles = setting.roles
        np.testing.assert_array_equal(roles["trusted"], index)
        assert np.isin(index, roles["train"]).all()
        assert not np.isin(roles["test"], roles["train"]).any()
        np.testing.assert_array_equal(np.union1d(roles["test"], roles["train"]), np.arange(300))
        np.testing.assert_array_equal(setting.noise.noisy, given)
        np.testing.assert_array_equal(setting.noise.clean[index], true[index])
        np.testing.assert_array_equal(np.delete(setting.noise.clean, index), np.delete(given, index))
        batch, (checked,) = setting.trusted_batch(), setting.evaluation("trusted").batches()
        for trusted in (batch, checked):
            np.testing.assert_array_equal(trusted.index, index)
            np.testing.assert_array_equal(trusted.y, true[index])
        (tested,) = setting.evaluation("test").batches()
        np.testing.assert_array_equal(tested.y, given[roles["test"]])
        tests.append(tuple(roles["test"]))
    assert tests[0] != tests[1]
    outcome = read_outcome(RunFolder.open(tmp_path / "run"), "uniform")
    if update_at is None:
        for seed in (0, 1):
            dump = dump_of(outcome.tensors, seed, "dump")
            np.testing.assert_array_equal(dump.id.unique(), index)
            np.testing.assert_array_equal(dump.trusted[:60], true[index])
            np.testing.assert_array_equal(dump.given[:60], given[index])
    assert (tmp_path / "run" / "suspects" / f"{DD}.parquet").is_file()


def test_own_data_with_a_test_set_of_its_own(own, tmp_path):
    arrays = dict(np.load(tmp_path / "own.npz"))
    np.savez(tmp_path / "own.npz", **arrays, x_test=arrays["x"][:40], y_test=arrays["y"][:40])
    plan = planned(**own_options(tmp_path), teachers="uniform")
    assert len(plan.settings[0].roles["train"]) == 300
    assert plan.settings[0].test_rows == 40


def test_right_labels_that_change_stop_a_resume(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = own_options(tmp_path) | {"data": "own.npz", "trusted_labels": "right.csv", "teachers": "uniform"}
    before = run(Config(**options), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mentornet.resume(RunFolder.open(tmp_path / "run")) == before
    with (tmp_path / "right.csv").open("a") as file:
        file.write(f"{next(i for i in range(300) if i not in own[2])},ant\n")
    with pytest.raises(CheckpointError, match="the trusted label data has changed since the run started"):
        mentornet.resume(RunFolder.open(tmp_path / "run"))
