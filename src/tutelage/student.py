"""The student: a network, an update rule, and where in parameter space it stands."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor, nn

from .errors import CheckpointError, ShapeError
from .functional import FunctionalNet
from .lesson import Lesson, Loss
from .randomness import counter, seeded, stream
from .rules import Gradients, Params, Rule, RuleState, Scalar


class Forward(NamedTuple):
    """One pass through the network, kept so that teacher and study share it.

    Attributes:
        x: the inputs, and ``version`` the count of in-place changes to them.
        logits: the answers.
        features: input of the last linear layer, if the pass reached one.
        buffers: the network's buffers after the pass.
        own: whether the pass is differentiable in this student's parameters.
    """

    x: Tensor
    version: int
    logits: Tensor
    features: Tensor | None
    buffers: Params
    own: bool


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
            ``loss``, the weighted mean before the step, a scalar, and ``losses`` of the rows, unweighted, (N,);
            both without gradient.
        """
        params, state, forward, losses = self._advance(lesson, create_graph=False)
        self._params = {n: p.detach().requires_grad_() for n, p in params.items()}
        self._state = state
        self._buffers = forward.buffers
        self._last = self._losses = None
        losses = losses.detach()
        return {"loss": torch.dot(lesson.weight.detach(), losses) / len(lesson), "losses": losses}

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
            if name.startswith("rule.") and name not in mine:
                continue
            if name not in mine or mine[name].shape != value.shape:
                raise CheckpointError(
                    f"state of a student: {name} {tuple(value.shape)} does not fit this network; "
                    "it was saved from another one."
                )
        missing = [n for n in mine if n not in state and not n.startswith("rule.")]
        if missing:
            raise CheckpointError(f"state of a student: {missing[0]} is missing; it was saved from another network.")
        device = next(iter(self._params.values())).device
        parts: dict[str, Params] = {"params": {}, "frozen": {}, "buffers": {}}
        slots: dict[str, Params] = {slot: {} for slot in self._state.slots}
        for name, value in state.items():
            part, _, rest = name.partition(".")
            if part in parts:
                parts[part][rest] = value.to(device, copy=True)
            elif part == "rule":
                slot, _, parameter = rest.partition(".")
                slots.setdefault(slot, {})[parameter] = value.to(device, copy=True)
        self._params = {n: parts["params"][n].requires_grad_() for n in self._params}
        self._frozen = parts["frozen"]
        self._buffers = parts["buffers"]
        self._state = RuleState(int(state["step"]), slots)
        self.seed = int(state["seed"])
        self._key = stream(self.seed, "student")
        self._last = self._losses = None

    def _view(self, **changes: Any) -> "Student":
        view = copy.copy(self)
        view._last = view._losses = None
        view._is_view = True
        view.__dict__.update(changes)
        return view

    def _advance(self, lesson: Lesson, *, create_graph: bool) -> tuple[Params, RuleState, Forward, Tensor]:
        """Return parameters, rule state and the pass of the student after a lesson, and the losses before."""
        forward = self._forward(lesson.x, training=True)
        if not forward.own:
            with torch.enable_grad():
                forward = self._run(lesson.x, training=True)
        kept = self._losses
        if kept is not None and kept[0] is forward and kept[1] is lesson.target and kept[2] is lesson.loss:
            losses = lesson.checked(kept[3])
        else:
            with torch.enable_grad():
                losses = lesson.losses(forward.logits)
        with torch.set_grad_enabled(create_graph):
            cotangents = lesson.weight / len(lesson)
            gradients = self._gradients(losses, cotangents, create_graph)
            decay = None
            if self.rule.decay.scaled:
                decay = self.rule.decay.coefficients(self._params, lesson.weight.mean())
            params, state = self.rule.step(self._params, gradients, self._state, decay)
        return params, state, forward, losses

    def _gradients(self, losses: Tensor, cotangents: Tensor, create_graph: bool) -> Gradients:
        """Return the gradient of the lesson: the one place where ranks are averaged."""
        found = torch.autograd.grad(
            losses,
            list(self._params.values()),
            grad_outputs=cotangents,
            create_graph=create_graph,
            allow_unused=True,
        )
        if not create_graph and torch.distributed.is_available() and torch.distributed.is_initialized():
            for gradient in found:
                if gradient is not None:
                    torch.distributed.all_reduce(gradient)
                    gradient.div_(torch.distributed.get_world_size())
        return dict(zip(self._params, found))

    def _forward(self, x: Tensor, training: bool) -> Forward:
        if not training:
            return self._run(x, training=False)
        if x.requires_grad:  # the pass belongs to the graph that x comes from: keeping it would let one free it for all
            with torch.enable_grad():
                return self._run(x, training=True)
        last = self._last
        if last is None or last.x is not x or last.version != x._version:
            with torch.enable_grad():
                last = self._run(x, training=True)
            self._last = last
        return last

    def _run(self, x: Tensor, *, training: bool) -> Forward:
        buffers = {n: b.clone() for n, b in self._buffers.items()} if training else self._buffers
        seen: list[Tensor] = []
        hook = None
        if self.last_linear is not None:
            hook = self.last_linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        if not training:
            self._call.net.eval()
        try:
            with seeded(counter(self._key, self._state.step), x.device):
                logits, after = self._call({**self._params, **self._frozen, **buffers}, x)
        finally:
            if hook is not None:
                hook.remove()
            if not training:
                for module, mode in self._modes:
                    module.training = mode
        if not isinstance(logits, Tensor) or logits.ndim < 2 or logits.shape[0] != x.shape[0]:
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ShapeError(f"the network returned {given}, but needs logits of shape ({x.shape[0]}, classes).")
        return Forward(x, x._version, logits, seen[-1] if seen else None, after, True)
