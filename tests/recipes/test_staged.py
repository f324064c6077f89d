"""Staged training: the order of stages, streams, courses that go on, and what stages leave."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.data import Augmentation, Crop, Flip, Normalise, Split, from_arrays
from tutelage.errors import CheckpointError, ConfigError, DataError, NotFiniteError
from tutelage.frozen import Frozen
from tutelage.peers import train_peers
from tutelage.randomness import permutation, stream
from tutelage.recipes.distilling import Ended, Given, Peers, Plan, Recipe, Setting, Taught, resume, run
from tutelage.recipes.distilling.files import Left, read_outcome
from tutelage.recipes.distilling.options import Common, Options, Profile, check, filled
from tutelage.recipes.distilling.preparing import draw, rule, steps_of
from tutelage.recipes.distilling.prints import fingerprint
from tutelage.recipes.distilling.stage import in_order
from tutelage.recipes.distilling.under_way import UnderWay
from tutelage.recipes.draws import Draws
from tutelage.rules import SGD, Adam, AdamW
from tutelage.runs import RunFolder
from tutelage.teachers import Distillation, Uniform

SOURCE = from_arrays(
    np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32), np.arange(80) % 3, num_classes=3, name="points"
)


@dataclass(frozen=True)
class Config:
    device: str = "cpu"
    checkpoint_seconds: float = 0.0
    evaluations: int = 3
    pick: str = "last"
    steps: int = 9
    lr: float = 0.01


def setting(seed=0, **changes):
    order = permutation(stream(seed, "order"), 80)
    made = Setting(
        seed=seed, source=SOURCE, test_source=SOURCE, order=order[20:70],
        roles=Split(train=order[20:70], validation=order[70:], test=order[:20]), scaling=None, moving=Augmentation(),
        device=torch.device("cpu"), he=True,
    )  # fmt: skip
    return replace(made, **changes)


def stages(given, net="mlp-gelu-6"):
    """A teacher, its student, two peers, and student and first peer together."""
    steps = given.steps
    stream = lambda s, _: s.stream("batches", s.order[:30], 8, steps, replacement=True)  # noqa: E731
    teacher = Taught(
        name="teacher", steps=steps, net=lambda s: s.net("mlp-gelu-7-dropout-0.2", "teacher"), rule=Adam(given.lr),
        teacher=lambda s, n: Uniform(), batch=stream,
    )  # fmt: skip
    student = Taught(
        name="student", needs=("teacher",), steps=steps, net=lambda s: s.net(net, "student"), rule=Adam(given.lr),
        teacher=lambda s, n: Distillation(Frozen(n["teacher"])), batch=stream, facts=lambda e: {"rows": len(e.trained)},
    )  # fmt: skip
    peers = Peers(
        name="peers", steps=steps, begins=lambda s: [s.net(net, "student"), s.net("mlp-5", "peer")],
        rule=SGD(given.lr), train=partial(train_peers, order="simultaneous"), batch=stream,
    )  # fmt: skip
    together = Given(
        name="together", needs=("student", "peers"), take=lambda s, n: [n["student"][0], n["peers"][0]],
        like=lambda s: [s.net(net, "student") for _ in range(2)],
    )  # fmt: skip
    return [together, peers, student, teacher]


def prepare(given, *, fresh):
    fingerprints = {"training": SOURCE.fingerprint()}
    arms = ("student", "peers", "together")
    return Plan(RECIPE, given, stages(given), arms, [setting(0), setting(3)], fingerprints, baselines=("student",))


RECIPE = Recipe("staged", Config, prepare)


@pytest.fixture
def finished(tmp_path):
    return run(RECIPE, Config(), tmp_path / "run"), RunFolder.open(tmp_path / "run")


# Stages.


def test_needed_stages_come_first_and_those_that_nobody_needs_never():
    made = stages(Config())
    assert [stage.name for stage in in_order(made, ["together"])] == ["teacher", "student", "peers", "together"]
    assert [stage.name for stage in in_order(made, ["peers", "student"])] == ["peers", "teacher", "student"]


def test_an_order_that_cannot_be():
    made = {stage.name: stage for stage in stages(Config())}
    with pytest.raises(ConfigError, match="student needs the stage teacher, which is not there"):
        in_order([made["student"]], ["student"])
    with pytest.raises(ConfigError, match="the run needs the stage nobody, which is not there"):
        in_order([made["student"]], ["nobody"])
    circle = [replace(made["teacher"], needs=("student",)), made["student"]]
    with pytest.raises(ConfigError, match="in a circle: student, teacher, student"):
        in_order(circle, ["student"])
    with pytest.raises(ConfigError, match="two stages have one name"):
        in_order([made["teacher"], made["teacher"]], ["teacher"])


def test_peers_draw_apart_but_the_first_is_a_student_alone():
    made = {stage.name: stage for stage in stages(Config())}
    course = made["peers"].begin([setting(4)], [{}])
    first, second = course._peers[0]
    assert first.seed == 4 != second.seed


# Streams.


def test_draws_pass_by_pass_are_permutations_one_after_another():
    rows = np.arange(100, 107)
    draws = Draws(5, rows, 3, replacement=False)
    seen = np.concatenate([draws.at(step) for step in range(14)])  # six passes of seven
    for number in range(6):
        assert sorted(seen[7 * number : 7 * number + 7]) == rows.tolist()
    assert [draws.passes(step).tolist() for step in (0, 2, 4)] == [[0, 0, 0], [0, 1, 1], [1, 1, 2]]
    assert (draws.at(9) == draws.at(9)).all()
    assert (Draws(5, rows, 7, replacement=False).at(3) == rows).all()


def test_draws_with_replacement():
    draws = Draws(5, np.arange(4), 1000, replacement=True)
    counts = np.bincount(draws.at(0))
    assert (np.abs(counts - 250) < 60).all()
    assert not (draws.at(0) == draws.at(1)).all()


def test_a_batch_is_a_function_of_seed_and_step():
    one, other = setting(1), setting(1)
    streams = [s.stream("batches", s.order, 8, 10, replacement=True) for s in (one, other)]
    for step in (7, 0, 7):
        a, b = (batch(step) for batch in streams)
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.index, b.index)
        assert a.progress == step / 10
        assert torch.equal(a.x, torch.from_numpy(SOURCE.x)[a.index])
        assert torch.equal(a.y, torch.from_numpy(SOURCE.y)[a.index])
    assert not torch.equal(streams[0](0).index, one.stream("others", one.order, 8, 10, replacement=True)(0).index)


def test_batches_look_as_the_rows_that_answers_are_kept_for():
    """The pipeline of :meth:`Setting.rows` and the stream make one view of a row."""
    x = np.random.default_rng(1).integers(0, 255, (80, 3, 8, 8), dtype=np.uint8)
    source = from_arrays(x, np.arange(80) % 3, num_classes=3)
    made = setting(2, source=source, test_source=source, views=3, moving=Augmentation(Crop(2), Flip()))
    made = replace(made, scaling=Normalise.fit(source, made.order))
    batch = made.stream("batches", made.order, 50, 9, replacement=True)
    kept = made.rows(made.order)
    for step in (0, 4, 8):
        mine = batch(step)
        by_index = {}
        for theirs in kept.batch(10).repeat().batches(5 * (step % 3 + 1), start=5 * (step % 3)):
            by_index |= {int(i): x for i, x in zip(theirs.index, theirs.x)}
        assert set(mine.view.tolist()) == {step % 3}
        for index, x in zip(mine.index.tolist(), mine.x):
            assert torch.allclose(by_index[index], x, atol=1e-6)


# Courses and what they leave.


def test_what_is_left(finished):
    result, folder = finished
    assert sorted(path.name for path in (folder.path / "arms").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("teacher", "student", "peers", "together") for kind in ("json", "safetensors")
    )
    plan = prepare(Config(), fresh=False)
    left = Left(folder, {stage.name: stage for stage in plan.stages}, plan.settings)
    assert [[len(nets) for nets in left.of(name)] for name in ("student", "peers", "together")] == [
        [1, 1],
        [2, 2],
        [2, 2],
    ]
    assert fingerprint([left.of("together")[1][0]]) == fingerprint(left.of("student")[1])
    found = read_outcome(folder, "together")
    student = read_outcome(folder, "student")
    assert found.fingerprints[1]["teachers"]["student"] == student.fingerprints[1]["network"]
    assert [record["step"] for record in student.records[0]] == [3, 6, 9]
    assert student.ends[0]["rows"] == 1
    assert result["arms"]["student"]["rows"]["values"] == [1.0, 1.0]


def test_networks_together_answer_with_their_mean_probability(finished):
    _, folder = finished
    plan = prepare(Config(), fresh=False)
    left = Left(folder, {stage.name: stage for stage in plan.stages}, plan.settings)
    (x,), y = plan.settings[1].held_out("test")
    mean = torch.stack([torch.softmax(net.eval()(x), 1) for net in left.of("together")[1]]).mean(0)
    expected = (mean.argmax(1) == y).double().mean()
    assert read_outcome(folder, "together").ends[1]["accuracy"] == pytest.approx(float(expected))


@pytest.mark.parametrize("name", ["student", "peers"])
@pytest.mark.parametrize("at", [1, 3, 4, 8])
def test_a_stage_goes_on_at_any_step(tmp_path, monkeypatch, name, at):
    whole, cut = (run(RECIPE, Config(), tmp_path / "whole"), tmp_path / "cut")
    steps, save = [], UnderWay._save

    def interrupted(self):
        save(self)
        steps.append(self.done)
        if self.stage.name == name and self.done == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(UnderWay, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, Config(), cut)
    assert (cut / "checkpoint" / "state.safetensors").is_file()
    monkeypatch.setattr(UnderWay, "_save", save)
    again = resume(RECIPE, RunFolder.open(cut))
    assert {**again, "seconds": 0} == {**json.loads(json.dumps(whole)), "seconds": 0}
    for kind in ("arms/together.safetensors", "metrics.jsonl"):
        assert (cut / kind).read_bytes() == (tmp_path / "whole" / kind).read_bytes()


def test_stacked_and_alone_are_the_same_up_to_rounding():
    made = {stage.name: stage for stage in stages(Config())}
    settings = [setting(0), setting(1)]
    networks = [{"teacher": made["teacher"].nets(s)} for s in settings]
    found = []
    for stack in (True, False):
        course = replace(made["student"], stack=stack).begin(settings, networks)
        losses = [[metrics["loss"] for metrics in each] for each in course.rounds(0)]
        found.append((torch.tensor(losses), [p for nets in course.networks() for p in nets[0].parameters()]))
        assert course.state()[1] == {"stacked": stack}
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[0][1], found[1][1]))


def test_a_checkpoint_of_something_else(tmp_path, finished):
    _, folder = finished
    (folder.path / "arms" / "student.json").unlink()
    tensors = {"course.student.0.params.1.weight": torch.zeros(3, 3)}
    folder.save(
        tensors, {"stage": "student", "course": {"stacked": True}, "records": [[], []], "done": 2, "seconds": 0.0}
    )
    with pytest.raises(CheckpointError, match=r"does not fit this run .*remove it to train this stage from its start"):
        resume(RECIPE, folder)


def test_a_run_that_diverges_says_where_and_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "rehearse", lambda plan: None)  # which would have refused it
    with pytest.raises(NotFiniteError, match=r"teacher: .* In .*run, the last good checkpoint is kept"):
        run(RECIPE, Config(lr=1e30, steps=6), tmp_path / "run")


def test_facts_see_the_stage_at_its_end(tmp_path):
    seen = []
    made = stages(Config())
    student = replace(made[2], facts=lambda ended: seen.append(ended) or {})
    plan = Plan(RECIPE, Config(), [student, made[3]], ("student",), [setting(5)], {"training": "x"})
    run(Recipe("staged", Config, lambda given, fresh: plan), Config(), tmp_path / "run")
    (ended,) = seen
    assert isinstance(ended, Ended)
    assert ended.setting.seed == 5
    assert list(ended.networks) == ["teacher"]
    assert isinstance(ended.trained[0], nn.Module)


# From options to settings.


def test_the_draw():
    from tutelage.data import DataSet

    data = DataSet(SOURCE)
    roles, order = draw(data, 3, test=0.25, validation=0.1)
    expected = torch.randperm(80, generator=torch.Generator().manual_seed(1003)).numpy()
    assert (roles.test == expected[:20]).all()
    assert (order == expected[20:74]).all()
    assert (roles.validation == expected[74:]).all()
    apart = DataSet(SOURCE, SOURCE)
    roles, order = draw(apart, 3, test=0.25, validation=0.0)
    assert len(order) == 80
    assert len(roles.test) == len(roles.validation) == 0
    with pytest.raises(DataError, match="80 rows are too few for 20 test and 0 validation rows"):
        draw(data, 3, test=0.25, validation=0.001)


def test_rules():
    assert isinstance(rule("sgd", 0.1, 1e-4, 100, rates="one-cycle"), SGD)
    cycled = rule("sgd", 0.1, 1e-4, 100, rates="one-cycle")
    assert (cycled.momentum(0), cycled.momentum(29)) == pytest.approx((0.95, 0.85))
    stepped = rule("sgd", 0.1, 1e-4, 240, rates="steps", momentum=0.8)
    assert [stepped.rate(step) for step in (149, 150, 180, 210)] == pytest.approx([0.1, 0.01, 1e-3, 1e-4])
    assert stepped.momentum == 0.8
    assert isinstance(rule("adam", 0.1, 0.0, 10, rates="constant"), Adam)
    assert rule("adamw", 0.1, 0.0, 10, rates="cosine").rate(10) == 0.0
    assert isinstance(rule("adamw", 0.1, 0.0, 10, rates="cosine"), AdamW)


def test_steps_of_epochs():
    options = replace(Options(), epochs=3)
    assert steps_of(options, 100, 32) == 9
    assert steps_of(options, 3, 32) == 1
    assert steps_of(replace(Options(), steps=7), 100, 32) == 7


def test_options_that_are_given_stay():
    profile = Profile({"seeds": 5, "steps": 800, "lr": 0.1, "student": "mlp"})
    options = filled(Options(epochs=2, lr=0.3), profile)
    assert (options.seeds, options.steps, options.epochs, options.lr, options.student) == (5, None, 2, 0.3, "mlp")
    assert filled(Common(), profile.but(seeds=2)).seeds == 2
    assert Path(filled(Common(data=__file__), profile).data) == Path(__file__)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"data": ""}, "--data is empty"),
        ({"seeds": 0}, "--seeds is 0; it must be in 1..1000."),
        ({"lr": -1.0}, "--lr is -1.0; it must be in 0..1000000."),
        ({"first_seed": -1}, "--first-seed is -1"),
        ({"teacher_rule": "x"}, 'unknown teacher rule "x". Known: adam, adamw, sgd.'),
        ({"validation": 1.0}, "--validation is 1.0; it is a share of the rows"),
        ({"momentum": 1.0}, r"--momentum is 1.0; it must be in \[0, 1\)."),
        ({"evaluations": 0}, "--evaluations is 0; it must be in 1..100000000."),
    ],
)
def test_values_outside_their_ranges(options, line):
    with pytest.raises(ConfigError, match=line):
        check(Options(**options))
