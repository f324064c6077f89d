"""Every teacher keeps the laws, and the suite catches those who do not."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tutelage import SGD, Batch, Lesson, Teacher
from tutelage.losses import cross_entropy
from tutelage.mentors import Mentor, MentorNetwork, Settings
from tutelage.teachers import (
    CATALOGUE,
    DeepInteractions,
    DynamicLoss,
    FixedWeights,
    KeepMask,
    LearningToReweight,
    MentorNet,
    MetaPseudoLabels,
    MetaWeightNet,
    OfflinePseudoLabels,
    mentornet_pd,
)
from tutelage.teachers.weigh.mentornet import REFIT
from tutelage.testing import ContractError, check_teacher, tiny_batch, tiny_net


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue(name):
    """Those that look ahead take a few passes more."""
    looks_ahead = name == "meta-weight-net"
    check_teacher(CATALOGUE[name], own_forwards=3 if looks_ahead else 0, tolerance=1e-5 if looks_ahead else 1e-6)


@pytest.mark.parametrize("mode", ["random", "actual", "binary"])
@pytest.mark.parametrize("normalise", ["batch", "weights"])
def test_curriculum_options(mode, normalise):
    options = {"mode": mode, "normalise": normalise, "dropout": ((0.5, 50), (0.05, 50)), "keep_positive": True}
    check_teacher(lambda: CATALOGUE["self-paced"](**options))


def test_fixed_weights():
    check_teacher(lambda: FixedWeights(torch.linspace(0, 1, 1000)))


@pytest.mark.parametrize("time", ["progress", "code"])
@pytest.mark.parametrize("mode", ["random", "actual", "binary"])
def test_mentornet(time, mode):
    mentor = Mentor(MentorNetwork("gate", time, seed=1), Settings(fixed_time=mode == "random"))
    check_teacher(lambda: MentorNet(mentor, burn_in=10, dropout=((0.5, 50), (0.05, 50)), mode=mode))


def test_mentornet_pd():
    check_teacher(lambda: mentornet_pd(normalise="weights"))


@pytest.mark.parametrize("update_at", [(50,), (20, 40), (60,)], ids=str)
def test_mentornet_that_learns_during_the_training(update_at, monkeypatch):
    """At percent 50, where the checks are: an update in the first step, two in one, and one to come."""
    monkeypatch.setitem(REFIT, "steps", 10)
    trusted = tiny_batch(60, seed=99)
    given = torch.zeros(1000, dtype=torch.int64)
    given[trusted.index] = torch.where(torch.arange(60) % 3 == 0, (trusted.y + 1) % 3, trusted.y)
    check_teacher(lambda: MentorNet(update_at=update_at, given=given), validation=trusted)


class Weigher(Teacher):
    """A learning teacher as simple as can be: weight = softplus(a * loss + b), one look-ahead, one step on a and b."""

    sign = 1.0

    def __init__(self):
        super().__init__()
        self.line = nn.Parameter(torch.tensor([-0.3, 0.8]))

    def teach(self, batch, student):
        losses = cross_entropy(student.logits(batch.x), batch.y).detach()
        weight = nn.functional.softplus(self.line[0] * losses + self.line[1])
        return Lesson(batch.x, batch.y, weight, cross_entropy)

    def learn(self, lesson, student, validation):
        later = student.after(lesson)
        loss = cross_entropy(later.logits(validation.x), validation.y).mean()
        (gradient,) = torch.autograd.grad(self.sign * loss, [self.line], retain_graph=True)
        self.line.grad = gradient
        with torch.no_grad():
            self.line -= 0.1 * gradient
        return {"validation_loss": loss.detach()}


def test_a_learning_teacher_passes():
    check_teacher(Weigher, own_forwards=1)


class WritesInTeach(Weigher):
    """Broken: counts its lessons while teaching."""

    def __init__(self):
        super().__init__()
        self.register_buffer("lessons", torch.zeros(()))

    def teach(self, batch, student):
        self.lessons += 1
        return super().teach(batch, student)


class MovesBatchNorm(Weigher):
    """Broken: looks ahead by running the student's module itself."""

    def teach(self, batch, student):
        student.architecture.train()(batch.x)
        return super().teach(batch, student)


