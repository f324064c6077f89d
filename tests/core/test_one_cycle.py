"""The one-cycle schedule and scheduled momentum: equal to torch's, and known to what differentiates a step."""

import copy
import pickle
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from tests.core.look_ahead import ProblemA, along, relative
from tutelage import SGD, Adam, AdamW
from tutelage.errors import ConfigError
from tutelage.hypergradient import Recompute, Reversible, Unrolled
from tutelage.schedules import OneCycle
from tutelage.testing import check_rule

OPTIM = torch.optim


def torchs(cycle):
    """Rate and momentum of each step as torch has them."""
    optimiser = OPTIM.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1, momentum=0.9)
    schedule = OneCycleLR(
        optimiser, cycle.lr, cycle.steps, pct_start=cycle.warmup, div_factor=cycle.start_factor,
        final_div_factor=cycle.final_factor, base_momentum=cycle.low, max_momentum=cycle.high,
    )  # fmt: skip
    found = []
    for step in range(cycle.steps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no gradient, hence no step
            if step:
                schedule.step()
        found.append((optimiser.param_groups[0]["lr"], optimiser.param_groups[0]["momentum"]))
    return found


@pytest.mark.parametrize(
    "cycle",
    [
        OneCycle(0.015, 200),
        OneCycle(0.1, 23),
        OneCycle(0.1, 2),
        OneCycle(0.1, 1),
        OneCycle(0.1, 3),
        OneCycle(0.1, 7, warmup=0.0),
        OneCycle(0.1, 7, warmup=1.0),
        OneCycle(0.1, 40, 0.5, 10.0, 100.0, 0.99, 0.8),
    ],
    ids=str,
)
def test_equals_torch_step_by_step(cycle):
    found = [(cycle(t), cycle.momentum(t)) for t in range(cycle.steps)]
    assert found == torchs(cycle)


def test_by_hand():
    cycle = OneCycle(0.5, 11, warmup=0.5)  # rises during steps 0 to 4.5
    assert cycle(0) == pytest.approx(0.02, abs=1e-15)
    assert cycle.momentum(0) == pytest.approx(0.95, abs=1e-15)
    assert OneCycle(0.5, 10)(2) == pytest.approx(0.5, abs=1e-15)
    assert OneCycle(0.5, 10).momentum(2) == pytest.approx(0.85, abs=1e-15)
    assert cycle(10) == cycle(99) == pytest.approx(2e-6, abs=1e-15)
    assert OneCycle(0.5, 10, warmup=0.1)(0) == 0.5  # torch divides by zero here
    assert OneCycle(0.5, 1, warmup=1.0)(0) == 0.5


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        (lambda c: AdamW(c, (c.momentum, 0.999)), lambda p: OPTIM.AdamW(p, 0.1)),
        (
            lambda c: AdamW(c, (c.momentum, 0.99), 1e-6, 1e-4),
            lambda p: OPTIM.AdamW(p, 0.1, (0.9, 0.99), 1e-6, 1e-4),
        ),
        (lambda c: Adam(c, (c.momentum, 0.999), weight_decay=0.1), lambda p: OPTIM.Adam(p, 0.1, weight_decay=0.1)),
        (lambda c: SGD(c, c.momentum, weight_decay=5e-4), lambda p: OPTIM.SGD(p, 0.1, 0.9, weight_decay=5e-4)),
        (
            lambda c: SGD(c, c.momentum, weight_decay=5e-4, nesterov=True),
            lambda p: OPTIM.SGD(p, 0.1, 0.9, weight_decay=5e-4, nesterov=True),
        ),
        (lambda c: SGD(c, c.momentum, 0.3), lambda p: OPTIM.SGD(p, 0.1, 0.9, 0.3)),
    ],
    ids=["adamw", "adamw with decay", "adam", "sgd", "nesterov", "dampened"],
)
@pytest.mark.parametrize("steps", [25, 60])
def test_rules_equal_torch_with_cycled_momentum(rule, reference, steps):
    cycle = OneCycle(0.05, steps)
    check_rule(rule(cycle), reference, schedule=lambda o: OneCycleLR(o, 0.05, steps), steps=steps)


