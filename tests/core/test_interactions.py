"""What weighing teachers read and make, against loops over the examples."""

import math

import pytest
import torch
from torch import nn

from tutelage import SGD, Student
from tutelage.errors import ConfigError, ShapeError
from tutelage.interactions import effective_share, features_of, labels_of, margin, surface, weights_of
from tutelage.randomness import seeded

DOUBLE = torch.float64
ALL = torch.ones(4, dtype=torch.bool)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_margin_by_a_loop():
    logits, labels = 8 * drawn(50, 4), torch.arange(50) % 4
    found = margin(logits, labels)
    for z, y, m in zip(logits.tolist(), labels.tolist(), found.tolist()):
        gap = z[y] - max(v for c, v in enumerate(z) if c != y)
        assert m == pytest.approx(min(max(gap, -10), 10) / 5, abs=1e-12)
    assert found.min() == -2.0
    assert found.max() < 2.0 or found.max() == 2.0


def test_surface():
    losses, margins = torch.tensor([0.5, 2.0]), torch.tensor([1.0, -1.0])
    assert surface(losses, 0.25, margins).tolist() == [[0.5, 0.25, 1.0], [2.0, 0.25, -1.0]]
    assert surface(losses, 0.25, None).tolist() == [[0.5, 0.25], [2.0, 0.25]]


def test_weights_by_hand():
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE)
    by_sum = weights_of(scores, ALL)
    assert by_sum.tolist() == pytest.approx([4 * s / (1.0 + 1e-8) for s in scores.tolist()], abs=1e-12)
    assert float(by_sum.sum()) == pytest.approx(4.0, abs=1e-7)
    assert torch.equal(weights_of(scores, ALL, "mean"), scores)
    assert weights_of(torch.tensor([0.3], dtype=DOUBLE), ALL[:1]).tolist() == pytest.approx([1.0], abs=1e-7)


def test_rows_without_a_label_count_nothing():
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE)
    known = torch.tensor([True, False, True, False])
    assert weights_of(scores, known).tolist() == pytest.approx([1.0, 0.0, 3.0, 0.0], abs=1e-6)
    assert weights_of(scores, known, "mean").tolist() == [0.1, 0.0, 0.3, 0.0]
    assert weights_of(scores, ~ALL).tolist() == [0.0] * 4


def test_the_gradient_flows_through_the_sum():
    """If the sum were constant, the gradient of a score would differ by more than a rounding error."""
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE, requires_grad=True)
    losses = torch.tensor([3.0, 1.0, 0.5, 0.1], dtype=DOUBLE)
    (found,) = torch.autograd.grad((weights_of(scores, ALL) * losses).mean(), scores)
    total, weighted = 1.0 + 1e-8, float((scores.detach() * losses).sum())
    needed = losses / total - weighted / total**2
    constant = losses / total
    assert float((found - needed).abs().max()) < 1e-12
    assert float((found - constant).norm() / constant.norm()) > 1e-3


def test_labels():
    ids, known = labels_of(torch.tensor([2, -1, 3, 0], dtype=torch.int32), 3)
    assert ids.tolist() == [2, 0, 0, 0]
    assert ids.dtype == torch.int64
    assert known.tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("y", "given"), [(torch.zeros(4, 3, dtype=torch.int64), r"\(4, 3\) int64"), (torch.zeros(4), r"\(4,\) float32")]
)
def test_several_labels_are_refused(y, given):
    with pytest.raises(ShapeError, match=rf"labels are {given}, but this teacher weighs by one class id a row"):
        labels_of(y, 3)


def test_effective_share_by_hand():
    assert float(effective_share(torch.full((5,), 0.3, dtype=DOUBLE))) == pytest.approx(1.0, abs=1e-12)
    assert float(effective_share(torch.tensor([0.0, 0.7, 0.0, 0.0], dtype=DOUBLE))) == pytest.approx(0.25, abs=1e-12)
    s = [0.1, 0.5, 0.9]
    needed = sum(s) ** 2 / (3 * sum(v * v for v in s))
    assert float(effective_share(torch.tensor(s, dtype=DOUBLE))) == pytest.approx(needed, abs=1e-12)
    assert float(effective_share(torch.zeros(3))) == 0.0
    assert math.isfinite(float(effective_share(torch.full((3,), 1e-30))))


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.conv(x).tanh().mean((2, 3)))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(x)


def student_of(kind):
    with seeded(1):
        net = kind().double()
    return Student(net, SGD(0.1))


def test_features_of_named_layers_are_averaged_and_joined():
    student, x = student_of(Pooled), drawn(5, 1, 6, 6)
    found = features_of(student, x, ("conv", "out"))
    conv = student.net.conv(x)
    assert found.shape == (5, 7)
    for i in range(5):
        for c in range(4):
            assert found[i, c].item() == pytest.approx(conv[i, c].mean().item(), abs=1e-12)
    assert torch.equal(found[:, 4:], student.logits(x))


def test_features_by_default_are_the_input_of_the_last_linear_layer():
    student, x = student_of(Pooled), drawn(5, 1, 6, 6)
    assert torch.allclose(features_of(student, x), student.net.conv(x).tanh().mean((2, 3)), rtol=0, atol=1e-12)
    sequences = drawn(5, 4, 6)
    assert torch.allclose(features_of(student_of(Sequence), sequences), sequences.mean(1), rtol=0, atol=1e-12)


def test_an_unknown_layer_is_named():
    with pytest.raises(ConfigError, match=r'unknown layer of the network "cony"\. Did you mean "conv"\?'):
        features_of(student_of(Pooled), drawn(5, 1, 6, 6), ("cony",))


def test_features_carry_the_gradient_of_the_student():
    student, x = student_of(Pooled), drawn(5, 1, 6, 6)
    (found,) = torch.autograd.grad(features_of(student, x, ("conv",)).sum(), student.params["conv.bias"])
    assert found.tolist() == pytest.approx([5.0] * 4)
