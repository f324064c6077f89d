"""The student: a network, an update rule, and where in parameter space it stands."""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .errors import CheckpointError, ConfigError, NotDifferentiable, ShapeError, unknown
from .functional import FunctionalNet, in_mode
from .lesson import Lesson, Loss, tensors_in
from .randomness import counter, seeded, stream
from .ranks import mean_over_ranks
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
        layers: outputs of the layers that somebody asked for, by name, of those that the pass reached.
        buffers: the network's buffers after the pass.
        own: whether the pass is differentiable in this student's parameters.
    """

    x: Tensor
    logits: Tensor
    versions: tuple[int, int]
    features: Tensor | None
    buffers: Params
    own: bool
    layers: Mapping[str, Any] = {}

    @property
    def intact(self) -> bool:
        """Whether neither inputs nor answers were changed since; a detached tensor shares the count."""
        return self.versions == (self.x._version, self.logits._version)


class Descent(NamedTuple):
    """The gradient of a lesson, and what it was taken from.

    Attributes:
        gradients: by parameter; None for one that the lesson does not reach.
        losses: of the rows, unweighted, (N,).
        forward: the pass.
    """

    gradients: Gradients
    losses: Tensor
    forward: Forward


def _copied(output: Any) -> Any:
    """A layer's output as it is now: the next layer may work in place."""
    return output.clone() if isinstance(output, Tensor) else output


class _Kept(NamedTuple):
    """A descent that ``study`` may use, and how the lesson's tensors were when it was taken."""

    lesson: Lesson
    versions: tuple[int, ...]
    descent: Descent


def _versions(lesson: Lesson) -> tuple[int, ...]:
    return tuple(t._version for t in (lesson.x, *tensors_in(lesson.target), lesson.weight))


def _attached(target: Any) -> bool:
    return any(t.requires_grad for t in tensors_in(target))


def _outputs(forward: Forward, names: Sequence[str]) -> dict[str, Tensor]:
    """The layers of a pass that somebody asked for."""
    rows = len(forward.x)
    for name in names:
        output = forward.layers.get(name)
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != rows:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            what = f"its output is {given}" if name in forward.layers else "the forward pass does not reach it"
            raise ShapeError(f"features: layer {name} needs an output of shape ({rows}, ...), but {what}.")
    return {name: forward.layers[name] for name in names}


