import pytest
import torch

from tutelage import Lesson
from tutelage.errors import ShapeError
from tutelage.lesson import percent
from tutelage.losses import cross_entropy


def test_mark_is_the_mean_of_weight_times_loss():
    x, y = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
    logits = torch.randn(4, 3, dtype=torch.float64)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5], dtype=torch.float64)
    losses = cross_entropy(logits, y)
    naive = sum(float(w) * float(loss) for w, loss in zip(weight, losses)) / 4
    assert float(Lesson(x, y, weight, cross_entropy).mark(logits)) == pytest.approx(naive, abs=1e-12)


def test_weight_of_a_column():
    message = r"Lesson.weight has shape \(4, 1\), but needs \(4,\), one weight per row of x; .*use .squeeze\(1\)\."
    with pytest.raises(ShapeError, match=message):
        Lesson(torch.zeros(4, 3), None, torch.ones(4, 1), cross_entropy)


def test_weight_of_another_length():
    with pytest.raises(ShapeError, match=r"shape \(3,\), but needs \(4,\), one weight per row of x\.$"):
        Lesson(torch.zeros(4, 3), None, torch.ones(3), cross_entropy)


def test_a_lesson_of_nothing():
    with pytest.raises(
        ShapeError, match=r"Lesson\.x has shape \(0, 3\), but needs at least one row: leave out the batch"
    ):
        Lesson(torch.zeros(0, 3), torch.zeros(0), torch.ones(0), cross_entropy)


def test_a_reduced_loss():
    def reduced(logits, target):
        return cross_entropy(logits, target).mean()

    lesson = Lesson(torch.zeros(4, 3), torch.zeros(4).long(), torch.ones(4), reduced)
    with pytest.raises(ShapeError, match=r'reduced returned shape \(\), but needs \(4,\).*reduction="none"'):
        lesson.mark(torch.zeros(4, 3))


@pytest.mark.parametrize("steps", [1, 7, 100, 900, 39000])
def test_percent_is_exact(steps):
    percents = [percent(step / steps) for step in range(steps)]
    assert percents == [100 * step // steps for step in range(steps)]
    assert percents[0] == 0
    assert max(percents) < 100
