"""Distillation in a five-second size: teachers from files, and students written to files."""

import json
import sys

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.frozen import Frozen
from tutelage.nets import build, load_weights
from tutelage.nets.weights import save_weights
from tutelage.recipes import distillation
from tutelage.recipes.distillation import Config, run
from tutelage.recipes.distillation.used import ASKED
from tutelage.recipes.distilling.files import Left
from tutelage.recipes.distilling.prints import fingerprint
from tutelage.runs import RunFolder

from .distillation_runs import FROM_FILE, REVERSED, SMALL, plan, saved_teacher


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path):
    return saved_teacher(tmp_path)


# Teachers from files.


def test_a_teacher_from_a_file(tmp_path, weights):
    net, path = weights
    options = FROM_FILE | {"arms": "scratch,kd"}
    result = run(Config(**options, teacher_weights=path), tmp_path / "run")
    assert result["stages"]["teacher"]["steps"] == 0
    assert [p["network"] for p in result["stages"]["teacher"]["fingerprints"]] == [fingerprint([net])] * 2
    assert result["stages"]["kd"]["fingerprints"][1]["teachers"] == {"teacher": fingerprint([net])}


def last_layer_turned_round(tmp_path, name, **options):
    """Results by a teacher, by the same with its classes in reverse order and the map, and by that without the map."""
    net, results = build(name, (1, 8, 8), 10, seed=5), []
    options = SMALL | {"teacher": name, "teacher_batch": None, "seeds": 1, "steps": 4} | options
    for which, class_map in (("plain", None), ("mapped", REVERSED), ("scrambled", None)):
        if which == "mapped":
            with torch.no_grad():
                for tensor in list(net.parameters())[-2:]:
                    tensor.copy_(tensor.flip(0))
        path = str(tmp_path / f"{which}.safetensors")
        save_weights(net, path, {})
        results.append(run(Config(**options, teacher_weights=path, class_map=class_map), tmp_path / which))
    return results


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp-gelu-24", {"arms": ",".join((*ASKED, "hints")), "hint_layers": "2:2", "hint_loss": "kd",
                         "teachers_in_ensemble": 2, "teacher_steps": 30}),
        ("mlp-gelu-24", {"arms": "logits,kd,noisy", "logits_normalise": "teacher_std", "noise_stage": "inputs",
                         "cache": True, "cache_dtype": "float32"}),
        ("mlp-gelu-24-dropout-0.3", {"arms": "noisy", "noise_stage": "dropout"}),
        ("cnn", {"arms": "attention", "student": "cnn", "hint_layers": "2:0", "hint_loss": "kd"}),
    ],
)  # fmt: skip
def test_a_class_map_is_of_all_that_the_teacher_from_a_file_answers(tmp_path, name, options):
    plain, mapped, scrambled = last_layer_turned_round(tmp_path, name, **options)
    assert list(plain["arms"]) == options["arms"].split(",")
    for arm, metrics in plain["arms"].items():  # a product rounds as its columns are arranged
        needed = {name: pytest.approx(metric["values"], rel=1e-5, abs=1e-6) for name, metric in metrics.items()}
        assert {name: metric["values"] for name, metric in mapped["arms"][arm].items()} == needed
        assert {name: metric["values"] for name, metric in scrambled["arms"][arm].items()} != needed
    assert mapped["stages"]["teacher"]["accuracy"] == plain["stages"]["teacher"]["accuracy"]
    assert scrambled["stages"]["teacher"]["accuracy"] != plain["stages"]["teacher"]["accuracy"]


def test_a_teacher_from_a_file_may_know_the_test_rows(tmp_path, weights):
    options = FROM_FILE | {"arms": "kd", "seeds": 1, "steps": 2, "teacher_weights": weights[1]}
    result = run(Config(**options), tmp_path / "run")
    assert result["warnings"][0] == (
        "the teacher's weights are from a file, and digits has no test rows of its own: it may have learned from rows "
        "that are tested on, and its accuracy and that of its students may be too high."
    )
    for role, rows in (("train", 90), ("test", 30)):
        lines = [",".join(["1.5"] * 64 + [str(row % 10)]) for row in range(rows)]
        names = [f"x{i}" for i in range(64)]
        (tmp_path / f"table-{role}.csv").write_text("\n".join([",".join([*names, "label"]), *lines]))
    data = {"data": str(tmp_path / "table-train.csv"), "classes": 10, "init": "default"}
    apart = run(Config(**options | data), tmp_path / "apart")
    assert apart["data"]["own_test"]
    assert not any("tested on" in line for line in apart["warnings"])
    trained = run(Config(**SMALL | {"arms": "kd", "seeds": 1, "steps": 2}), tmp_path / "trained")
    assert not any("tested on" in line for line in trained["warnings"])


