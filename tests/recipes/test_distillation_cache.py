"""Distillation in a five-second size: the teachers' answers from a file, and live where they cannot be kept."""

import pytest
import torch

from tutelage.errors import CheckpointError
from tutelage.nets.weights import save_weights
from tutelage.recipes.distillation import Config, run

from .distillation_runs import SMALL, images, plan, saved_teacher

HINTS = {"hint_layers": "2:2", "seeds": 1, "steps": 2}
CACHED = SMALL | {"arms": "scratch,kd,logits", "cache": True, "steps": 40}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path):
    return saved_teacher(tmp_path)


def test_a_second_run_starts_from_the_cache(tmp_path):
    first, second = (run(Config(**CACHED), tmp_path / name) for name in ("one", "two"))
    caches = [result["distillation"]["caches"] for result in (first, second)]
    assert [facts["reused"] for facts in caches[0].values()] == [False, False]
    assert [facts["reused"] for facts in caches[1].values()] == [True, True]
    assert caches[0]["seed 1, teacher"]["file"] == caches[1]["seed 1, teacher"]["file"]
    assert first["arms"] == second["arms"]
    assert second["conclusion"]["lines"][-1] == "the teachers' answers: 2 from files; 2 of which were there before."
    live = run(Config(**CACHED | {"cache": False}), tmp_path / "live")
    assert live["arms"]["scratch"] == first["arms"]["scratch"]
    assert live["arms"]["kd"]["accuracy"]["mean"] == pytest.approx(first["arms"]["kd"]["accuracy"]["mean"], abs=0.01)


def test_two_passes_that_do_not_come_out_even_are_two(tmp_path):
    """105 rows in batches of 16: two passes are 13 steps, which see 1.98 times as many rows."""
    passes = {"steps": None, "epochs": 2, "train_rows": 105, "batch_size": 16, "seeds": 1, "arms": "kd"}
    (facts,) = run(Config(**CACHED | passes), tmp_path / "run")["distillation"]["caches"].values()
    assert facts["source"] == "cache"


def test_a_changed_teacher_has_another_cache_and_a_named_file_is_refused(tmp_path, weights):
    net, path = weights
    options = CACHED | {"teacher": "mlp-gelu-24", "teacher_batch": None, "teacher_weights": path, "seeds": 1}
    named = options | {"cache_path": str(tmp_path / "kept.logits")}
    run(Config(**named), tmp_path / "one")
    assert run(Config(**named), tmp_path / "two")["distillation"]["caches"]["seed 0, teacher"]["reused"]
    with torch.no_grad():
        net[1].weight[3, 4] += 1e-3
    save_weights(net, path, {})
    with pytest.raises(CheckpointError, match=r"(?s)kept\.logits.*1\.weight"):
        run(Config(**named), tmp_path / "three")
    assert not (tmp_path / "three").exists()
    fresh = run(Config(**options), tmp_path / "four")["distillation"]["caches"]
    assert not fresh["seed 0, teacher"]["reused"]


def test_random_crops_are_answered_live_and_views_from_a_file(tmp_path):
    data = {"data": images(tmp_path), "classes": 2, "arms": "kd", "seeds": 1, "batch_size": 8, "teacher_batch": 8}
    result = run(Config(**CACHED | data, cache_views=0), tmp_path / "live")
    (facts,) = result["distillation"]["caches"].values()
    assert facts["source"] == "live"
    assert result["conclusion"]["lines"][-1].startswith("the teachers' answers: live, because ")
    teacher = result["stages"]["teacher"]["fingerprints"]
    result = run(Config(**CACHED | data, cache_views=2, cache_mode="force"), tmp_path / "views")
    (facts,) = result["distillation"]["caches"].values()
    assert facts["source"] == "cache"
    assert result["stages"]["teacher"]["fingerprints"] == teacher  # it does not know of the cache
    assert "to 2 fixed views of each row" in result["conclusion"]["lines"][-1]


def test_a_cache_changes_no_training_row_unless_views_are_asked_for(tmp_path):
    data = {"data": images(tmp_path), "classes": 2, "arms": "scratch,kd", "batch_size": 8, "teacher_batch": 8}
    kept, live = (plan(**CACHED | data | {"cache": cache}) for cache in (True, False))
    assert kept.options.cache_views == 8  # 40 steps of 8 are 8 passes over 40 rows
    assert live.settings[0].views is None
    by_name = [{stage.name: stage for stage in found.order} for found in (kept, live)]
    streams = [stages["scratch"].batch(found.settings[0], {}) for stages, found in zip(by_name, (kept, live))]
    for step in (0, 7, 39):
        mine, theirs = (stream(step) for stream in streams)
        assert torch.equal(mine.x, theirs.x)
        assert mine.view is not None
    assert plan(**CACHED | data | {"steps": 45}).settings[0].views is None  # more passes, each with new crops
    assert plan(**CACHED | data | {"replacement": True}).settings[0].views is None


def test_arms_that_no_file_can_answer_are_live_and_say_why(tmp_path):
    arms = "kd,hints,noisy,born-again-ensemble"
    more = {"hint_layers": "2:2", "noise_stage": "dropout", "generations": 1, "seeds": 1, "steps": 20}
    result = run(Config(**CACHED | {"arms": arms} | more), tmp_path / "run")
    reasons = {
        "hints": "it learns from layers inside the teacher",
        "noisy": "the teacher's hidden units are disturbed anew in each step",
        "born-again-ensemble": "its teachers are the generations before it, each of which teaches one student",
    }
    assert result["distillation"]["live"] == reasons
    told = [f"{arm} is answered live, because {reason}." for arm, reason in reasons.items()]
    assert result["conclusion"]["lines"][-3:] == told
    assert result["conclusion"]["lines"][-4].startswith("the teachers' answers: 1 from files;")
    off = run(Config(**CACHED | {"arms": "kd,hints", "cache": False} | HINTS), tmp_path / "off")
    assert off["distillation"]["live"] == {}


def test_several_teachers_are_live_with_a_file_of_one(tmp_path):
    options = CACHED | {"arms": "kd,ensemble", "seeds": 1, "cache_path": str(tmp_path / "kept.logits")}
    result = run(Config(**options), tmp_path / "run")
    assert list(result["distillation"]["caches"]) == ["seed 0, teacher"]
    assert result["distillation"]["live"] == {"ensemble": "--cache-path is the file of one teacher"}


def test_the_largest_logits_only(tmp_path):
    options = CACHED | {"arms": "kd,kd-t1,hard-labels", "cache_top_k": 3, "temperature": 3.0, "seeds": 1}
    result = run(Config(**options), tmp_path / "run")
    assert result["distillation"]["caches"]["seed 0, teacher"]["source"] == "cache"
    assert result["warnings"][0] == (
        "kd: the largest 3 of 10 logits are kept, and the others count as one class; that gives nearly the gradient of "
        "all of them up to temperature 2, less so at 3."
    )
    for name, more in (("cold", {"temperature": 2.0}), ("all", {"cache_top_k": 10}), ("other", {"arms": "kd-t1"})):
        given = options | {"steps": 4} | more | ({} if name != "other" else {"temperature": 4.0})
        assert not any("are kept" in line for line in run(Config(**given), tmp_path / name)["warnings"])
