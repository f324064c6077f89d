"""An outer step of the unrolled teacher as one pure function of tensors, that can be compiled."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap

from ..errors import ConfigError, NotFiniteError
from ..losses import cross_entropy
from ..nets.together import check_stateless, frozen
from .lessons import DistilledSet

_Params = dict[str, Tensor]


class OuterStep:
    """The loss J that K networks end at after the T lessons of a set, and its derivatives, by ``torch.func``.

    It equals the other engines up to rounding, and keeps the graph of all steps. Compiling takes half a minute for each
    T and set of shapes, and is remembered on disk: it is for thousands of outer steps.

    Args:
        net: the architecture; it must answer alike in training and in evaluation.
        compiled: by ``torch.compile``; False: as it is, for tests.
        freeze_buffers: see :class:`tutelage.nets.together.Together`.

    Raises:
        ConfigError: for a network with dropout, or running statistics that are not frozen; without a C++ compiler.
    """

    def __init__(self, net: nn.Module, *, compiled: bool = True, freeze_buffers: bool = False) -> None:
        check_stateless(net, freeze_buffers=freeze_buffers)
        for name, module in net.named_modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
                raise ConfigError(
                    f'engine "compile" draws nothing, but layer {name} is {type(module).__name__}: use "vmap".'
                )
        if compiled and not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "c++")):
            raise ConfigError('engine "compile" needs a C++ compiler, and none is found: install g++, or use "auto".')
        self._net, self._compiled = frozen(net), compiled
        self._trained = {name for name, p in net.named_parameters() if p.requires_grad}
        self._step: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was compiled: it can be neither copied nor stored."""
        return self.__dict__ | {"_step": None}

    def __call__(
        self, distilled: DistilledSet, weights: Mapping[str, Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return J, and its derivatives in the images, in soft labels if there are any, and in the step sizes.

        Args:
            distilled: with step sizes.
            weights: where networks start, by name, each (K, ...).
            x: real rows (B, ...).
            y: their targets.

        Raises:
            NotFiniteError: if any of it is not finite.
        """
        if self._step is None:
            step = grad_and_value(self._loss, argnums=0)
            self._step = torch.compile(step, dynamic=False) if self._compiled else step
        parts = [distilled.images, *([distilled.labels] if distilled.soft else []), distilled.step_sizes]
        labels = None if distilled.soft else distilled.labels
        learned = {n: w.detach() for n, w in weights.items() if n in self._trained}
        constant = {n: w.detach() for n, w in weights.items() if n not in self._trained}
        gradients, loss = self._step(tuple(p.detach() for p in parts), labels, learned, constant, x, y)
        if not all(bool(t.isfinite().all()) for t in (loss, *gradients)):
            raise NotFiniteError("the outer step: the loss of the taught networks or its derivative is not finite.")
        return loss, list(gradients)

    def _loss(
        self, parts: Sequence[Tensor], labels: Tensor | None, learned: _Params, constant: _Params, x: Tensor, y: Tensor
    ) -> Tensor:
        images, *soft, sizes = parts

        def mean_loss(own: _Params, fixed: _Params, rows: Tensor, targets: Tensor) -> Tensor:
            return cross_entropy(functional_call(self._net, {**own, **fixed}, (rows,)), targets).mean()

        def taught(own: _Params, fixed: _Params) -> Tensor:
            for t in range(len(sizes)):
                s = t % len(images)
                slopes = grad(mean_loss)(own, fixed, images[s], _targets(labels, soft, s))
                own = {name: w - sizes[t] * slopes[name] for name, w in own.items()}
            return mean_loss(own, fixed, x, y)

        return vmap(taught)(learned, constant).mean()


def _targets(labels: Tensor | None, soft: Sequence[Tensor], batch: int) -> Tensor:
    if labels is None:
        return soft[0][batch].softmax(-1)
    return labels[batch] if labels.ndim == 2 else labels