# Exports.


def test_export(tmp_path):
    path = tmp_path / "student.safetensors"
    config = Config(**SMALL, arms="scratch,logits,kd", export=str(path), export_arm="logits")
    result = run(config, tmp_path / "run")
    assert f"the student of logits with seed 0 is in {path}." in result["conclusion"]["lines"]
    net = build("mlp-gelu-8", (1, 8, 8), 10)
    facts = load_weights(net, path)
    assert (facts["arm"], facts["seed"]) == ("logits", 0)
    found = plan(arms="logits")
    left = Left(RunFolder.open(tmp_path / "run"), {stage.name: stage for stage in found.stages}, found.settings)
    assert fingerprint([net]) == fingerprint(left.of("logits")[0])


def test_an_export_that_fails_leaves_the_result_and_can_be_made_later(tmp_path, monkeypatch):
    path = tmp_path / "student.safetensors"
    config = Config(**SMALL | {"seeds": 1}, arms="kd", export=str(path))
    rehearse = distillation.rehearse_export

    def meanwhile(*given):
        rehearse(*given)
        path.write_text("of somebody else")

    monkeypatch.setattr(distillation, "rehearse_export", meanwhile)
    with pytest.raises(ConfigError, match=r"--export .* holds something else; move it away and resume the run"):
        run(config, tmp_path / "run")
    assert path.read_text() == "of somebody else"
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    path.unlink()
    result = distillation.resume(RunFolder.open(tmp_path / "run"))
    assert result["arms"] == kept["arms"]
    line = f"the student of kd with seed 0 is in {path}."
    assert result["conclusion"]["lines"] == [*kept["conclusion"]["lines"], line]
    load_weights(build("mlp-gelu-8", (1, 8, 8), 10), path)
    assert distillation.resume(RunFolder.open(tmp_path / "run")) == result  # the file is there, and its own
    assert {each.name for each in tmp_path.iterdir()} == {"run", "student.safetensors"}


def test_an_export_that_cannot_be_is_refused_before_training(tmp_path, weights, monkeypatch):
    options = FROM_FILE | {"arms": "kd", "seeds": 1}

    def refused(**more):
        with pytest.raises(ConfigError) as caught:
            run(Config(**options | more), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    before = (tmp_path / "teacher.safetensors").read_bytes()
    assert "exists; name another file" in refused(teacher_weights=weights[1], export=weights[1])
    assert (tmp_path / "teacher.safetensors").read_bytes() == before
    both = str(tmp_path / "both.safetensors")
    assert "is the file of --cache-path" in refused(cache=True, cache_path=both, export=both)
    (tmp_path / "folder.onnx").mkdir()
    assert "folder.onnx is a folder; name a file" in refused(export=str(tmp_path / "folder.onnx"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "export to ONNX needs onnx and onnxscript" in refused(export=str(tmp_path / "student.onnx"))

    def denied(**given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tutelage.recipes.distillation.exporting.TemporaryDirectory", denied)
    assert "cannot be written to (Permission denied)" in refused(export=both)


@pytest.mark.slow
def test_export_to_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "student.onnx"
    run(Config(**SMALL | {"seeds": 1}, arms="kd", export=str(path)), tmp_path / "run")
    found = plan(arms="kd", seeds=1)
    left = Left(RunFolder.open(tmp_path / "run"), {stage.name: stage for stage in found.stages}, found.settings)
    (x, *_), _ = found.settings[0].held_out("test")
    (answers,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x.numpy()})
    assert np.allclose(answers, Frozen(left.of("kd")[0]).answers(x).numpy(), atol=1e-5)
