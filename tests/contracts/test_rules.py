"""Every rule equals its torch.optim counterpart, and is pure."""

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

from tutelage import SGD, Adam, AdamW
from tutelage.errors import ConfigError
from tutelage.rules import Decay, Rule, RuleState
from tutelage.schedules import Cosine, Exponential, StepDecay, Warmup
from tutelage.testing import ContractError, check_rule

OPTIM = torch.optim


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        (SGD(0.1), lambda p: OPTIM.SGD(p, 0.1)),
        (SGD(0.1, momentum=0.9), lambda p: OPTIM.SGD(p, 0.1, momentum=0.9)),
        (SGD(0.1, 0.9, 0.4, 1e-2), lambda p: OPTIM.SGD(p, 0.1, 0.9, 0.4, 1e-2)),
        (SGD(0.1, 0.9, 0.0, 1e-2, nesterov=True), lambda p: OPTIM.SGD(p, 0.1, 0.9, 0.0, 1e-2, nesterov=True)),
        (
            SGD(torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64)),
            lambda p: OPTIM.SGD(p, 0.1, 0.9),
        ),
        (Adam(0.01), lambda p: OPTIM.Adam(p, 0.01)),
        (Adam(0.01, (0.8, 0.95), 1e-4, 0.1), lambda p: OPTIM.Adam(p, 0.01, (0.8, 0.95), 1e-4, 0.1)),
        (Adam(torch.tensor(0.01, dtype=torch.float64)), lambda p: OPTIM.Adam(p, 0.01)),
        (AdamW(0.01), lambda p: OPTIM.AdamW(p, 0.01)),
        (AdamW(0.01, (0.8, 0.95), 1e-4, 0.1), lambda p: OPTIM.AdamW(p, 0.01, (0.8, 0.95), 1e-4, 0.1)),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
def test_equals_torch(rule, reference):
    check_rule(rule, reference)


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        (StepDecay(0.1, (4, 9), 0.2), lambda o: torch_schedules.MultiStepLR(o, [4, 9], 0.2)),
        (Cosine(0.1, 20), lambda o: torch_schedules.CosineAnnealingLR(o, 20)),
        (Exponential(0.1, 0.9, 3), lambda o: torch_schedules.StepLR(o, 3, 0.9)),
        (Warmup(Cosine(0.1, 10**9), 4), lambda o: torch_schedules.LinearLR(o, 0.2, 1.0, 4)),
        (torch.full((20,), 0.1, dtype=torch.float64), lambda o: torch_schedules.ConstantLR(o, 1.0)),
    ],
    ids=["step", "cosine", "exponential", "warmup", "one value a step"],
)
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_schedules_equal_torch(kind, schedule, reference):
    optimiser = {SGD: OPTIM.SGD, Adam: OPTIM.Adam}[kind]
    check_rule(kind(schedule), lambda p: optimiser(p, 0.1), schedule=reference)


def test_a_tensor_rate_is_differentiable():
    params = {"w": torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)}
    gradient = {"w": torch.tensor([0.3, 0.5], dtype=torch.float64)}
    for kind in (SGD, Adam, AdamW):

        def step(lr, kind=kind):
            rule = kind(lr)
            new, _ = rule.step(params, gradient, rule.init(params))
            return new["w"].square().sum()

        lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(step, lr)


def test_adam_has_a_finite_derivative_where_the_gradient_is_zero():
    g = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)
    rule = Adam(0.1)
    params = {"w": torch.zeros(2, dtype=torch.float64)}
    new, _ = rule.step(params, {"w": g * g}, rule.init(params))  # the dead entry has gradient 0 with derivative 0
    (derivative,) = torch.autograd.grad(new["w"].sum(), g)
    assert derivative.isfinite().all()


def test_decay_on_weights_only_scaled_by_the_lesson():
    params = {"w": torch.ones(2, 2), "b": torch.ones(2)}
    assert Decay(0.1, on="weights").coefficients(params) == {"w": 0.1}
    assert Decay(0.1).coefficients(params) == {"w": 0.1, "b": 0.1}
    assert Decay(0.0).coefficients(params) == {}
    scaled = Decay(0.1, on="weights", scaled=True).coefficients(params, torch.tensor(0.5))
    assert list(scaled) == ["w"]
    assert float(scaled["w"]) == pytest.approx(0.05)
    stacked = {"w": torch.ones(3, 2, 2), "b": torch.ones(3, 2)}
    factors = Decay(0.1, on="weights", scaled=True).coefficients(stacked, torch.tensor([0.0, 0.5, 1.0]), stacked=True)
    assert list(factors) == ["w"]
    assert torch.allclose(factors["w"], torch.tensor([0.0, 0.05, 0.1]).view(3, 1, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), r"learning rate is -0.1; it must be finite and at least 0"),
        (lambda: Adam(float("nan")), r"learning rate is nan"),
        (lambda: SGD(0.1, nesterov=True), r"nesterov=True needs momentum > 0"),
        (lambda: SGD(0.1, momentum=1.5), r"momentum is 1.5; it must be in \[0, 1\)"),
        (lambda: SGD(0.1, momentum=torch.tensor(-0.5)), r"momentum is -0.5; it must be in \[0, 1\)"),
        (lambda: SGD(0.1, momentum=torch.tensor([0.5, 1.0])), r"momentum is 1.0; it must be in \[0, 1\)"),
        (lambda: SGD(0.1, momentum=torch.tensor(float("nan"))), r"momentum is nan"),
        (lambda: Adam(betas=(1.0, 0.9)), r"betas are \(1.0, 0.9\)"),
        (lambda: AdamW(eps=-1.0), r"eps is -1.0"),
        (lambda: Decay(float("nan")), r"weight decay is nan"),
        (lambda: Decay(-1.0), r"weight decay is -1.0; it must be finite and at least 0"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


class InPlace(Rule):
    """Broken: changes its argument."""

    decay = Decay()

    def rate(self, step):
        return 0.1

    def init(self, params):
        return RuleState(0, {})

    def step(self, params, gradients, state, decay=None):
        for name, p in params.items():
            if gradients[name] is not None:
                p -= 0.1 * gradients[name]
        return dict(params), RuleState(state.step + 1, {})


def test_the_suite_catches_a_rule_in_place():
    with pytest.raises(ContractError, match="must not change in place"):
        check_rule(InPlace(), lambda p: OPTIM.SGD(p, 0.1))


def test_the_suite_catches_a_wrong_rule():
    with pytest.raises(ContractError, match=r"differs from torch.optim by .* after step 1"):
        check_rule(SGD(0.1), lambda p: OPTIM.SGD(p, 0.11))
