import errno
import os

import pytest
import torch

from tutelage import checkpoint
from tutelage.checkpoint import load_checkpoint, save_checkpoint, with_prefix, without_prefix
from tutelage.errors import CheckpointError
from tutelage.runs import RunFolder

TENSORS = {"a": torch.arange(3), "b": torch.tensor([1.5, float("nan")])}


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "state.safetensors"
    save_checkpoint(path, TENSORS, {"step": 3, "text": "ü"})
    tensors, facts = load_checkpoint(path)
    assert facts == {"step": 3, "text": "ü"}
    assert torch.equal(tensors["a"], TENSORS["a"])
    assert torch.equal(tensors["b"].isnan(), TENSORS["b"].isnan())
    assert list(path.parent.iterdir()) == [path]


def test_views_of_one_storage(tmp_path):
    whole = torch.arange(10.0)
    save_checkpoint(tmp_path / "s", {"left": whole[:5], "right": whole[5:], "strided": whole[::2]}, {})
    tensors, _ = load_checkpoint(tmp_path / "s")
    assert torch.equal(tensors["strided"], whole[::2])


def test_a_full_disk_keeps_the_previous_one(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, TENSORS, {"step": 1})

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    message = r"cannot write .*state\.safetensors: No space left on device; the previous one is kept; free some space"
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(path, TENSORS, {"step": 2})
    assert load_checkpoint(path)[1] == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_that_dies_while_writing_keeps_the_previous_one(tmp_path):
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, TENSORS, {"step": 1})
    if os.fork() == 0:
        checkpoint.os.replace = lambda *_: os._exit(9)  # dies after the new bytes are on disk, before the rename
        save_checkpoint(path, TENSORS, {"step": 2})
    os.wait()
    assert load_checkpoint(path)[1] == {"step": 1}
    save_checkpoint(path, TENSORS, {"step": 3})
    assert load_checkpoint(path)[1] == {"step": 3}


@pytest.mark.parametrize("length", [0, 4, 60, 150])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged"):
        load_checkpoint(path)


def test_missing_file_and_other_version(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none")
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    save_checkpoint(tmp_path / "new", {}, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has checkpoint format 99, but this version reads 1"):
        load_checkpoint(tmp_path / "new")


def test_prefixes():
    assert without_prefix("x", with_prefix("x", TENSORS) | {"xy.a": TENSORS["a"]}).keys() == TENSORS.keys()


def test_folders_are_numbered(tmp_path):
    assert RunFolder.free("curricula", tmp_path).name == "curricula-001"
    (tmp_path / "curricula-007").mkdir()
    (tmp_path / "curricula-old").mkdir()
    assert RunFolder.free("curricula", tmp_path).name == "curricula-008"


def test_folders_of_runs(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "curricula", {"seeds": 1}, {"training": "abc"}, {})
    assert RunFolder.open(folder.path).read("config.json")["config"] == {"seeds": 1}
    with pytest.raises(CheckpointError, match="is not a run folder"):
        RunFolder.open(tmp_path)
    folder.check_data({"training": "abc"})
    with pytest.raises(CheckpointError, match="the training data has changed since the run started"):
        folder.check_data({"training": "abd"})
    folder.write("config.json", folder.read("config.json") | {"version": "0.0.0"})
    with pytest.raises(CheckpointError, match=r"was written by tutelage 0\.0\.0, but this is"):
        RunFolder.open(folder.path)
    (folder.path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        RunFolder.open(folder.path)


def test_metric_lines(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_metrics([{"a": 1}])
    folder.append_metrics([{"a": 2}, {"a": 3}])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    folder.write_metrics([{"a": 1}])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"a": 1}\n'
