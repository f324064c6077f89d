"""What is particular to MentorNet: weights by a mentor, its clock, and learning it during a training."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tutelage import SGD, Adam, Batch, Student, curricula, train
from tutelage.errors import ConfigError, DataError, NotFiniteError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.mentors import Mentor, MentorNetwork, Rows, Settings, fit_rows, shipped
from tutelage.randomness import counter, stream
from tutelage.stacked import StackedStudent
from tutelage.teachers import CATALOGUE, Curriculum, MentorNet, mentornet_pd
from tutelage.teachers.weigh.mentornet import REFIT
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import train_stacked

DOUBLE = torch.float64


def student(seed=4, lr=0.1, dtype=DOUBLE):
    return Student(tiny_net(dtype=dtype), SGD(lr, momentum=0.9), seed=seed)


def at(batch, progress):
    return Batch(batch.x, batch.y, batch.index, progress)


def mentor(form="gate", time="progress", seed=3, **settings):
    return Mentor(MentorNetwork(form, time, seed=seed), Settings(**settings))


def trusted(rows=60, wrong=3, seed=99):
    """Trusted examples, and the labels as given of the whole data set: each ``wrong``-th of them is wrong."""
    batch = tiny_batch(rows, seed=seed)
    given = torch.zeros(1000, dtype=torch.int64)
    shift = (torch.arange(rows) % wrong == 0).long() if wrong else torch.zeros(rows, dtype=torch.int64)
    given[batch.index] = (batch.y + shift) % 3
    return batch, given


@pytest.fixture
def quick(monkeypatch):
    """Updates of a few steps: what they learn does not matter."""
    monkeypatch.setitem(REFIT, "steps", 10)


def naive(network, loss, difference, e):
    """The formula of the gate form, number by number, from the parameters."""
    p = {n: t.double().tolist() for n, t in network.state_dict().items()}

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    def dot(row, x):
        return math.fsum(a * b for a, b in zip(row, x))

    x = (loss, difference)
    opened = [sigmoid(dot(p["gates.weight"][i], x) + p["gates.bias"][i]) for i in (0, 1)]
    cells = [opened[i] * math.tanh(dot(p["gates.weight"][i + 2], x) + p["gates.bias"][i + 2]) for i in (0, 1)]
    time = p["times"][e] if network.time == "code" else [e / 99]
    features = [*p["label"], *time, *cells]
    hidden = [math.tanh(dot(row, features) + b) for row, b in zip(p["hidden.weight"], p["hidden.bias"])]
    return sigmoid(dot(p["out.weight"][0], hidden) + p["out.bias"][0])


@pytest.mark.parametrize("time", ["progress", "code"])
@pytest.mark.parametrize("progress", [0.18, 0.5, 0.99])
def test_weights_are_those_of_the_formula(time, progress):
    teacher, pupil = MentorNet(mentor(time=time), fixed_time=False).double(), student()
    batch = at(tiny_batch(20), progress)
    lesson = teacher.teach(batch, pupil)
    losses = cross_entropy(pupil.logits(batch.x), batch.y).detach()
    assert torch.equal(lesson.notes["loss"], losses)
    threshold = float(np.quantile(losses.numpy(), 0.5))
    assert float(lesson.notes["threshold"]) == pytest.approx(threshold, rel=1e-12)
    e = math.floor(100 * progress + 1e-9)
    needed = [naive(teacher.mentor.network, loss, loss - threshold, e) for loss in losses.tolist()]
    assert lesson.weight.tolist() == pytest.approx(needed, rel=1e-9)
    assert min(needed) < max(needed)
    assert not lesson.weight.requires_grad


def test_a_mentor_brings_its_settings_and_options_come_first():
    made = mentor(percentile=0.3, decay=0.2, burn_in=7, fixed_time=True)
    pacing = MentorNet(made).pacing
    assert (set(pacing.percentiles), pacing.decay, pacing.burn_in, pacing.dropout) == ({0.3}, 0.2, 7, None)
    pacing = MentorNet(made, percentile=0.6, decay=0.0, burn_in=0, dropout=((0.5, 100),)).pacing
    assert (set(pacing.percentiles), pacing.decay, pacing.burn_in) == ({0.6}, 0.0, 0)
    assert set(pacing.dropout) == {0.5}
    pacing = MentorNet(update_at=[50], given=torch.zeros(3, dtype=torch.int64)).pacing
    assert (set(pacing.percentiles), pacing.decay, pacing.burn_in) == ({0.5}, 0.5, 18)


def test_the_given_mentor_is_copied():
    made = mentor()
    before = copy.deepcopy(made.state_dict())
    teacher = MentorNet(made).double()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter += 1.0
    for name, value in made.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert all(p.requires_grad for p in made.network.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize("burn_in", [0, 18, 100])
def test_burn_in_ends_on_the_percent(burn_in):
    teacher, pupil, batch = MentorNet(mentor(), burn_in=burn_in), student(), tiny_batch()
    for e in range(100):
        lesson = teacher.teach(at(batch, e / 100), pupil)
        assert bool((lesson.weight == 1).all()) is (e < burn_in)
        assert lesson.notes["threshold"] > 0  # tracked from the first step on


def seen(teacher, e):
    """The percent that the mentor sees at percent e, told from its weights."""
    pupil, batch = student(), tiny_batch(8)
    lesson = teacher.teach(at(batch, e / 100), pupil)
    loss = lesson.notes["loss"]
    guesses = [
        t
        for t in range(100)
        if torch.equal(teacher.mentor.network(loss, loss - lesson.notes["threshold"], t).sigmoid(), lesson.weight)
    ]
    assert len(guesses) == 1
    return guesses[0]


@pytest.mark.parametrize("time", ["progress", "code"])
@pytest.mark.parametrize(
    ("made_for", "options", "stop"),
    [
        ({"fixed_time": True}, {}, 18),
        ({"fixed_time": True, "burn_in": 5}, {}, 5),
        ({"fixed_time": True, "burn_in": 18}, {"burn_in": 3}, 18),
        ({"fixed_time": False}, {}, 99),
        ({"fixed_time": False}, {"fixed_time": True}, 18),
        ({"fixed_time": False}, {"fixed_time": True, "burn_in": 30}, 30),
        ({"fixed_time": True}, {"fixed_time": False}, 99),
        ({"fixed_time": True}, {"fixed_time": 40}, 40),
        ({"fixed_time": False}, {"fixed_time": 0, "burn_in": 0}, 0),
    ],
)
def test_the_clock_of_the_mentor(time, made_for, options, stop):
    made = Mentor(MentorNetwork("gate", time, seed=3), Settings(**made_for))
    teacher = MentorNet(made, **options).double()
    for e in (30, 40, 57, 99):
        assert seen(teacher, e) == min(e, stop)


def test_dropout_goes_on_where_the_clock_stops():
    schedule = ((0.5, 17), (0.0, 78), (0.9, 5))
    teacher, pupil, batch = MentorNet(mentor(), dropout=schedule, fixed_time=True), student(), tiny_batch(20)
    for e, left in ((0, 10), (16, 10), (17, 20), (94, 20), (95, 2), (97, 2), (99, 2)):
        lesson = teacher.teach(at(batch, e / 100), pupil)
        assert int(lesson.notes["kept"].sum()) == int((lesson.weight > 0).sum()) == left
        kept = lesson.notes["kept"]
        assert torch.equal(lesson.weight[kept], lesson.notes["weight"][kept])


def test_percentiles_go_on_where_the_clock_stops():
    levels = [0.1] * 50 + [0.9] * 50
    teacher, pupil, batch = (
        MentorNet(mentor(), percentile=levels, decay=0.0, fixed_time=True),
        student(),
        tiny_batch(41),
    )
    early, late = (teacher.teach(at(batch, p), pupil).notes for p in (0.2, 0.7))
    assert float(early["threshold"]) == pytest.approx(np.quantile(early["loss"].numpy(), 0.1))
    assert float(late["threshold"]) == pytest.approx(np.quantile(late["loss"].numpy(), 0.9))


def test_threshold_is_a_moving_percentile():
    teacher, pupil, moving = MentorNet(mentor()), student(), 0.0
    for t in range(1, 12):
        batch = tiny_batch(seed=t)
        losses = cross_entropy(pupil.logits(batch.x), batch.y).detach().numpy()
        moving = 0.5 * moving + 0.5 * np.quantile(losses, 0.5)
        lesson = teacher.teach(batch, pupil)
        assert float(lesson.notes["threshold"]) == pytest.approx(moving / (1 - 0.5**t), rel=1e-6)
        assert teacher.learn(lesson, pupil, None) == {"threshold": lesson.notes["threshold"]}


def contents(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(torch.nan_to_num(a[n].double(), -7.0), torch.nan_to_num(b[n].double(), -7.0)) for n in a
    )


@pytest.mark.parametrize("progress", [0.1, 0.5])
def test_teaching_twice_is_the_same_and_writes_nothing(progress):
    teacher, pupil, batch = MentorNet(mentor(), dropout=((0.5, 100),)), student(), at(tiny_batch(20), progress)
    before = contents(teacher), contents(pupil)
    first, second = teacher.teach(batch, pupil), teacher.teach(batch, pupil)
    assert torch.equal(first.weight, second.weight)
    assert equal(contents(teacher), before[0])
    assert equal(contents(pupil), before[1])


def stream_of(steps, rows=24, start=0):
    return [at(tiny_batch(rows, seed=i), i / steps) for i in range(start, steps)]


def options_with_updates(given):
    return {"update_at": (25, 75), "given": given, "dropout": ((0.5, 20), (0.0, 80)), "percentile": 0.6}


@pytest.mark.parametrize("kind", ["given", "updates"])
def test_saved_and_loaded_after_ten_steps_is_as_twenty_steps(kind, quick):
    validation, given = trusted()

    def fresh():
        teacher = MentorNet(**options_with_updates(given)) if kind == "updates" else MentorNet(mentor())
        return teacher, Student(tiny_net("batchnorm"), Adam(0.01), seed=4)

    batches = stream_of(20)
    teacher, pupil = fresh()
    list(train(pupil, teacher, batches, validation))
    other, twin = fresh()
    list(train(twin, other, batches[:10], validation))
    later, last = fresh()
    later.load_state_dict(contents(other))
    last.load_state_dict(contents(twin))
    assert later.mentor.held == other.mentor.held == (25 if kind == "updates" else None)
    list(train(last, later, batches[10:], validation))
    assert equal(contents(later), contents(teacher))
    assert equal(contents(last), contents(pupil))
    assert later.mentor.held == (75 if kind == "updates" else None)


def test_copies_go_on_alike_and_share_nothing(quick):
    validation, given = trusted()
    batches = stream_of(8)
    teacher, pupil = MentorNet(**options_with_updates(given)), student()
    list(train(pupil, teacher, batches[:4], validation))
    copies = [copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))]  # noqa: S301
    for other in copies:
        assert other.mentor.held == 25
        twin = student()
        twin.load_state_dict(contents(pupil))
        list(train(twin, other, batches[4:], validation))
    assert teacher.mentor.held == 25
    list(train(pupil, teacher, batches[4:], validation))
    for other in copies:
        assert equal(contents(other), contents(teacher))


def passes(pupil, act):
    """Count the passes that an action makes through the network."""
    found = []
    hook = pupil.architecture.register_forward_hook(lambda module, *_: found.append(module.training))
    act()
    hook.remove()
    return found


def test_one_student_pass_a_step_and_one_more_at_an_update(quick):
    validation, given = trusted()
    teacher, pupil = MentorNet(**options_with_updates(given)), Student(tiny_net("batchnorm"), SGD(0.1), seed=4)
    counts = [passes(pupil, lambda b=b: list(train(pupil, teacher, [b], validation))) for b in stream_of(8)]
    assert [len(found) for found in counts] == [1, 1, 2, 1, 1, 1, 2, 1]
    assert counts[2] == counts[6] == [True, False]  # the update looks in evaluation mode
    assert int(pupil.state_dict()["buffers.1.num_batches_tracked"]) == 8
    given_teacher, other = MentorNet(mentor()), student()
    assert len(passes(other, lambda: list(train(other, given_teacher, stream_of(5))))) == 5


def test_updates(quick):
    """Weight 1 before the first; then a mentor of the moment, whose clock stands."""
    validation, given = trusted()
    teacher, pupil = MentorNet(update_at=(25, 75), given=given, burn_in=0), student()
    start = contents(teacher.mentor)
    held, mentors, needed = [], [], {}
    for i, batch in enumerate(stream_of(20)):
        lesson = teacher.teach(batch, pupil)
        if teacher.mentor.held is None:
            assert (lesson.weight == 1).all()
        else:
            loss = lesson.notes["loss"]
            logits = teacher.mentor.network(
                loss.float(), (loss - lesson.notes["threshold"]).float(), teacher.mentor.held
            )
            assert torch.equal(lesson.weight, logits.sigmoid().double())
        if i in (5, 15):  # percents 25 and 75: what must be learned now
            loss = cross_entropy(pupil.predict(validation.x), given[validation.index])
            right = (given[validation.index] == validation.y).double()
            rows = Rows(
                loss,
                loss - lesson.notes["threshold"],
                torch.full((60,), 5 * i),
                right,
                validation.index,
            )
            seed = counter(stream(4, "mentor"), len(needed))
            needed[i] = fit_rows(rows, seed=seed, steps=10, lr=0.05)
        teacher.learn(lesson, pupil, validation)
        pupil.study(lesson)
        held.append(teacher.mentor.held)
        mentors.append(contents(teacher.mentor.network))
    assert held == [None] * 5 + [25] * 10 + [75] * 5
    assert equal(mentors[4], contents(MentorNetwork(seed=0)))
    assert not equal(contents(teacher.mentor), start)
    for i, (network, report) in needed.items():
        assert equal(mentors[i], contents(network))
        assert equal(mentors[i], mentors[i + 4])
        assert teacher.log[(5, 15).index(i)].tolist() == [5.0 * i, report.mean_absolute_error, report.agreement]
    assert not equal(mentors[5], mentors[15])


def test_an_update_at_the_first_step(quick):
    validation, given = trusted()
    teacher, pupil = MentorNet(update_at=(0,), given=given, burn_in=0), student()
    steps = list(train(pupil, teacher, stream_of(3), validation))
    assert (steps[0].lesson.weight == 1).all()
    assert (steps[1].lesson.weight != 1).any()
    assert teacher.mentor.held == 0


def test_several_times_in_one_step_are_one_update(quick):
    validation, given = trusted()
    teacher, pupil = MentorNet(update_at=(26, 30, 80), given=given), student()
    list(train(pupil, teacher, stream_of(4), validation))  # percents 0, 25, 50, 75
    assert teacher.mentor.held == 50
    assert teacher.log[:, 0].isnan().tolist() == [True, False, True]
    assert teacher.log[1, 0] == 50


def test_updates_come_during_burn_in_too(quick):
    validation, given = trusted()
    teacher, pupil = MentorNet(update_at=(10,), given=given, burn_in=60), student()
    steps = list(train(pupil, teacher, stream_of(10), validation))
    assert teacher.mentor.held == 10
    assert all((s.lesson.weight == 1).all() for s in steps[:6])
    assert all((s.lesson.weight < 1).all() for s in steps[6:])


@pytest.mark.parametrize("form", ["gate", "mlp"])
def test_the_network_of_updates(form, quick):
    validation, given = trusted()
    time = "code" if form == "gate" else "progress"
    teacher = MentorNet(update_at=(0,), given=given, network={"form": form, "time": time})
    list(train(student(), teacher, stream_of(3), validation))
    assert (teacher.mentor.network.form, teacher.mentor.network.time) == (form, time)
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize(
    ("rows", "wrong", "message"),
    [
        (19, 3, r"19 rows with trusted labels; a mentor needs at least 20: trust more labels\."),
        (40, 0, r"all given labels of the 32 rows to learn from are right; a mentor learns from right and wrong ones"),
        (40, 1, r"all given labels of the 32 rows to learn from are wrong"),
    ],
)
def test_updates_without_enough_to_learn_from(rows, wrong, message, quick):
    validation, given = trusted(rows, wrong)
    teacher = MentorNet(update_at=(50,), given=given)
    with pytest.raises(DataError, match=message) as caught:
        list(train(student(), teacher, stream_of(4), validation))
    assert "\n" not in str(caught.value)


def test_updates_need_trusted_examples(quick):
    _, given = trusted()
    with pytest.raises(ConfigError, match="MentorNet learns from trusted examples; pass them as validation"):
        list(train(student(), MentorNet(update_at=(50,), given=given), stream_of(4)))


def test_updates_need_the_labels_of_all_trusted_examples(quick):
    validation, given = trusted()
    last = int(validation.index.max())
    teacher = MentorNet(update_at=(50,), given=given[:last])
    with pytest.raises(ShapeError, match=f"given has {last} labels, but a trusted example has index {last}"):
        list(train(student(), teacher, stream_of(4), validation))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "MentorNet has no mentor; pass one, or the percents of training to learn one: update_at"),
        ({"mentor": mentor(), "update_at": (21,)}, "MentorNet has a mentor, and update_at.*pass only one of them"),
        ({"update_at": (75, 21)}, r"update_at is \(75, 21\); it needs ascending percents of training, in 0\.\.99"),
        ({"update_at": (21, 21)}, r"update_at is \(21, 21\)"),
        ({"update_at": (100,)}, r"update_at is \(100,\)"),
        ({"update_at": (-1, 5)}, r"update_at is \(-1, 5\)"),
        ({"update_at": (21,)}, "update_at needs given, the labels as given"),
        ({"mentor": mentor(), "percentile": 0.0}, "percentile is 0.0"),
        ({"mentor": mentor(), "burn_in": 101}, "burn_in is 101"),
        ({"mentor": mentor(), "fixed_time": 101}, "burn_in of a mentor is 101"),
        ({"mentor": mentor(), "dropout": ((0.5, 99),)}, "covers 99 percent, but needs 100 in all"),
        (
            {"update_at": (1,), "given": torch.zeros(1), "network": {"form": "lstm"}},
            'unknown form of a mentor "lstm". Known: gate, mlp',
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        MentorNet(**options)


@pytest.mark.parametrize("how", ["updates", "given"])
def test_stacked_is_as_separate(how, quick):
    """Three students in one pass, each with its teacher, to rounding."""
    kinds = [trusted(seed=seed) for seed in (97, 98, 99)]
    batches = [[at(tiny_batch(24, seed=10 * s + i), i / 10) for i in range(10)] for s in range(3)]

    def fresh():
        if how == "updates":
            teachers = [MentorNet(**options_with_updates(given)) for _, given in kinds]
        else:
            teachers = [MentorNet(mentor(seed=s)) for s in range(3)]
        pupils = [Student(tiny_net(seed=s), SGD(0.1, momentum=0.9), seed=s) for s in range(3)]
        return teachers, pupils

    alone, pupils = fresh()
    validations = [validation for validation, _ in kinds]
    separate = [list(train(*each)) for each in zip(pupils, alone, batches, validations)]
    together, stacked = fresh()
    stack = StackedStudent(stacked)
    rounds = list(train_stacked(stack, together, zip(*batches), validations))
    for s in range(3):
        for steps, step in zip(rounds, separate[s]):
            assert torch.allclose(steps[s].lesson.weight, step.lesson.weight, rtol=1e-4, atol=1e-6)
        assert torch.allclose(alone[s].log, together[s].log, atol=1e-4, equal_nan=True)
        assert alone[s].mentor.held == together[s].mentor.held
    for a, b in zip(stack.students(), pupils):
        assert all(torch.allclose(a.params[n], b.params[n], rtol=1e-4, atol=1e-6) for n in a.params)


class NoWaiting(TorchDispatchMode):
    """Forbids what would wait for a device: reading a number, or a shape that depends on numbers."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.waits, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


