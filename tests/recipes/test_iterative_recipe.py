"""Iterative teaching as a recipe: what its teachers reach, its parts against plain forms, resuming."""

import json
import math
import statistics

import numpy as np
import pytest
import torch
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.errors import CheckpointError, NotFiniteError
from tutelage.linear_sgd import LOGISTIC, SQUARED
from tutelage.recipes import iterative
from tutelage.recipes.iterative import Config, run
from tutelage.recipes.iterative.arms import TEACHERS, Setting
from tutelage.recipes.iterative.at_random import RandomSteps
from tutelage.recipes.iterative.course import FIRST, taught
from tutelage.recipes.iterative.dimension import smallest_sets
from tutelage.recipes.iterative.minimising import logistic, ridge, svm
from tutelage.recipes.iterative.plan import prepare
from tutelage.recipes.iterative.spread import marks, median
from tutelage.recipes.iterative.summing import rounding
from tutelage.runs import RunFolder
from tutelage.teachers.label.label_synthesis import LabelSynthesis

from .interrupted import Stops, assert_same
from .iterative_runs import DIGITS, SMALL, digits_run, regression_run


@pytest.fixture
def base(tmp_path_factory):
    return tmp_path_factory.getbasetemp()


def setting(**options):
    plan = prepare(Config(**SMALL | options), fresh=True)
    return Setting(plan.problem(0), plan.options)


# The result.


def test_teachers_that_know_more_end_nearer(base):
    result, _ = regression_run(base)
    ends = {name: own["distance"]["20"]["median"] for name, own in result["iterative"]["arms"].items()}
    assert ends["omniscient"] < ends["surrogate"] < ends["random"]
    assert ends["omniscient"] < ends["imitation"] < ends["random"]
    assert result["order"] == [
        *("random", "omniscient", "surrogate", "imitation", "imitation-blind", "label-synthesis"),
    ]


def test_numbers_of_the_result_follow_from_the_distances_of_each_seed(base):
    result, out = regression_run(base)
    facts = result["iterative"]
    seeds = [json.loads((out / f"arms/taught-{s}.json").read_text())["facts"] for s in result["seeds"]]
    assert facts["marks"] == [2, 6, 20]
    for name in result["order"]:
        curves = [own["arms"][name]["distance"] for own in seeds]
        assert all(len(curve) == 21 for curve in curves)
        own = facts["arms"][name]
        assert own["distance"]["6"]["median"] == statistics.median(curve[6] for curve in curves)
        arrived = [next((t for t, value in enumerate(curve) if value <= 0.01), None) for curve in curves]
        assert own["reached"]["values"] == arrived
    for c in facts["differences"]["20"]:
        ends = [[own["arms"][name]["distance"][20] for own in seeds] for name in (c["a"], c["b"])]
        orders = [math.log10(max(b, facts["floor"]) / max(a, facts["floor"])) for a, b in zip(*ends)]
        assert c["b"] == "random"
        assert c["differences"] == pytest.approx(orders)
    assert facts["start"]["median"] == pytest.approx(1)


def test_metric_lines(base):
    result, out = regression_run(base)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 6 * 6 * 3
    mine = [line["squared_distance"] for line in lines if (line["arm"], line["step"]) == ("surrogate", 20)]
    assert mine == result["iterative"]["arms"]["surrogate"]["distance"]["20"]["values"]


def test_conclusion(base):
    result, _ = regression_run(base)
    first, *rest = result["conclusion"]["lines"]
    ends = {name: own["distance"]["20"]["median"] for name, own in result["iterative"]["arms"].items()}
    nearest = min(ends, key=ends.get)
    told = f"Nearest after 20 steps: {nearest}, median squared distance to the target {ends[nearest]:.3g}; random "
    assert first.startswith(told)
    assert "orders of magnitude: better)." in first
    assert any(line.startswith("After 20 steps: nearer than random: omniscient, surrogate") for line in rest)
    assert any("ridge regression 1 item " in line for line in rest)


def test_digits(base):
    """Accuracy is there, shown rows are told, the filter leaves fewer wrong labels; softmax labels are mixtures."""
    result, out = digits_run(base)
    facts = result["iterative"]
    assert 0 < facts["rows"]["kept"] < facts["rows"]["pool"] == 720
    assert facts["rows"]["realised"] > 0.1
    assert set(result["arms"]["omniscient"]) == {"accuracy", "squared_distance"}
    assert facts["target_accuracy"] > 0.85
    assert facts["near"] is None
    assert all(len(lesson["told"]) == 5 for lesson in facts["shown"]["label-synthesis"])
    assert len(facts["shown"]["random"]) == FIRST
    assert [len(own["sizes"]) for own in facts["dimension"].values()] == [5, 5, 5]
    assert (out / "arms/taught-0.safetensors").is_file()
    assert not (out / "arms/taught-1.safetensors").exists()


