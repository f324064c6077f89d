"""A network that a teacher owns and trains: a function of its tensors, so that to ask it is only to read."""

import copy
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .errors import ShapeError
from .functional import FunctionalNet, in_mode
from .optimiser import Optimiser
from .randomness import seeded
from .ranks import mean_over_ranks
from .rules import Rule


class TaughtNet(nn.Module):
    """A copy of a network with the rule that changes it, both in ``state_dict``.

    Args:
        net: maps x (N, ...) to logits (N, C); may have batch norm, dropout and frozen parameters.
        rule: how gradients change it.
    """

    def __init__(self, net: nn.Module, rule: Rule) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        if not self.net.training:
            self.net.train()
        self.optimiser = Optimiser(self.trained(), rule)
        self._call = FunctionalNet(self.net)
        self._modes = [(module, module.training) for module in self.net.modules()]

    def trained(self) -> dict[str, Tensor]:
        """Return the parameters that are learned, by name."""
        return {n: p for n, p in self.net.named_parameters() if p.requires_grad}

    def answer(self, x: Tensor, key: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits (N, C) as in training, and the buffers after the pass; nothing changes.

        Args:
            x: inputs (N, ...).
            key: of the dropout masks.

        Raises:
            ShapeError: if the network returns anything else.
        """
        return self._answer(x, key, training=True)

    @torch.no_grad()
    def predict(self, x: Tensor, *, batch_size: int = 1024) -> Tensor:
        """Return the logits (N, C) as in evaluation, without gradient, in pieces of ``batch_size`` rows."""
        return torch.cat([self._answer(piece, 0, training=False)[0] for piece in torch.split(x, batch_size)])

    def descend(self, gradients: Sequence[Tensor]) -> None:
        """Take a step of the rule, with the mean of the gradients over ranks, and leave them in ``.grad``."""
        mean_over_ranks(gradients)
        self.optimiser.step(self.trained(), gradients)

    @torch.no_grad()
    def commit(self, buffers: dict[str, Tensor]) -> None:
        """Take over the buffers that a pass led to."""
        for name, buffer in self.net.named_buffers():
            buffer.copy_(buffers[name])

    def _answer(self, x: Tensor, key: int, *, training: bool) -> tuple[Tensor, dict[str, Tensor]]:
        tensors: dict[str, Tensor] = dict(self.net.named_parameters())
        tensors |= {n: b.clone() for n, b in self.net.named_buffers()}
        # as they were given: train() on the teacher changes nothing here
        with in_mode(self._modes, training), seeded(key, x.device):
            logits, buffers = self._call(tensors, x)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ShapeError(f"the teacher's network returned {given}, but needs logits of shape ({len(x)}, classes).")
        return logits, buffers


def check_answers(teacher: Tensor, student: Tensor) -> None:
    """Look at the first answers (N, C) of a teacher's and a student's network; warn where they seem no logits.

    Raises:
        ShapeError: if they are not of the same classes.
    """
    if student.ndim != 2 or teacher.shape[1] != student.shape[1]:
        raise ShapeError(
            f"the teacher answers with {teacher.shape[1]} classes, but the student's answers are of shape "
            f"{tuple(student.shape)}: both need logits (N, C) of the same classes."
        )
    for who, logits in (("teacher", teacher.detach()), ("student", student.detach())):
        if bool((logits >= 0).all()) and torch.allclose(logits.sum(-1), torch.ones_like(logits[:, 0]), atol=1e-4):
            warnings.warn(
                f"the rows of the {who}'s logits sum to 1: its network seems to end in a softmax; remove it, or its "
                "cross-entropy cannot fall below that of a nearly uniform answer.",
                stacklevel=3,
            )