def _no_derivative(lesson: Lesson) -> NotDifferentiable:
    name = getattr(lesson.loss, "__name__", type(lesson.loss).__name__)
    return NotDifferentiable(
        f"the loss {name} has no derivative in the student's answers: without argmax, comparisons, .detach() and "
        "torch.no_grad it has one."
    )


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
        self._kept: _Kept | None = None
        self._is_view = False
        self._layers: tuple[str, ...] = ()
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
    def buffers(self) -> Mapping[str, Tensor]:
        """The network's buffers by name, such as running statistics."""
        return self._buffers

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

    def features(self, x: Tensor, layer: str | None = None, *, training: bool = True) -> Tensor:
        """Return what the student makes of the inputs inside, from the same pass as ``logits``.

        Args:
            x: inputs (N, ...).
            layer: name of a module of the network, as ``named_modules`` gives it: its output. The first question for a
                layer makes one pass more, all later passes remember it. None: the input of the last linear layer.
            training: see :meth:`logits`.

        Returns:
            (N, ...), of the last linear layer (N, d).

        Raises:
            ConfigError: if the network has no such layer.
            ShapeError: if its pass did not reach the layer, or the layer's output is no tensor of N rows; without a
                name, if it has no ``nn.Linear`` that its pass reaches.
        """
        if layer is not None:
            return self.layers(x, [layer], training=training)[layer]
        found = self._forward(x, training).features
        if found is None:
            raise ShapeError(
                "features: the network has no nn.Linear layer that its forward pass reaches, so it has no "
                "penultimate features."
            )
        return found

    def layers(self, x: Tensor, names: Sequence[str], *, training: bool = True) -> dict[str, Tensor]:
        """Return what several layers make of the inputs, by name, from the same pass as ``logits``.

        Args:
            x: inputs (N, ...).
            names: of modules of the network, as :meth:`features` takes one.
            training: see :meth:`logits`.

        Raises:
            ConfigError, ShapeError: as :meth:`features`.
        """
        return _outputs(self._forward(x, training, names), names)

    @torch.no_grad()
    def embed(self, x: Tensor, *, batch_size: int = 1024) -> tuple[Tensor, Tensor]:
        """Return what is before and after the last linear layer, as :meth:`predict` passes the inputs.

        Args:
            x: inputs (N, ...).
            batch_size: rows of a piece.

        Returns:
            Embeddings (N, d) and logits (N, K).

        Raises:
            ShapeError: if the pass reaches no ``nn.Linear``, or its input is not (N, d).
        """
        pieces = [self._run(piece, training=False) for piece in torch.split(x, batch_size)]
        found = [(p.features, p.logits) for p in pieces if p.features is not None and p.features.ndim == 2]
        if len(found) < len(pieces):
            raise ShapeError(
                "embed: the network has no nn.Linear layer that its forward pass reaches with one vector a row, so it "
                "has no embedding: end it with a linear layer."
            )
        embedded, logits = zip(*found)
        return torch.cat(embedded), torch.cat(logits)

    @property
    def head(self) -> tuple[str, Tensor]:
        """Name and values (K, d) of the weights of the last linear layer: the codewords of the classes.

        Raises:
            ShapeError: if there is no ``nn.Linear``.
        """
        for name, parameter in self.architecture.named_parameters():
            if self.last_linear is not None and parameter is self.last_linear.weight:  # tied ones have a single name
                return name, self._params[name] if name in self._params else self._frozen[name]
        raise ShapeError("head: the network has no nn.Linear layer: end it with one.")

    @torch.no_grad()
    def predict(self, x: Tensor, *, batch_size: int = 1024) -> Tensor:
        """Return the logits (N, ..., C) in evaluation mode, without gradient, in pieces of ``batch_size`` rows."""
        pieces = [self._run(piece, training=False).logits for piece in torch.split(x, batch_size)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def after(self, lesson: Lesson, *, differentiable: bool = True) -> "Student":
        """Return the student that this lesson would make.

        The result is a view: differentiable in whatever the lesson depends on (weights, targets, inputs), in this
        student's parameters and in the rule's learning rate. This student does not change. The lesson is a value: if
        it was made from this student's own answers, the step does not descend through its making, but the result is
        differentiable through it.

        Args:
            lesson: what to study.
            differentiable: False: the same student, without a graph.
        """
        descent = self.descent(lesson, create_graph=differentiable)
        with torch.set_grad_enabled(differentiable):
            later = self.follow(lesson, descent)
        return later if differentiable else later.at({n: p.detach().requires_grad_() for n, p in later.params.items()})

    def descent(
        self, lesson: Lesson, *, create_graph: bool = False, retain_graph: bool = False, keep: bool = False
    ) -> Descent:
        """Return the gradient of a lesson in the parameters, without weight decay.

        Args:
            lesson: what to study.
            create_graph: whether the gradients are to be differentiable in turn.
            retain_graph: keep the graph of the pass, so that ``study`` need not make another; as ``create_graph`` does.
            keep: remember it, without its graph, so that asking again or studying this lesson does not take it anew.
        """
        known = self._known(lesson)
        if keep and not create_graph and known is not None:
            return known
        found = self._descent(lesson, create_graph, retain_graph or create_graph)
        if keep:
            forward = found.forward
            bare = Forward(forward.x, forward.logits.detach(), forward.versions, None, forward.buffers, False)
            gradients = {n: None if g is None else g.detach() for n, g in found.gradients.items()}
            self._kept = _Kept(lesson, _versions(lesson), Descent(gradients, found.losses.detach(), bare))
        return found

    def _known(self, lesson: Lesson) -> Descent | None:
        kept = self._kept
        same = kept is not None and kept.lesson is lesson and kept.versions == _versions(lesson)
        return kept.descent if kept is not None and same else None

    def _descent(self, lesson: Lesson, create_graph: bool, retain_graph: bool) -> Descent:
        if create_graph and lesson.x.grad_fn is not None:  # inputs may come from a graph that holds the parameters
            return self.at({n: p.view_as(p) for n, p in self._params.items()})._descend(lesson, True, True)
        return self._descend(lesson, create_graph, retain_graph)

    def follow(self, lesson: Lesson, descent: Descent) -> "Student":
        """Return a view of this student one step of the rule on, differentiable in the descent's gradients.

        Args:
            lesson: the one that the descent belongs to; its mean weight may scale the decay.
            descent: as :meth:`descent` returned it, or with other gradients.
        """
        mean = lesson.weight.to(descent.losses.dtype).mean() if self.rule.decay.scaled else None
        params, state = self._stepped(descent.gradients, mean)
        buffers = {n: b.detach() for n, b in descent.forward.buffers.items()}
        return self._view(_params=params, _state=state, _buffers=buffers)

    def study(self, lesson: Lesson) -> dict[str, Tensor]:
        """Become the student that ``after(lesson)`` gives, detached.

        Returns:
            ``loss``, the weighted mean before the step, a scalar, ``losses`` of the rows, unweighted, (N,), and
            ``logits`` (N, ..., C); all without gradient.
        """
        gradients, losses, forward = self._known(lesson) or self._descent(lesson, False, False)
        losses = losses.detach()
        weight = lesson.weight.detach().to(losses.dtype)
        loss = torch.dot(weight, losses) / len(lesson)
        with torch.no_grad():
            mean_over_ranks([gradient for gradient in gradients.values() if gradient is not None])
            mean = mean_over_ranks([weight.mean()])[0] if self.rule.decay.scaled else None
            params, state = self._stepped(gradients, mean)
        self._params = {n: p.detach().requires_grad_() for n, p in params.items()}
        self._state = state
        self._buffers = {n: b.detach() for n, b in forward.buffers.items()}
        self._last = self._losses = self._kept = None
        return {"loss": loss, "losses": losses, "logits": forward.logits.detach()}

    def forget(self) -> None:
        """Drop the pass that was kept for ``study``, so that the next one is made anew, such as by other kernels."""
        self._last = self._losses = self._kept = None

    def at(
        self,
        params: Mapping[str, Tensor],
        state: RuleState | None = None,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> "Student":
        """Return a view of the same student elsewhere in parameter space.

        Args:
            params: new values by name; names left out keep theirs. Those of frozen parameters stay constants.
            state: what the rule remembers there; default: what it remembers here.
            buffers: of the network there, such as running statistics; names left out keep theirs.

        Raises:
            ShapeError: for an unknown name or another shape.
        """
        learned, constant = dict(params), {}
        for name, value in params.items():
            own = self._frozen if name in self._frozen else self._params
            if name not in own or value.shape != own[name].shape:
                needed = {n: tuple(p.shape) for n, p in {**self._params, **self._frozen}.items()}
                raise ShapeError(f"at: {name} has shape {tuple(value.shape)}, but the student has {needed}.")
            if own is self._frozen:
                constant[name] = learned.pop(name).detach()
        return self._view(
            _params={**self._params, **learned},
            _frozen={**self._frozen, **constant},
            _state=self._state if state is None else state,
            _buffers={**self._buffers, **(buffers or {})},
        )

    def with_rule(self, rule: Rule) -> "Student":
        """Return a view of the same student with another rule, which remembers nothing but the number of steps."""
        state = rule.init(self._params)._replace(step=self._state.step)
        return self._view(rule=rule, _state=state, _last=self._last, _losses=self._losses)

    def seeded(self, seed: int) -> "Student":
        """Return a view of the same student with randomness (dropout) from another seed."""
        return self._view(seed=seed, _key=stream(seed, "student"))

    def restored(self, state: Mapping[str, Tensor]) -> "Student":
        """Return a view of this student as it was when ``state_dict`` gave this state.

        Raises:
            CheckpointError: as :meth:`load_state_dict`.
        """
        view = self._view()
        view.load_state_dict(state)
        return view

    def evaluated(self) -> "Student":
        """Return a view of this student that answers as in evaluation (running statistics, no dropout) always."""
        return self._view(_modes=[(module, False) for module, _ in self._modes], _draws=False)

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
        needed = {slot for slot in self._state.slots if self.rule.has_begun(slot, int(state["step"]))}
        if slots - set(self._state.slots) or needed - slots:
            raise CheckpointError(
                f"state of a student: it remembers {', '.join(sorted(slots)) or 'nothing'}, but "
                f"{type(self.rule).__name__} needs {', '.join(self._state.slots) or 'nothing'}; "
                "it was saved with another rule."
            )
        # a rule may remember nothing of a parameter until its first gradient
        always = {f"rule.{slot}.{n}" for slot, values in self.rule.init(self._params).slots.items() for n in values}
        missing = [n for n in mine if n not in state and (n in always or not n.startswith("rule."))]
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
        self._last = self._losses = self._kept = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was kept of a pass: it holds a graph, and belongs to these parameters."""
        return self.__dict__ | {"_last": None, "_losses": None, "_kept": None}

    def _view(self, **changes: Any) -> "Student":
        view = copy.copy(self)
        view.__dict__.update({"_is_view": True, **changes})
        return view

    def _descend(self, lesson: Lesson, create_graph: bool, retain_graph: bool) -> Descent:
        with torch.enable_grad():  # a member of a stack makes a pass of its own
            forward = self._forward(lesson.x, True, lesson.layers)
        try:
            return self._gradients(lesson, forward, create_graph, retain_graph)
        except RuntimeError as error:
            if "a second time" not in str(error):
                raise
            # a teacher took a gradient through the shared pass and freed it: make another
            with torch.enable_grad():
                forward = self._run(lesson.x, training=True)
            return self._gradients(lesson, forward, create_graph, retain_graph)

    def _stepped(self, gradients: Gradients, mean_weight: Tensor | None) -> tuple[Params, RuleState]:
        decay = None if mean_weight is None else self.rule.decay.coefficients(self._params, mean_weight)
        return self.rule.step(self._params, gradients, self._state, decay)

    def _losses_of(self, lesson: Lesson, forward: Forward) -> Tensor:
        """The lesson's losses; those that a teacher asked for are not computed again."""
        kept = self._losses
        if kept is not None and kept[0] is forward and kept[1] is lesson.target and kept[2] is lesson.loss:
            return lesson.checked(kept[3])
        return lesson.losses(forward.logits, _outputs(forward, lesson.layers))

    def _gradients(self, lesson: Lesson, forward: Forward, create_graph: bool, retain_graph: bool) -> Descent:
        outputs = [forward.logits, *_outputs(forward, lesson.layers).values()]
        cut = create_graph or _attached(lesson.target)
        with torch.enable_grad():
            # a target or a loss made from these very answers is a constant here: the loss reads a copy of them
            copies = [output.view_as(output) for output in outputs] if cut else []
            layers = dict(zip(lesson.layers, copies[1:]))
            losses = lesson.losses(copies[0], layers) if cut else self._losses_of(lesson, forward)
        if not losses.requires_grad:
            raise _no_derivative(lesson)
        cotangents: list[Tensor] = [lesson.weight.to(losses.dtype) / len(lesson)]
        with torch.set_grad_enabled(create_graph):
            if not cut:
                outputs = [losses]
            else:
                slopes = torch.autograd.grad(losses, copies, cotangents, create_graph=create_graph, allow_unused=True)
                reached = [(o, slope) for o, slope in zip(outputs, slopes) if slope is not None]
                if not reached:  # only the target has a graph
                    raise _no_derivative(lesson)
                outputs, cotangents = [o for o, _ in reached], [slope for _, slope in reached]
            found = torch.autograd.grad(
                outputs,
                list(self._params.values()),
                cotangents,
                retain_graph=retain_graph,
                create_graph=create_graph,
                allow_unused=True,
            )
        return Descent(dict(zip(self._params, found)), losses, forward)

    def _forward(self, x: Tensor, training: bool, names: Sequence[str] = ()) -> Forward:
        if names:
            self._watch(names)
        if not training:
            return self._run(x, training=False)
        last = self._last
        fits = last is not None and last.x is x and last.intact and (last.own or not torch.is_grad_enabled())
        # a pass may have been made before anybody asked for a layer, or by a stack
        if last is not None and fits and all(name in last.layers for name in names):
            return last
        with torch.enable_grad():
            found = self._run(x, training=True)
        # a pass that belongs to somebody else's graph, or to another mode, must not be used by study
        if not (x.requires_grad or torch.is_inference_mode_enabled() or torch.is_autocast_enabled(x.device.type)):
            self._last = found
        return found

    def _watch(self, names: Sequence[str]) -> None:
        """Have all later passes remember the outputs of these layers."""
        for name in names:
            if name not in self._layers:
                known = [n for n, _ in self.architecture.named_modules() if n]
                if name not in known:
                    raise ConfigError(unknown("layer of the network", name, known))
                self._layers = (*self._layers, name)  # a view's own: it shares none with its student

    def _run(self, x: Tensor, *, training: bool) -> Forward:
        buffers = {n: b.clone() for n, b in self._buffers.items()}
        seen: list[Tensor] = []
        layers: dict[str, Any] = {}
        hooks = [
            self.architecture.get_submodule(name).register_forward_hook(
                lambda _, inputs, output, name=name: layers.update({name: _copied(output)})
            )
            for name in self._layers
        ]
        if self.last_linear is not None:
            hooks.append(self.last_linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])))
        try:
            key = counter(self._key, self._state.step)
            draws = seeded(key, x.device) if self._draws else contextlib.nullcontext()
            # as they were given: eval() on the user's module changes nothing here
            with in_mode(self._modes, training), draws:
                logits, after = self._call({**self._params, **self._frozen, **buffers}, x)
        finally:
            for hook in hooks:
                hook.remove()
        if not isinstance(logits, Tensor) or logits.ndim < 2 or logits.shape[0] != x.shape[0]:
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ShapeError(f"the network returned {given}, but needs logits of shape ({x.shape[0]}, classes).")
        return Forward(x, logits, (x._version, logits._version), seen[-1] if seen else None, after, True, layers)