def test_a_noisy_pool_and_its_filter():
    problems = {
        name: prepare(Config(**DIGITS, filter=name), fresh=True).problem(0)
        for name in ("none", "in-sample", "cross-fitted")
    }
    wrong = {name: float((own.pool.y != own.true).double().mean()) for name, own in problems.items()}
    assert wrong["cross-fitted"] < wrong["in-sample"] < wrong["none"]
    assert wrong["none"] == pytest.approx(problems["none"].facts["realised"])


def test_mcboost_labels_are_real_ones(tmp_path):
    options = {**DIGITS, "steps": 3, "seeds": 1, "loss": "mcboost", "teachers": "label-synthesis"}
    result = run(Config(**options), tmp_path / "run")
    assert result["config"]["hard"] is True
    assert all(lesson["told"] in range(5) for lesson in result["iterative"]["shown"]["label-synthesis"])


def test_the_logistic_target_is_the_minimiser():
    own = setting(problem="logistic").problem
    w = own.target[0].clone().requires_grad_()
    loss = LOGISTIC.losses((own.pool.x @ w)[:, None], own.pool.y).mean() + 0.005 * w.square().sum()
    (slope,) = torch.autograd.grad(loss, w)
    assert slope.norm() < 1e-12
    assert set(own.pool.y.tolist()) == {-1.0, 1.0}


# Its parts.


def test_random_steps_are_plain_stochastic_gradient_descent():
    own = setting(steps=12)
    found = taught("random", own, lambda: None)
    x, y, w = own.problem.pool.x, own.problem.pool.y, torch.zeros(4, dtype=torch.float64)
    for lesson, after in zip(found["shown"], found["distance"][1:]):
        i = lesson["index"]
        w = w - 0.05 * (w @ x[i] - y[i]) * x[i]
        assert after == pytest.approx(float((w - own.problem.target[0]).square().sum()), abs=1e-14)
    assert len({lesson["index"] for lesson in found["shown"]}) > 1


def test_random_rows_are_those_that_label_synthesis_labels():
    own = setting()
    pool = own.problem.pool
    makers = RandomSteps(SQUARED, seed=3), LabelSynthesis(own.problem.target, loss=SQUARED, seed=3)
    shown = []
    for teacher in makers:
        learner, rows = own.problem.learner(), []
        for _ in range(9):
            lesson = teacher.teach(pool, learner)
            teacher.learn(lesson, learner, None)
            learner.study(lesson)
            rows.append(int(lesson.notes["row"]))
        shown.append(rows)
    assert shown[0] == shown[1]
    assert not torch.equal(lesson.target, pool.y[lesson.notes["row"]])


def test_an_omniscient_promise_is_kept_and_a_surrogate_one_is_least():
    own = setting()
    for lesson in taught("omniscient", own, lambda: None)["shown"]:
        assert lesson["promised"] == pytest.approx(lesson["fall"], abs=1e-14)
    for lesson in taught("surrogate", own, lambda: None)["shown"]:
        assert lesson["promised"] <= lesson["fall"] + 1e-14


def test_rescaled_rows_are_known_by_their_own_index():
    own = setting(teachers="rescalable", scales="1,3")
    pool = TEACHERS["rescalable"].pool(own)
    assert len(pool) == 120
    for lesson in taught("rescalable", own, lambda: None)["shown"]:
        norm = float(own.problem.pool.x[lesson["index"]].norm())
        assert lesson["size"] == pytest.approx(norm) or lesson["size"] == pytest.approx(3 * norm)
        assert lesson["given"] == float(own.problem.pool.y[lesson["index"]])


def test_a_learner_that_diverges_is_named(tmp_path):
    with pytest.raises(
        NotFiniteError, match=r"^taught, seed 0: random: after step \d+ .* use a smaller --eta than 900"
    ):
        run(Config(**SMALL | {"eta": 900.0, "steps": 200, "seeds": 1, "teachers": "random"}), tmp_path / "run")


def objective(losses, x, y, w, decay):
    return float(losses(x @ w, y).sum() + decay / 2 * w.square().sum())


@pytest.mark.parametrize(
    ("solve", "losses"),
    [
        (ridge, lambda z, y: (z - y).square() / 2),
        (logistic, lambda z, y: nn.functional.softplus(-y * z)),
        (svm, lambda z, y: (1 - y * z).clamp_min(0)),
    ],
)
def test_minimisers(solve, losses):
    """No step in a random direction lowers the objective; sets with errors, so that none is 0."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(15, 3, generator=g, dtype=torch.float64)
    y = torch.where(torch.rand(15, generator=g) < 0.5, -1.0, 1.0).double()
    w = solve(x, y, 0.7)
    least = objective(losses, x, y, w, 0.7)
    for _ in range(200):
        for size in (1e-1, 1e-3, 1e-5):
            near = w + size * torch.randn(3, generator=g, dtype=torch.float64)
            assert objective(losses, x, y, near, 0.7) >= least - 1e-12


@pytest.mark.parametrize("solve", [ridge, logistic])
def test_minimisers_of_more_inputs_than_items(solve):
    """As of fewer: inputs that are always 0 change nothing but their own weights, which are 0."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(4, 3, generator=g, dtype=torch.float64), torch.tensor([1.0, -1, 1, 1]).double()
    wide = torch.cat([x, torch.zeros(4, 9, dtype=torch.float64)], 1)
    found = solve(wide, y, 0.3)
    assert torch.allclose(found[:3], solve(x, y, 0.3), rtol=0, atol=1e-12)
    assert not found[3:].abs().gt(1e-14).any()


