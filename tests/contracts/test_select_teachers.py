"""Teachers that select keep the laws; what they show follows the rows wherever these lie."""

import pytest
import torch

from tests.selection.common import arranged
from tests.selection.spaces import drawn, fixed
from tutelage import SGD, Lesson, Student
from tutelage.linear_sgd import MCBOOST, SOFTMAX
from tutelage.losses import cross_entropy
from tutelage.pools import everything
from tutelage.stale_scores import StaleScores
from tutelage.teachers import (
    SELECTING,
    Explain,
    FirstThen,
    ImitationTeaching,
    IterativeTeaching,
    LabelSynthesis,
    MaxGrad,
    Prototypes,
    Strict,
)
from tutelage.testing import check_teacher, tiny_batch, tiny_net

PASSES = 2
"""One row, which tells how many classes there are, and the pool in evaluation; the lesson is studied in another."""
SPACE = fixed(drawn(tiny_batch()))
"""Hypotheses for pools of one row as well, of which none can be learned."""
OPTIONS = {
    "strict": {"space": SPACE},
    "explain": {"space": SPACE, "difficulty": torch.linspace(0, 1, 1000, dtype=torch.float64)},
}
"""What a teacher is made with by name; the others need nothing."""
TARGET = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def check(make, **options):
    """Three rows at a time, for batch norm cannot study one; from a pool of one row, that row three times."""

    def made():
        teacher = make(everything, rows=3, **options)
        teacher.again = True
        return teacher

    check_teacher(made, own_forwards=PASSES)


@pytest.mark.parametrize("name", SELECTING)
def test_selecting(name):
    check(SELECTING[name], **OPTIONS.get(name, {}))


@pytest.mark.parametrize("options", [{"space": "head"}, {"pairs": True}], ids=str)
def test_maxgrad(options):
    check(MaxGrad, **options)


def test_stale_scores():
    def made():
        teacher = MaxGrad(everything, rows=3, stale=StaleScores(0.5, 2))
        teacher.again = True
        return teacher

    check_teacher(made, own_forwards=PASSES)


def first_then(keep, **options):
    """A teacher of two."""
    both = Prototypes(keep, **options), MaxGrad(keep, **options)
    for teacher in both:
        teacher.again = True
    return FirstThen(*both, 3)


def test_first_then():
    check_teacher(lambda: first_then(everything, rows=3), own_forwards=PASSES)


def without_bias(kind="plain", *, seed=0, dtype=torch.float64):
    """A tiny net whose last layer has none, which targets of weights alone need."""
    net = tiny_net(kind, seed=seed, dtype=dtype)
    net[-1].register_parameter("bias", None)
    return net


def showing_three(teacher, rows):
    """The teacher, which now shows as many rows at a time."""
    rows.rows = 3
    return teacher


@pytest.fixture
def nets_without_bias(monkeypatch):
    monkeypatch.setattr("tutelage.testing.teachers.tiny_net", without_bias)


@pytest.mark.parametrize("loss", [SOFTMAX, MCBOOST], ids=lambda loss: loss.name)
@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.usefixtures("nets_without_bias")
def test_iterative(loss, surrogate):
    def made():
        teacher = IterativeTeaching(TARGET, loss=loss, surrogate=surrogate)
        return showing_three(teacher, teacher)

    check_teacher(made, own_forwards=PASSES)


@pytest.mark.parametrize("queries", [0, 2])
@pytest.mark.usefixtures("nets_without_bias")
def test_imitation(queries):
    """It asks for the answers to what it shows and to its questions, which is one more pass."""

    def made():
        teacher = ImitationTeaching(TARGET, loss=SOFTMAX, queries=queries)
        return showing_three(teacher, teacher.choosing)

    check_teacher(made, own_forwards=PASSES + 1)


@pytest.mark.parametrize(("loss", "hard"), [(SOFTMAX, False), (SOFTMAX, True), (MCBOOST, True)])
def test_label_synthesis(loss, hard, monkeypatch):
    """It shows a row at a time, which batch norm cannot study."""
    monkeypatch.setattr(
        "tutelage.testing.teachers.tiny_net",
        lambda kind="plain", **options: without_bias("plain" if kind == "batchnorm" else kind, **options),
    )
    check_teacher(lambda: LabelSynthesis(TARGET, loss=loss, hard=hard), own_forwards=1)


def strict(keep):
    """With hypotheses for every pool."""
    return Strict(keep, **OPTIONS["strict"])


def explain(keep):
    """With hypotheses for every pool, and difficulties of its rows."""
    return Explain(keep, **OPTIONS["explain"])


MAKERS = {**SELECTING, "strict": strict, "explain": explain, "first then": first_then}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout", "shared"])
def test_law_five_a_permutation_of_the_pool_changes_nothing_that_is_shown(make, kind):
    """A lesson has fewer rows than the pool, so that the general check has no weights to compare."""
    batch, student = tiny_batch(16), Student(tiny_net(kind), SGD(0.1))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    teachers = [make(everything), make(everything)]
    for _ in range(5):
        lesson, same = (t.teach(b, student) for t, b in zip(teachers, (batch, arranged(batch, order))))
        assert lesson.x.equal(same.x)
        assert lesson.target.equal(same.target)
        assert lesson.notes["index"].equal(same.notes["index"])
        assert lesson.weight.tolist() == same.weight.tolist() == [1.0]
        for teacher, shown in zip(teachers, (lesson, same)):
            teacher.learn(shown, student, None)
        whole = Lesson(batch.x, batch.y, torch.ones(16).double(), cross_entropy)
        student = student.after(whole, differentiable=False)
