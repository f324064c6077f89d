"""Every teacher keeps the laws, and the suite catches those who do not."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tutelage import Batch, Lesson, Teacher
from tutelage.losses import cross_entropy
from tutelage.mentors import Mentor, MentorNetwork, Settings
from tutelage.teachers import CATALOGUE, FixedWeights, MentorNet, mentornet_pd
from tutelage.teachers.weigh.mentornet import REFIT
from tutelage.testing import ContractError, check_teacher, tiny_batch


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue(name):
    check_teacher(CATALOGUE[name])


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