class MovesBatchNormWhileLearning(Weigher):
    """Broken: the look-ahead writes the parameters into the student's module and trains it there."""

    def learn(self, lesson, student, validation):
        student.net(lesson.x)
        return super().learn(lesson, student, validation)


class ColumnWeights(Weigher):
    """Broken: weights of shape (N, 1)."""

    def teach(self, batch, student):
        lesson = super().teach(batch, student)
        return Lesson(lesson.x, lesson.target, lesson.weight.unsqueeze(1), lesson.loss)


class WrongGradient(Weigher):
    """Broken: ascends the validation loss."""

    sign = -1.0


class DetachedGradient(Weigher):
    """Broken: a hypergradient that is 0 because the lesson was detached."""

    def learn(self, lesson, student, validation):
        self.line.grad = torch.zeros_like(self.line)
        return {}


class NegativeWeights(Weigher):
    """Broken: weights below 0."""

    def teach(self, batch, student):
        lesson = super().teach(batch, student)
        return Lesson(lesson.x, lesson.target, lesson.weight - 2.0, lesson.loss)


class DrawsFromGlobalState(Weigher):
    """Broken: global randomness."""

    def teach(self, batch, student):
        lesson = super().teach(batch, student)
        return Lesson(lesson.x, lesson.target, lesson.weight * torch.rand(len(batch)), lesson.loss)


class WeighsByPosition(Weigher):
    """Broken: the first rows of a batch count more."""

    def teach(self, batch, student):
        lesson = super().teach(batch, student)
        return Lesson(lesson.x, lesson.target, lesson.weight * torch.linspace(1, 2, len(batch)), lesson.loss)


class SecondForward(Weigher):
    """Broken: pays for another pass to get the losses."""

    def teach(self, batch, student):
        losses = cross_entropy(student.predict(batch.x), batch.y)
        lesson = super().teach(batch, student)
        return Lesson(lesson.x, lesson.target, lesson.weight * (losses > 0), lesson.loss)


class ForgetsOnSave(Weigher):
    """Broken: remembers in a plain attribute, which state_dict does not hold."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def teach(self, batch, student):
        lesson = super().teach(batch, student)
        return Lesson(lesson.x, lesson.target, lesson.weight * (1 + self.count), lesson.loss)

    def learn(self, lesson, student, validation):
        self.count += 1
        return super().learn(lesson, student, validation)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (WritesInTeach, r"teach must only read \(law 1\): it changed teacher lessons"),
        (MovesBatchNorm, r"teach must only read \(law 1\): it changed network 1\.num_batches_tracked"),
        (MovesBatchNormWhileLearning, r"learn must not change the student \(law 2\)"),
        (WrongGradient, r"central differences .*\(law 4\)"),
        (DetachedGradient, r"central differences .*\(law 4\)"),
        (NegativeWeights, r"finite and >= 0 \(law 5\)"),
        (DrawsFromGlobalState, r"global random state|same lesson"),
        (WeighsByPosition, r"permute the weights \(law 5\)"),
        (SecondForward, r"3 student forward passes, but 2 are allowed \(law 8\)"),
        (ForgetsOnSave, r"state_dict .*same bytes \(law 6\)"),
    ],
)
def test_the_suite_catches(broken, law):
    with pytest.raises(ContractError, match=law):
        check_teacher(broken, own_forwards=1)


def test_the_suite_catches_weights_of_a_column():
    from tutelage.errors import ShapeError

    with pytest.raises(ShapeError, match=r"shape \(12, 1\), but needs \(12,\).*squeeze\(1\)"):
        check_teacher(ColumnWeights, own_forwards=1)


class NotANumberAlone(Weigher):
    """Broken: divides by the spread of the batch, which is 0 for one row."""

    def teach(self, batch, student):
        lesson = super().teach(batch, student)
        losses = cross_entropy(student.logits(batch.x), batch.y).detach()
        spread = losses.std() if len(batch) > 1 else losses.std(correction=0)
        return Lesson(
            lesson.x, lesson.target, lesson.weight * torch.sigmoid((losses - losses.mean()) / spread), lesson.loss
        )


class RemembersSecretly(Weigher):
    """Broken: writes in teach, into an attribute that looks private."""

    def __init__(self):
        super().__init__()
        self._seen = []

    def teach(self, batch, student):
        self._seen.append(len(batch))
        return super().teach(batch, student)


class SeedsNumpy(Weigher):
    """Broken: seeds another library's global state."""

    def teach(self, batch, student):
        np.random.seed(0)  # noqa: NPY002
        return super().teach(batch, student)


