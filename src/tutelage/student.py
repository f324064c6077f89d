"""The student: a network, an update rule, and where in parameter space it stands."""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor, nn

from .errors import CheckpointError, ShapeError
from .functional import FunctionalNet
from .lesson import Lesson, Loss
from .randomness import counter, seeded, stream
from .rules import Gradients, Params, Rule, RuleState, Scalar

_DETERMINISTIC = frozenset(
    {
        *(nn.Sequential, nn.Flatten, nn.Identity, nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
        *(nn.ReLU, nn.LeakyReLU, nn.GELU, nn.Tanh, nn.Sigmoid),
    }
)
"""Modules that draw nothing: a network of these alone needs no seeded generator around its pass."""


class Forward(NamedTuple):
    """One pass through the network, kept so that teacher and study share it.

    Attributes:
        x: the inputs.
        logits: the answers.
        versions: the counts of in-place changes to both; a pass whose tensors were changed is not used again.
        features: input of the last linear layer, if the pass reached one.
        buffers: the network's buffers after the pass.
        own: whether the pass is differentiable in this student's parameters.
    """

    x: Tensor
    logits: Tensor
    versions: tuple[int, int]
    features: Tensor | None
    buffers: Params
    own: bool

    @property
    def intact(self) -> bool:
        """Whether neither inputs nor answers were changed since; a detached tensor shares the count."""
        return self.versions == (self.x._version, self.logits._version)


def mean_over_ranks(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Average tensors over the ranks, in place, if ``torch.distributed`` runs: nothing else knows of ranks."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)
            tensor.div_(torch.distributed.get_world_size())
    return tensors


class Student:
    """A network that studies lessons.

    The network may be any ``nn.Module``, with batch norm, dropout, frozen and shared parameters; its parameters are
    copied here, and :attr:`net` writes the current ones back. Looking at a student (``logits``, ``features``,
    ``predict``, ``after``) leaves no trace: neither parameters, batch-norm statistics nor random state change.

    Args:
        net: the network; maps x (N, ...) to logits (N, ..., C).
        rule: how gradients change the parameters.
        seed: source of the student's own randomness (dropout), and the key of paired comparisons.
    """

    def __init__(self, net: nn.Module, rule: Rule, *, seed: int = 0) -> None:
        if not net.training:
            net.train()
        self.rule = rule
        self.seed = seed
        self._call = FunctionalNet(net)
        self._modes = [(module, module.training) for module in net.modules()]
        self._key = stream(seed, "student")
        self._params: Mapping[str, Tensor] = {
            n: p.detach().clone().requires_grad_() for n, p in net.named_parameters() if p.requires_grad
        }
        self._frozen = {n: p.detach().clone() for n, p in net.named_parameters() if not p.requires_grad}
        self._buffers = {n: b.detach().clone() for n, b in net.named_buffers()}
        self._state = rule.init(self._params)
        self._draws = any(type(module) not in _DETERMINISTIC for module in net.modules())
        self._last: Forward | None = None
        self._losses: tuple[Forward, Any, Loss, Tensor] | None = None
        self._is_view = False
        self.last_linear = next((m for m in reversed(list(net.modules())) if isinstance(m, nn.Linear)), None)

    @property
    def step(self) -> int:
        """How many lessons were studied."""
        return self._state.step

    @property
    def params(self) -> Mapping[str, Tensor]:
        """The current parameters by name."""
        return self._params

    @property
    def rule_state(self) -> RuleState:
        """What the rule remembers."""
        return self._state

    @property
    def architecture(self) -> nn.Module:
        """The user's module as it is, without this student's values; for its structure only."""
        return self._call.net

    @property
    def has_constants(self) -> bool:
        """Whether the network has buffers or frozen parameters."""
        return bool(self._buffers or self._frozen)

    @property
    def lr(self) -> Scalar:
        """The learning rate of the next step."""
        return self.rule.rate(self._state.step)

    @property
    def net(self) -> nn.Module:
        """The user's module, with this student's parameters and buffers written into it (a copy for a view)."""
        net = copy.deepcopy(self._call.net) if self._is_view else self._call.net
        values = {**self._params, **self._frozen, **self._buffers}
        with torch.no_grad():
            for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
                tensor.copy_(values[name])
        return net

    def logits(self, x: Tensor, *, training: bool = True) -> Tensor:
        """Return what the student answers, differentiable in its parameters.

        Args:
            x: inputs (N, ...).
            training: as during study (batch statistics, dropout); the pass is kept and used by ``study`` and
                ``after`` for the same ``x``, so that looking costs no second one. False: as in evaluation.

        Returns:
            (N, ..., C).

        Raises:
            ShapeError: if the network returns no tensor, or one of another length.
        """
        return self._forward(x, training).logits

    def losses(self, x: Tensor, target: Any, loss: Loss) -> Tensor:
        """Return the per-example losses (N,) of the training pass, differentiable in the parameters.

        They are kept like the pass itself: a lesson with the same ``x``, ``target`` and ``loss`` does not compute them
        again. A teacher that weighs by them detaches them.

        Args:
            x: inputs (N, ...).
            target: what ``loss`` takes as its second argument.
            loss: (logits (N, ..., C), target) -> (N,).
        """
        forward = self._forward(x, training=True)
        kept = self._losses
        if kept is None or kept[0] is not forward or kept[1] is not target or kept[2] is not loss:
            with torch.enable_grad():
                kept = (forward, target, loss, loss(forward.logits, target))
            self._losses = kept
        return kept[3]

    def features(self, x: Tensor, *, training: bool = True) -> Tensor:
        """Return the input of the network's last linear layer, (N, d), from the same pass as ``logits``.

        Raises:
            ShapeError: if the network has no ``nn.Linear``, or its pass did not reach it.
        """
        found = self._forward(x, training).features
        if found is None:
            raise ShapeError(
                "features: the network has no nn.Linear layer that its forward pass reaches, so it has no "
                "penultimate features."
            )
        return found

    @torch.no_grad()
    def predict(self, x: Tensor, *, batch_size: int = 1024) -> Tensor:
        """Return the logits (N, ..., C) in evaluation mode, without gradient, in pieces of ``batch_size`` rows."""
        pieces = [self._run(piece, training=False).logits for piece in torch.split(x, batch_size)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def after(self, lesson: Lesson) -> "Student":
        """Return the student that this lesson would make.

        The result is a view: differentiable in whatever the lesson depends on (weights, targets, inputs), in this
        student's parameters and in the rule's learning rate. This student does not change.
        """
        params, state, forward, _ = self._advance(lesson, create_graph=True)
        return self._view(_params=params, _state=state, _buffers=forward.buffers)

    def study(self, lesson: Lesson) -> dict[str, Tensor]:
        """Become the student that ``after(lesson)`` gives, detached.

        Returns:
            ``loss``, the weighted mean before the step, a scalar, ``losses`` of the rows, unweighted, (N,), and
            ``logits`` (N, ..., C); all without gradient.
        """
        params, state, forward, losses = self._advance(lesson, create_graph=False)
        losses = losses.detach()
        loss = torch.dot(lesson.weight.detach().to(losses.dtype), losses) / len(lesson)
        self._params = {n: p.detach().requires_grad_() for n, p in params.items()}
        self._state = state
        self._buffers = {n: b.detach() for n, b in forward.buffers.items()}
        self._last = self._losses = None
        return {"loss": loss, "losses": losses, "logits": forward.logits.detach()}

    def at(self, params: Mapping[str, Tensor]) -> "Student":
        """Return a view of the same student elsewhere in parameter space.

        Args:
            params: new values by name; names left out keep theirs.

        Raises:
            ShapeError: for an unknown name or another shape.
        """
        for name, value in params.items():
            if name not in self._params or value.shape != self._params[name].shape:
                needed = {n: tuple(p.shape) for n, p in self._params.items()}
                raise ShapeError(f"at: {name} has shape {tuple(value.shape)}, but the student has {needed}.")
        return self._view(_params={**self._params, **params})

    def view_of_stack(self, params: Mapping[str, Tensor], state: RuleState, forward: Forward) -> "Student":
        """Return this student with the values it has in a stack, and the stack's pass as its last one."""
        return self._view(_params=params, _state=state, _last=forward)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, as tensors by name."""
        state = {f"params.{n}": p.detach() for n, p in self._params.items()}
        state |= {f"frozen.{n}": p for n, p in self._frozen.items()}
        state |= {f"buffers.{n}": b for n, b in self._buffers.items()}
        for slot, values in self._state.slots.items():
            state |= {f"rule.{slot}.{n}": v.detach() for n, v in values.items()}
        state |= {f"rule.skipped.{n}": torch.tensor(count) for n, count in self._state.skipped.items()}
        state["step"] = torch.tensor(self._state.step)
        state["seed"] = torch.tensor(self.seed)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state from ``state_dict``.

        Raises:
            CheckpointError: if names or shapes do not fit this student.
        """
        mine = self.state_dict()
        for name, value in state.items():
            parameter = name.split(".", 2)[2] if name.startswith("rule.") else ""
            like = mine.get(f"params.{parameter}") if parameter else mine.get(name)
            counts = name.startswith("rule.skipped.")
            if like is None or not (counts or (like.shape, like.dtype) == (value.shape, value.dtype)):
                raise CheckpointError(
                    f"state of a student: {name} {tuple(value.shape)} {value.dtype} does not fit; "
                    "it was saved from another network."
                )
        slots = {name.split(".")[1] for name in state if name.startswith("rule.")} - {"skipped"}
        if slots - set(self._state.slots) or (int(state["step"]) and set(self._state.slots) - slots):
            raise CheckpointError(
                f"state of a student: it remembers {', '.join(sorted(slots)) or 'nothing'}, but "
                f"{type(self.rule).__name__} needs {', '.join(self._state.slots) or 'nothing'}; "
                "it was saved with another rule."
            )
        missing = [n for n in mine if n not in state and not n.startswith("rule.skipped.")]
        if missing:
            raise CheckpointError(f"state of a student: {missing[0]} is missing; it was saved from another network.")
        self._take(state)

    def _take(self, state: Mapping[str, Tensor]) -> None:
        device = next(iter(self.state_dict().values())).device
        parts: dict[str, Params] = {"params": {}, "frozen": {}, "buffers": {}}
        slots: dict[str, Params] = {slot: {} for slot in self._state.slots}
        skipped: dict[str, int] = {}
        for name, value in state.items():
            part, _, rest = name.partition(".")
            if part in parts:
                parts[part][rest] = value.to(device, copy=True)
            elif part == "rule":
                slot, _, parameter = rest.partition(".")
                if slot == "skipped":
                    skipped[parameter] = int(value)
                else:
                    slots[slot][parameter] = value.to(device, copy=True)
        self._params = {n: parts["params"][n].requires_grad_() for n in self._params}
        self._frozen = parts["frozen"]
        self._buffers = parts["buffers"]
        self._state = RuleState(int(state["step"]), slots, skipped)
        self.seed = int(state["seed"])
        self._key = stream(self.seed, "student")
        self._last = self._losses = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the kept pass, which holds a graph."""
        return self.__dict__ | {"_last": None, "_losses": None}

    def _view(self, **changes: Any) -> "Student":
        view = copy.copy(self)
        view.__dict__.update({"_is_view": True, **changes})
        return view

    def _advance(self, lesson: Lesson, *, create_graph: bool) -> tuple[Params, RuleState, Forward, Tensor]:
        """Return parameters, rule state and the pass of the student after a lesson, and the losses before."""
        with torch.enable_grad():  # a member of a stack makes a pass of its own
            forward = self._forward(lesson.x, training=True)
            losses = self._losses_of(lesson, forward)
        with torch.set_grad_enabled(create_graph):
            weight = lesson.weight.to(losses.dtype)
            try:
                gradients = self._gradients(losses, weight / len(lesson), create_graph)
            except RuntimeError as error:
                if "a second time" not in str(error):
                    raise
                # a teacher took a gradient through the shared pass and freed it: make another
                with torch.enable_grad():
                    forward = self._run(lesson.x, training=True)
                    losses = lesson.losses(forward.logits)
                gradients = self._gradients(losses, weight / len(lesson), create_graph)
            decay = None
            if self.rule.decay.scaled:
                (mean,) = (weight.mean(),) if create_graph else mean_over_ranks([weight.mean()])
                decay = self.rule.decay.coefficients(self._params, mean)
            params, state = self.rule.step(self._params, gradients, self._state, decay)
        return params, state, forward, losses

    def _losses_of(self, lesson: Lesson, forward: Forward) -> Tensor:
        """The lesson's losses; those that a teacher asked for are not computed again."""
        kept = self._losses
        if kept is not None and kept[0] is forward and kept[1] is lesson.target and kept[2] is lesson.loss:
            return lesson.checked(kept[3])
        return lesson.losses(forward.logits)

    def _gradients(self, losses: Tensor, cotangents: Tensor, create_graph: bool) -> Gradients:
        found = torch.autograd.grad(
            losses, list(self._params.values()), cotangents, create_graph=create_graph, allow_unused=True
        )
        if not create_graph:
            mean_over_ranks([gradient for gradient in found if gradient is not None])
        return dict(zip(self._params, found))

    def _forward(self, x: Tensor, training: bool) -> Forward:
        if not training:
            return self._run(x, training=False)
        last = self._last
        if last is not None and last.x is x and last.intact and (last.own or not torch.is_grad_enabled()):
            return last
        with torch.enable_grad():
            found = self._run(x, training=True)
        # a pass that belongs to somebody else's graph, or to another mode, must not be used by study
        if not (x.requires_grad or torch.is_inference_mode_enabled() or torch.is_autocast_enabled(x.device.type)):
            self._last = found
        return found

    def _run(self, x: Tensor, *, training: bool) -> Forward:
        buffers = {n: b.clone() for n, b in self._buffers.items()}
        seen: list[Tensor] = []
        hook = None
        if self.last_linear is not None:
            hook = self.last_linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        found = [module.training for module, _ in self._modes]
        for module, mode in self._modes:  # as they were given: eval() on the user's module changes nothing here
            module.training = mode and training
        try:
            key = counter(self._key, self._state.step)
            with seeded(key, x.device) if self._draws else contextlib.nullcontext():
                logits, after = self._call({**self._params, **self._frozen, **buffers}, x)
        finally:
            if hook is not None:
                hook.remove()
            for (module, _), mode in zip(self._modes, found):
                module.training = mode
        if not isinstance(logits, Tensor) or logits.ndim < 2 or logits.shape[0] != x.shape[0]:
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ShapeError(f"the network returned {given}, but needs logits of shape ({x.shape[0]}, classes).")
        return Forward(x, logits, (x._version, logits._version), seen[-1] if seen else None, after, True)
