"""What changes a teacher: an update rule whose memory is in the teacher's state."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .rules import Rule, RuleState


class Optimiser(nn.Module):
    """Applies an update rule to parameters in place, and keeps what the rule remembers in buffers.

    As a part of a teacher it is saved, moved and copied with it, which an optimiser of ``torch.optim`` is not.

    Args:
        params: what it will be called with, by name.
        rule: how gradients change them.
    """

    steps: Tensor

    def __init__(self, params: Mapping[str, Tensor], rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self._names = tuple(params)
        self._slots = tuple(rule.init(params).slots)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for slot in self._slots:
            for i, parameter in enumerate(params.values()):
                self.register_buffer(f"{slot}_{i}", torch.zeros_like(parameter, requires_grad=False))

    @torch.no_grad()
    def step(self, params: Mapping[str, Tensor], gradients: Sequence[Tensor]) -> None:
        """Change the parameters by their gradients, and leave these in ``.grad``.

        Args:
            params: of the same names, in the same order, as at construction.
            gradients: one a parameter, of its shape.
        """
        state = self._state() if self.steps else self.rule.init(params)
        new, later = self.rule.step(dict(params), dict(zip(self._names, gradients, strict=True)), state)
        for (name, parameter), gradient in zip(params.items(), gradients):
            parameter.copy_(new[name])
            parameter.grad = gradient
        for slot, values in later.slots.items():
            for i, name in enumerate(self._names):
                if name in values:  # momentum may begin later
                    self.get_buffer(f"{slot}_{i}").copy_(values[name])
        self.steps += 1

    def _state(self) -> RuleState:
        steps = int(self.steps)
        slots: dict[str, dict[str, Tensor]] = {slot: {} for slot in self._slots}
        for slot in self._slots:
            if self.rule.has_begun(slot, steps):
                slots[slot] = {name: self.get_buffer(f"{slot}_{i}") for i, name in enumerate(self._names)}
        return RuleState(steps, slots)
