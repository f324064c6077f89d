"""Trajectory matching: what memory decides, what is refused for lack of it, and truncation."""

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.hypergradient import Fitting, Recompute, Unrolled, fitting
from tutelage.teachers import Tesla

from .test_trajectory_matching import teacher


def test_memory_decides_between_the_graph_and_recomputing(monkeypatch):
    needed = teacher(hypergradient=Unrolled()).gradients()
    for free, reruns in ((1 << 40, 0), (1, 4)):
        monkeypatch.setattr(fitting, "free_bytes", lambda device, free=free: free)
        made = teacher()
        assert isinstance(made.hypergradient, Fitting)
        loss, found = made.gradients()
        assert made.hypergradient.stats.reruns == reruns
        assert torch.equal(loss, needed[0])
        for a, b in zip(found, needed[1]):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12 * float(b.abs().max()))


def test_what_memory_decided_goes_on(monkeypatch):
    """A run that began without memory for the graph goes on so where there is plenty."""
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 1)
    first, second = teacher(), teacher()
    first.learn(None, None, None)
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 1 << 40)
    second.load_state_dict(first.state_dict())
    second.learn(None, None, None)
    assert second.hypergradient.stats.reruns == 4


def test_a_graph_that_cannot_fit_is_refused(monkeypatch):
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 1)
    for unrolled, steps in ((Unrolled(), 4), (Unrolled(truncate=2), 2)):
        made = teacher(hypergradient=unrolled)
        match = rf"the graph of {steps} steps needs .* GB of memory are free: use Recompute\(\)"
        with pytest.raises(ConfigError, match=match):
            made.learn(None, None, None)
        assert made.steps == 0
    for other in (Recompute(), Fitting(), Tesla()):
        teacher(hypergradient=other).learn(None, None, None)


@pytest.mark.parametrize("kind", [Recompute, Fitting])
def test_truncation(kind):
    """The same of all strategies: minibatches of steps that are left out have no gradient."""
    needed = teacher(batch=2, hypergradient=Unrolled(truncate=1)).gradients()
    found = teacher(batch=2, hypergradient=kind(truncate=1)).gradients()
    assert torch.equal(found[0], needed[0])
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(found[1], needed[1]))
    assert int(found[1][0].flatten(2).abs().sum(-1).gt(0).sum()) == 2