def test_smallest_sets():
    target = torch.tensor([[0.6, 0.8], [0.0, -3.0]], dtype=torch.float64)
    found = smallest_sets(target, 0.5)
    assert found["ridge regression"]["sizes"] == [1, 1]
    assert found["support vector machine"]["sizes"] == [1, 5]  # ceil(0.5), ceil(4.5)
    assert found["logistic regression"]["sizes"] == [2, 17]  # divided by 0.27846
    assert all(own["error"] < 1e-10 for own in found.values())


def test_a_set_that_does_not_teach_shows(monkeypatch):
    from tutelage.recipes.iterative import dimension

    made, trained = dimension._LEARNERS["ridge regression"]
    off = lambda target, decay: made(1.01 * target, decay)  # noqa: E731
    monkeypatch.setattr(dimension, "_LEARNERS", {"ridge regression": (off, trained)})
    found = dimension.smallest_sets(torch.ones(1, 2, dtype=torch.float64), 1.0)
    assert found["ridge regression"]["error"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("values", "middle", "low", "high"),
    [
        ([3.0, 1.0, 2.0], 2, None, None),
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 3.5, 1, 6),
        ([float(v) for v in range(10)], 4.5, 1, 8),  # 2 P(B < 2) = 0.021, 2 P(B < 3) = 0.109
        ([1.0, 2.0, None], 2, None, None),
        ([1.0, None, None], None, None, None),
        ([1.0, 2.0, 3.0, 4.0, 5.0, None], 3.5, 1, None),
    ],
)
def test_median(values, middle, low, high):
    found = median(values)
    assert (found["median"], found["low"], found["high"]) == (middle, low, high)
    assert found["values"] == values


def test_the_interval_holds_the_median_often_enough():
    g = np.random.default_rng(0)
    draws = 10.0 ** g.normal(0, 5, (2000, 9))
    held = np.mean([found["low"] <= 1 <= found["high"] for found in map(median, draws.tolist())])
    assert held >= 0.95


@pytest.mark.parametrize(("steps", "expected"), [(100, (10, 30, 100)), (5, (1, 5)), (1, (1,)), (8, (1, 2, 8))])
def test_marks(steps, expected):
    assert marks(steps) == expected


def test_the_floor_is_that_of_rounding():
    assert rounding([1.0, 4.0]) == pytest.approx(4 * 2.0**-104)


def test_the_problem_is_a_function_of_the_seed_alone():
    one, again = setting().problem, setting(teachers="surrogate", steps=3).problem
    other = prepare(Config(**SMALL), fresh=True).problem(1)
    assert torch.equal(one.pool.x, again.pool.x)
    assert torch.equal(one.target, again.target)
    assert not torch.equal(one.pool.x, other.pool.x)
    assert one.target.norm() == pytest.approx(1)


def test_the_learner_starts_at_zero():
    learner = setting().problem.learner()
    assert isinstance(learner, Student)
    assert learner.rule == SGD(0.05)
    assert not learner.head[1].any()
    assert isinstance(setting().problem.pool, Batch)


# Going on.


@pytest.mark.parametrize("after", [1, 130, 700])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(after, base, tmp_path):
    """In the first piece, in the second, in the last."""
    _, whole = regression_run(base)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(Config(**SMALL), out, Stops("taught", after))
    iterative.resume(RunFolder.open(out))
    assert_same(out, whole)


def test_digits_go_on_too(base, tmp_path):
    _, whole = digits_run(base)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(Config(**DIGITS, teachers="omniscient,label-synthesis,rescalable"), out, Stops("taught", 45))
    iterative.resume(RunFolder.open(out))
    assert_same(out, whole)
    name = "arms/taught-0.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_resuming_a_finished_run_gives_its_result_again(base):
    result, out = regression_run(base)
    again = iterative.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_a_damaged_part(tmp_path):
    run(Config(**SMALL | {"seeds": 1, "steps": 2}), tmp_path / "run")
    (tmp_path / "run/arms/taught-0.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"arms/taught-0.json is damaged; remove it and resume to do this part"):
        iterative.resume(RunFolder.open(tmp_path / "run"))