def test_the_cycled_momentum_matters():
    cycle = OneCycle(0.05, 25)
    with pytest.raises(Exception, match=r"differs from torch\.optim"):
        check_rule(AdamW(cycle), lambda p: OPTIM.AdamW(p, 0.1), schedule=lambda o: OneCycleLR(o, 0.05, 25), steps=25)


def test_a_momentum_that_is_zero_for_a_while():
    class Steps:  # torch's momentum, set by hand as a scheduler would
        def __init__(self, optimiser):
            self.optimiser, self.number = optimiser, 0
            self.set()

        def set(self):
            self.optimiser.param_groups[0]["momentum"] = momentum(self.number)

        def step(self):
            self.number += 1
            self.set()

    def momentum(step):
        return 0.9 if step % 5 < 3 else 0.0

    check_rule(SGD(0.1, momentum), lambda p: OPTIM.SGD(p, 0.1), schedule=Steps)


def test_one_value_a_step():
    values = torch.linspace(0.5, 0.9, 20, dtype=torch.float64)
    rule = SGD(0.1, values)
    assert [float(rule.momentum_at(t)) for t in (0, 19)] == [0.5, 0.9]


def test_a_rule_with_a_cycle_can_be_kept():
    rule = AdamW(OneCycle(0.1, 9), (OneCycle(0.1, 9).momentum, 0.999))
    for twin in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):  # noqa: S301
        assert [twin.betas[0](t) for t in range(9)] == [rule.betas[0](t) for t in range(9)]
        assert repr(twin) == repr(rule)


def cycled(kind, lr):
    """(weight decay) -> a rule whose rate and momentum follow a cycle of eight steps."""
    cycle = OneCycle(lr, 8)
    momentum = {"momentum": cycle.momentum} if kind is SGD else {"betas": (cycle.momentum, 0.999)}
    return lambda decay: kind(cycle, **momentum, weight_decay=decay)


@pytest.mark.parametrize(("kind", "lr"), [(SGD, 0.2), (Adam, 0.05), (AdamW, 0.05)])
def test_hypergradients_know_the_cycle(kind, lr):
    problem = ProblemA(cycled(kind, lr))
    gradients = problem.gradients(Unrolled())
    assert along(problem.trained, problem.eta, gradients) < 1e-8
    assert relative(problem.gradients(Recompute(3)), gradients) < 1e-14


def test_reversible_undoes_a_cycled_momentum():
    problem, strategy = ProblemA(cycled(SGD, 0.2)), Reversible()
    assert relative(problem.gradients(strategy), problem.gradients(Unrolled())) < 1e-11
    assert not strategy.stats.fell_back
    assert strategy.stats.drift < 1e-12


def test_reversible_refuses_a_schedule_that_reaches_zero():
    problem = ProblemA(lambda decay: SGD(0.1, lambda step: 0.1 * step, weight_decay=decay))
    with pytest.raises(ConfigError, match=r"can only undo SGD with momentum above 0 .* not SGD\(momentum=0, nest"):
        problem.gradients(Reversible())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneCycle(-1.0, 10), r"learning rate is -1\.0"),
        (lambda: OneCycle(0.1, 0), r"steps is 0; a cycle needs at least 1"),
        (lambda: OneCycle(0.1, 9, warmup=1.1), r"warmup is 1\.1; it is the share of the steps that rise, in \[0, 1\]"),
        (lambda: OneCycle(0.1, 9, start_factor=0.0), r"the factors are 0\.0 and 10000\.0; both must be above 0"),
        (lambda: OneCycle(0.1, 9, high=1.0), r"the momentum cycles between 1\.0 and 0\.85; both must be in \[0, 1\)"),
        (lambda: SGD(0.1, lambda step: 1.5).momentum_at(0), r"momentum is 1\.5; it must be in \[0, 1\)"),
        (lambda: check_rule(Adam(0.1, (lambda step: -0.1, 0.9)), lambda p: OPTIM.Adam(p)), r"betas are \(-0\.1, 0\.9"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