def test_no_number_is_read_in_a_step(quick):
    """Updates aside: they read the losses of the trusted rows."""
    validation, given = trusted()
    for teacher in (
        MentorNet(mentor(), dropout=((0.5, 100),)),
        MentorNet(mentor(time="code"), dropout=((0.5, 100),), mode="actual", normalise="weights"),
        MentorNet(update_at=(10, 99), given=given),
    ):
        pupil = student()
        list(train(pupil, teacher, stream_of(4), validation))
        batch = at(tiny_batch(24), 0.9)
        pupil.losses(batch.x, batch.y, cross_entropy)
        with NoWaiting():
            teacher.learn(teacher.teach(batch, pupil), pupil, validation)
    with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
        torch.ones(()).item()


def test_a_loss_that_is_not_a_number_stops_training():
    bad = tiny_batch(12)
    bad.x[3] = torch.nan
    with pytest.raises(NotFiniteError, match=r"the loss is nan at step 0 \(teacher MentorNet"):
        list(train(student(), MentorNet(mentor()), [at(bad, 0.5)]))


def test_one_row():
    teacher, pupil = MentorNet(mentor(), dropout=((0.9, 100),)), student()
    lesson = teacher.teach(tiny_batch(1), pupil)
    assert lesson.weight.shape == (1,)
    assert float(lesson.notes["threshold"]) == pytest.approx(float(lesson.notes["loss"]))


