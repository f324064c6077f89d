"""Every network keeps the laws of the student."""

import pytest
import torch
from torch import nn

from tutelage import SGD, Adam, AdamW
from tutelage.nets import build
from tutelage.rules import Decay
from tutelage.testing import ContractError, check_student, tiny_batch, tiny_net

RULES = [SGD(0.1), SGD(0.05, momentum=0.9, nesterov=True, weight_decay=Decay(1e-2, "weights", True)), Adam(), AdamW()]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout", "shared"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiny_nets(kind, rule, dtype):
    batch = tiny_batch(dtype=dtype)
    check_student(tiny_net(kind, dtype=dtype), batch.x, batch.y, rule)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp", (1, 8, 8)),
        ("mlp-16", (5,)),
        ("cnn", (1, 8, 8)),
        ("lenet", (1, 28, 28)),
        ("lenet", (3, 32, 32)),
        ("resnet8", (3, 16, 16)),
        ("wrn-10-1", (3, 16, 16)),
        ("mentor-resnet-8-1", (3, 16, 16)),
        ("inception", (3, 16, 16)),
    ],
)
def test_our_nets(name, shape):
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    check_student(build(name, shape, 3), x, torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize("name", ["mentor-resnet-8-1", "inception"])
def test_published_nets_in_double_with_scaled_decay(name):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check_student(build(name, (3, 8, 8), 3).double(), x, torch.tensor([0, 1, 2, 0]), RULES[1])


def test_recurrent_net():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(6, 5, batch_first=True)
            self.out = nn.Linear(5, 3)

        def forward(self, x):
            return self.out(self.cell(x.unsqueeze(1))[0][:, -1])

    batch = tiny_batch(dtype=torch.float32)
    check_student(Recurrent(), batch.x, batch.y, tolerance=1e-6)


def test_the_suite_catches_a_network_that_counts_its_passes():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny_net()
            self.passes = 0

        def forward(self, x):
            self.passes += 1
            return self.inner(x) * self.passes

    batch = tiny_batch()
    with pytest.raises(ContractError, match="depend on parameters, buffers"):
        check_student(Counts(), batch.x, batch.y)