class AlwaysDouble(Weigher):
    """Broken: float64 weights whatever the inputs are."""

    def teach(self, batch, student):
        lesson = super().teach(batch, student)
        return Lesson(lesson.x, lesson.target, lesson.weight.double(), lesson.loss)


class DropsStateInPickle(ForgetsOnSave):
    """Broken: a copy starts to count anew."""

    def __getstate__(self):
        return {**self.__dict__, "count": 0}


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (NotANumberAlone, r"batch of one row must be finite"),
        (RemembersSecretly, r"it changed teacher attribute _seen"),
        (SeedsNumpy, r"it changed global random state of numpy"),
        (AlwaysDouble, r"weights for float32 inputs are torch\.float64"),
        (DropsStateInPickle, r"same bytes \(law 6\)"),
    ],
)
def test_the_suite_catches_what_hides(broken, law):
    with pytest.raises(ContractError, match=law):
        check_teacher(broken, own_forwards=1)


def test_a_teacher_that_learns_otherwise():
    class Counts(Weigher):
        def learn(self, lesson, student, validation):
            with torch.no_grad():
                self.line += 0.1
            return {}

    with pytest.raises(ContractError, match="must pickle"):
        check_teacher(Counts, descends_validation=False)


def test_teach_must_return_a_lesson():
    class Nothing(Weigher):
        def teach(self, batch, student):
            return None

        def learn(self, lesson, student, validation):
            return {}

    with pytest.raises(ContractError, match="teach returned a NoneType"):
        check_teacher(Nothing)


def test_a_teacher_without_teach_cannot_be_made():
    class Silent(Teacher):
        pass

    with pytest.raises(TypeError, match="teach"):
        Silent()


def test_copies_do_not_share_memory():
    teacher = CATALOGUE["self-paced"]()
    twin = copy.deepcopy(teacher)
    twin.pacing.threshold += 1
    assert float(teacher.pacing.threshold) == 0.0


def test_batch_length():
    assert len(Batch(torch.zeros(3, 2), torch.zeros(3), torch.arange(3))) == 3


@pytest.mark.parametrize("options", [{}, {"hidden": 0, "state": ("rank", "loss"), "bias": 0.0}], ids=str)
def test_keep_mask(options):
    check_teacher(lambda: KeepMask(3, **options), descends_validation=False)  # it learns when an episode ends


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        ({}, 7),
        ({"steps": 1, "every": 1, "slots": 3}, 3),
        ({"form": "paper", "steps": 2, "every": 3, "slots": 2, "start": "identity"}, 4),
        ({"form": "linear", "steps": 1, "every": 2, "slots": 2}, 3),
    ],
    ids=str,
)
def test_dynamic_loss(options, forwards):
    def made():
        teacher = DynamicLoss(3, **options)
        with torch.no_grad():  # slots that differ, so that their keys matter
            teacher.memory += torch.randn(teacher.memory.shape, generator=torch.Generator().manual_seed(1))
        return teacher

    check_teacher(made, own_forwards=forwards)


def test_dynamic_loss_that_looks_back():
    # its gradient is that of lessons studied before: see the tests of the teacher
    check_teacher(lambda: DynamicLoss(3, slots=3, window="back"), own_forwards=7, descends_validation=False)


WINDOWS = [(steps, every, window) for steps, every in ((1, 1), (2, 2), (1, 2), (3, 2)) for window in ("ahead", "back")]


