"""Networks that answer and never change: teachers to distil from."""

import contextlib
import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from .errors import ConfigError, ShapeError, unknown
from .fingerprints import of_network
from .lesson import Batch
from .randomness import counter, seeded
from .soft_targets import TopLogits, ensemble
from .soft_targets.answers import Average


class LogitSource(Protocol):
    """What knows a teacher's logits of a batch: live networks, or a cache of their answers."""

    def answers_for(self, batch: Batch) -> Tensor | TopLogits:
        """Return the logits (N, C) of the rows, without gradient; (N, K, C) for losses that want several."""

    def notes(self, batch: Batch) -> dict[str, Any]:
        """Return what is worth logging of the answers for a batch: whether they are live, and whose they are."""


class Frozen:
    """Networks that answer and never change: copied, in evaluation mode, without gradient.

    No module, hence in no optimiser, ``state_dict`` or checkpoint, and a teacher that holds it does not train it.
    Evaluation mode is set again before every pass. The networks follow the inputs to their device.

    Args:
        nets: one or several, each maps x (N, ...) to logits (N, ..., C); of a tuple the first entry counts.
        average: of several: ``"probs"``, logits whose softmax at ``temperature`` is the mean of theirs; ``"logits"``,
            the mean logit.
        temperature: at which probabilities are averaged, that of the loss; > 0.
        class_map: the student's class c is the networks' class ``class_map[c]``; default: the same order.
        precision: to run the networks in, such as ``torch.bfloat16``, by autocast; answers have the inputs' dtype,
            and at least float32.

    Raises:
        ConfigError: without a network, or for options outside their ranges.
    """

    def __init__(
        self,
        nets: nn.Module | Sequence[nn.Module],
        *,
        average: Average = "probs",
        temperature: float = 1.0,
        class_map: Sequence[int] | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        given = [nets] if isinstance(nets, nn.Module) else list(nets)
        if not given:
            raise ConfigError("Frozen: no network given; give one, or several to be averaged.")
        if average not in get_args(Average):
            raise ConfigError(unknown("average", str(average), get_args(Average)))
        if not temperature > 0:
            raise ConfigError(f"temperature is {temperature}; it must be above 0.")
        self.nets = tuple(copy.deepcopy(net).requires_grad_(False).eval() for net in given)
        self.average, self.temperature, self.precision = average, temperature, precision
        self.class_map = None if class_map is None else _checked(class_map)
        self._identity = ""

    def answers(self, x: Tensor, *, dropout: int | None = None) -> Tensor:
        """Return the logits (N, ..., C) in the student's order of classes, without gradient.

        Args:
            x: inputs (N, ...).
            dropout: key of the masks of dropout layers, which then draw as in training, and they alone. None: none.

        Raises:
            ConfigError: for ``dropout`` without a dropout layer, or a class map that does not fit.
            ShapeError: if a network returns no logits, or several those of different classes.
        """
        if dropout is not None and not any(isinstance(m, _DropoutNd) for net in self.nets for m in net.modules()):
            raise ConfigError("Frozen: the networks have no dropout layer, so a teacher with dropout cannot be had.")
        found = [_run(net, x, self.precision, _key(dropout, k)) for k, net in enumerate(self.nets)]
        counts = [logits.shape[-1] for logits in found]
        if len(set(counts)) > 1:
            raise ShapeError(
                f"Frozen: the networks answer with {', '.join(map(str, counts))} classes; give equal ones."
            )
        logits = found[0] if len(found) == 1 else ensemble(torch.stack(found, -2), self.average, self.temperature)
        return self._mapped(logits)

    def answers_with(self, x: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits, and the outputs of layers named as ``named_modules`` does, (N, ...), from one pass.

        Raises:
            ConfigError: for an unknown layer, or of several networks.
            ShapeError: if the pass does not reach a layer, or its output is no tensor of N rows.
        """
        if len(self.nets) > 1:
            raise ConfigError(f"Frozen: the layers of one network can be seen, but there are {len(self.nets)}.")
        (net,) = self.nets
        known = [name for name, _ in net.named_modules() if name]
        if strange := [name for name in layers if name not in known]:
            raise ConfigError(unknown("layer of the teacher's network", strange[0], known))
        with _seen(net, layers) as outputs:
            logits = self._mapped(_run(net, x, self.precision, None))
        for name in layers:
            output = outputs.get(name)
            if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != len(x):
                given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                what = f"its output is {given}" if name in outputs else "the forward pass does not reach it"
                raise ShapeError(f"layer {name} of the teacher needs an output of shape ({len(x)}, ...), but {what}.")
        return logits, {name: _like(outputs[name], x) for name in layers}

    def answers_for(self, batch: Batch) -> Tensor:
        """Return the logits of a batch's inputs: a :class:`LogitSource`."""
        return self.answers(batch.x)

    def notes(self, batch: Batch) -> dict[str, Any]:
        """Return ``source`` and ``teacher``, one digest of the fingerprint, which is taken once."""
        return {"source": "live", "teacher": self.identity}

    @property
    def identity(self) -> str:
        """One digest of the :meth:`fingerprint` as it was when it was first asked for: 16 hexadecimal digits."""
        if not self._identity:
            self._identity = hashlib.sha256(repr(sorted(self.fingerprint().items())).encode()).hexdigest()[:16]
        return self._identity

    def fingerprint(self) -> dict[str, str]:
        """Return what the answers depend on, by name: a SHA-256 of the architecture, of each tensor, of the attributes
        of each submodule and of the code of each class, see :mod:`tutelage.fingerprints`; the options.

        Taken anew at each call; equal after saving and loading, in every process and on every device.
        """
        facts = {"average": f"{self.average} at {self.temperature:g}"} if len(self.nets) > 1 else {}
        facts |= {"class_map": str(self.class_map), "precision": str(self.precision or "as the network")}
        for k, net in enumerate(self.nets):
            facts |= of_network(net, f"{k}." if len(self.nets) > 1 else "")
        return facts

    def _mapped(self, logits: Tensor) -> Tensor:
        if self.class_map is None:
            return logits
        if max(self.class_map) >= logits.shape[-1]:
            raise ConfigError(
                f"class_map names class {max(self.class_map)}, but the teacher's classes are 0..{logits.shape[-1] - 1}."
            )
        return logits[..., list(self.class_map)]


def _checked(class_map: Sequence[int]) -> tuple[int, ...]:
    classes = tuple(int(c) for c in class_map)
    if not classes or min(classes) < 0 or len(set(classes)) < len(classes):
        raise ConfigError(
            f"class_map is {list(classes)}; it needs the teacher's class for each of the student's, all different."
        )
    return classes


def _key(dropout: int | None, k: int) -> int | None:
    return None if dropout is None else counter(dropout, k)


@torch.no_grad()
def _run(net: nn.Module, x: Tensor, precision: torch.dtype | None, key: int | None) -> Tensor:
    """One pass in evaluation mode, with dropout if there is a key for it."""
    for module in net.modules():
        mode = key is not None and isinstance(module, _DropoutNd)
        if module.training != mode:
            module.training = mode
    like = next((p for p in net.parameters() if p.is_floating_point()), None)
    inputs = x
    if like is not None:
        if like.device != x.device:
            net.to(x.device)
        inputs = x.to(like.dtype) if x.is_floating_point() else x
    # an autocast of the student's is not the teacher's: its answers depend on its inputs alone
    autocast = torch.autocast(x.device.type, dtype=precision or torch.bfloat16, enabled=precision is not None)
    with autocast, contextlib.nullcontext() if key is None else seeded(key, x.device):
        out = net(inputs)
    logits = out[0] if isinstance(out, tuple) and out else out
    if not isinstance(logits, Tensor) or logits.ndim < 2 or len(logits) != len(x):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ShapeError(f"the teacher's network returned {given}, but needs logits of shape ({len(x)}, classes).")
    return _like(logits, x)


def _like(output: Tensor, x: Tensor) -> Tensor:
    if x.is_floating_point():
        return output.to(torch.promote_types(x.dtype, torch.float32))
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


@contextlib.contextmanager
def _seen(net: nn.Module, layers: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """What layers of this very network answer in a block."""
    outputs: dict[str, Any] = {}

    def keep(name: str, output: Any) -> None:
        # as it is now: the next layer may work in place
        outputs[name] = output.clone() if isinstance(output, Tensor) else output

    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name in layers
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