def test_predefined_is_the_shipped_mixture_with_dropout():
    teacher, pupil, batch = mentornet_pd(), student(dtype=torch.float32), tiny_batch(40, dtype=torch.float32)
    assert isinstance(teacher, MentorNet)
    assert (teacher.pacing.burn_in, set(teacher.pacing.percentiles)) == (0, {0.7})
    assert teacher.pacing.dropout == (0.5,) * 17 + (0.05,) * 83
    made = shipped("predefined")
    assert equal(contents(teacher.mentor.network), contents(made.network))
    for e in (5, 18, 30, 95):  # its clock never stops
        lesson = teacher.teach(at(batch, e / 100), pupil)
        loss = lesson.notes["loss"]
        needed = made.network(loss, (loss - lesson.notes["threshold"]).float(), e).sigmoid()
        assert torch.equal(lesson.notes["weight"], needed)
    assert mentornet_pd(percentile=0.4, burn_in=9, dropout=None).pacing.burn_in == 9
    assert CATALOGUE["mentornet-pd"] is mentornet_pd


def test_predefined_imitates_the_written_mixture():
    """Away from the edges, and before the ramp that the shipped one does not have."""
    pupil, batch = student(), tiny_batch(200)
    learned, written = mentornet_pd(dropout=None).double(), Curriculum(curricula.predefined, burn_in=0)
    for e in (5, 40, 80):
        a, b = (t.teach(at(batch, e / 100), pupil) for t in (learned, written))
        clear = (a.notes["loss"] - a.notes["threshold"]).abs() > 0.1
        assert (a.weight - b.weight)[clear].abs().max() < 0.2
