"""The contract of an update rule."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..rules import Rule
from .laws import copied, identical, need


def check_rule(
    rule: Rule,
    reference: Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer],
    *,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    steps: int = 20,
    tolerance: float = 1e-12,
) -> None:
    """Compare a rule with a torch optimiser: float64, with parameters whose gradient is 0, missing or seldom.

    Args:
        rule: ours.
        reference: makes torch's from a list of parameters.
        schedule: makes torch's scheduler from the optimiser, stepped after every step.
        steps: how many to compare.
        tolerance: largest absolute difference of any parameter.

    Raises:
        ContractError: if they differ, or the rule changes its arguments.
    """
    generator = torch.Generator().manual_seed(0)
    names = ("matrix", "bias", "dead", "seldom", "unused")
    values = {n: torch.randn(3, 2, generator=generator, dtype=torch.float64) for n in names}
    theirs = {n: nn.Parameter(v.clone()) for n, v in values.items()}
    optimiser = reference(list(theirs.values()))
    scheduler = schedule(optimiser) if schedule else None
    params, state = dict(values), rule.init(values)
    for number in range(steps):
        gradients = {n: torch.randn(3, 2, generator=generator, dtype=torch.float64) for n in ("matrix", "bias")}
        gradients["dead"] = torch.zeros(3, 2, dtype=torch.float64)
        if number % 3 == 1:
            gradients["seldom"] = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        before = copied(params), copied({k: dict(v) for k, v in state.slots.items()})
        new, later = rule.step(params, {"seldom": None, "unused": None, **gradients}, state)
        kept = before[0], {k: dict(v) for k, v in before[1].items()}
        need(
            identical(kept, (params, {k: dict(v) for k, v in state.slots.items()})), "a rule must not change in place."
        )
        params, state = new, later
        for n, p in theirs.items():
            p.grad = gradients[n].clone() if n in gradients else None
        optimiser.step()
        if scheduler is not None:
            scheduler.step()
        worst = float(torch.stack([(params[n] - theirs[n].detach()).abs().max() for n in names]).max())
        need(worst <= tolerance, f"the rule differs from torch.optim by {worst:.1e} after step {state.step} (law 3).")