@pytest.mark.parametrize(
    ("form", "steps", "every", "window"),
    [("deep", *sizes) for sizes in WINDOWS] + [("bilinear", *WINDOWS[-2]), ("surface", *WINDOWS[-1])],
)
def test_deep_interactions(form, steps, every, window):
    """The gradient of a window that has passed is not that of the lessons to come."""
    options = {"features": 8, "classes": 3, "width": 4, "steps": steps, "every": every, "window": window}
    ahead = window == "ahead"
    check_teacher(
        lambda: DeepInteractions(form, **options), own_forwards=steps + (2 if ahead else 4), descends_validation=ahead
    )


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("normalise", ["sum", "mean"])
def test_meta_weight_net(normalise, steps):
    factory = lambda: MetaWeightNet(hidden=(4,), normalise=normalise, steps=steps)  # noqa: E731
    check_teacher(factory, own_forwards=steps + 2, tolerance=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 2, "inputs": "detached"},
        {"steps": 2, "window": "back"},
        {"look_ahead": "plain"},
        {"steps": 3, "every": 2, "window": "back", "look_ahead": "plain", "inputs": "detached"},
    ],
    ids=str,
)
def test_meta_weight_net_that_descends_otherwise(options):
    check_teacher(lambda: MetaWeightNet(hidden=(4,), **options), own_forwards=8, descends_validation=False)


@pytest.mark.parametrize(("how", "passes"), [("auto", 2), ("jvp", 2), ("backward", 1)])
def test_learning_to_reweight(how, passes):
    """A pass for the validation loss, and with forward mode another one."""
    check_teacher(lambda: LearningToReweight(tiny_batch(12, seed=99), how=how), own_forwards=passes)


class RevisesInPlace(Weigher):
    """Broken: learns while it teaches again."""

    def revise(self, lesson, student):
        with torch.no_grad():
            self.line += 0.1
        return lesson


def test_the_suite_catches_what_revise_changes():
    with pytest.raises(ContractError, match=r"revise must only read \(law 1\): it changed teacher line"):
        check_teacher(RevisesInPlace, own_forwards=1)


class LooksAtOneOfTwo(Weigher):
    """Broken: asks for a batch ahead and descends the loss after the present one."""

    ahead = 1


def test_the_suite_catches_a_look_ahead_that_ends_early():
    with pytest.raises(ContractError, match=r"central differences .*\(law 4\)"):
        check_teacher(LooksAtOneOfTwo, own_forwards=1)


@pytest.mark.parametrize(("mode", "own_forwards"), [("soft-jvp", 2), ("soft-unroll", 1), ("soft-fd", 3)])
@pytest.mark.parametrize("kind", ["plain", "dropout"])
def test_meta_pseudo_labels(mode, own_forwards, kind):
    """Soft labels descend the student's loss on the labelled examples, and that alone, without a loss of their own."""
    check_teacher(
        lambda: MetaPseudoLabels(tiny_net(kind, seed=4, dtype=torch.float32), SGD(0.1), mode, supervised_weight=0.0),
        own_forwards=own_forwards,
    )


@pytest.mark.parametrize("mode", ["hard-per-sample", "hard-scalar", "distil"])
def test_meta_pseudo_labels_that_descend_otherwise(mode):
    options = {"supervised_weight": 0.0, "mode": mode}
    check_teacher(
        lambda: MetaPseudoLabels(tiny_net("dropout", seed=4, dtype=torch.float32), SGD(0.1), **options),
        own_forwards=3,
        descends_validation=False,
    )


def test_meta_pseudo_labels_of_stored_logits():
    table = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    check_teacher(
        lambda: MetaPseudoLabels(nn.Linear(3, 3), SGD(0.1), supervised_weight=0.0, reduced=table), own_forwards=2
    )


@pytest.mark.parametrize("hard", [True, False])
def test_offline_pseudo_labels(hard):
    logits = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    check_teacher(lambda: OfflinePseudoLabels(logits, hard=hard, threshold=0.5, balance=True))
