"""What the file of a distilled set says beside its images: network, initial weights, free training, accuracy."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError, unknown
from ..nets.initial import SCHEMES, Initialiser, Own, Scaled
from ..rules import SGD, Rate, Rule
from ..siamese import Op, Siamese
from .free_training import Augment
from .header import Header, is_number, is_whole
from .pools import count_of

if TYPE_CHECKING:
    from ..evaluation import Summary

Regime: TypeAlias = Literal["fixed", "random", "pretrained", "pretrained-fixed"]
"""Which networks a set is for: those of stored weights, fresh ones, trained ones, or one of these that is known."""
OWN = "own"
"""The initialisation that a network's constructor makes."""

_NAMED = 3


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return is_whole(value) and value >= 1


_OPTIONS: Mapping[str, Callable[[Any], bool]] = {
    **{"data": _is_text, "label": _is_text, "image": _is_text, "source": _is_text},
    **{"classes": _is_count, "resize": _is_count, "channels": lambda v: v in (1, 3), "split_seed": is_whole},
    "test": lambda v: is_number(v) and 0 < v < 1,
}
"""What options may be that say where test rows are from, where they are given."""


def check_ops(ops: Sequence[Op]) -> None:
    """Make sure that siamese operations are known; there may be none.

    Raises:
        ConfigError: for an unknown one.
    """
    if ops:
        Siamese(tuple(ops))


@dataclass(frozen=True)
class Architecture:
    """Which network a set was made for.

    Attributes:
        name: for :func:`tutelage.nets.build`: of the library, or ``package.module:function``; None: a module of its
            maker, of which only shapes are known.
        parameters: their shapes by name.
        freeze_buffers: running statistics stay as they are.

    Raises:
        ConfigError: for a network without a parameter, or an empty name.
    """

    name: str | None
    parameters: Mapping[str, tuple[int, ...]]
    freeze_buffers: bool = False

    def __post_init__(self) -> None:
        if not self.parameters or self.name == "":
            raise ConfigError(f"the network {self.called} needs a name or None, and a parameter that can be taught.")

    @classmethod
    def of(cls, net: nn.Module, name: str | None = None, *, freeze_buffers: bool = False) -> "Architecture":
        """Return that of a network."""
        return cls(name, {n: tuple(p.shape) for n, p in net.named_parameters()}, freeze_buffers)

    @classmethod
    def made(cls, facts: Header) -> "Architecture":
        """Return what :meth:`plain` told."""
        shapes = facts.part("parameters")
        name = facts.text("name") if facts.given("name") else None
        return cls(name, {layer: shapes.wholes(layer) for layer in shapes.facts}, facts.flag("freeze_buffers"))

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        shapes = {name: list(shape) for name, shape in self.parameters.items()}
        return {"name": self.name, "parameters": shapes, "freeze_buffers": self.freeze_buffers}

    @property
    def called(self) -> str:
        """Its name for messages."""
        return self.name or "its maker's own network"

    def check(self, net: nn.Module, called: str, why: str) -> None:
        """Make sure that a network has the parameters of this one.

        Args:
            net: a network.
            called: its name.
            why: they must be the same, and what else to do.

        Raises:
            ShapeError: naming both, and the first layers that differ.
        """
        self.compare(Architecture.of(net).parameters, called, why)

    def compare(self, here: Mapping[str, tuple[int, ...]], called: str, why: str) -> None:
        """Make sure that shapes by name are those of this network; arguments and errors of :meth:`check`."""
        there = self.parameters
        wrong = [name for name in {**there, **here} if here.get(name) != there.get(name)]
        if wrong:
            told = [f"{name} is {here.get(name, 'absent')} and {there.get(name, 'absent')}" for name in wrong[:_NAMED]]
            more = f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise ShapeError(f"{called} is not {self.called} as in the file: {'; '.join(told)}{more}. {why}")


@dataclass(frozen=True, eq=False)
class Start:
    """Where the networks start that a set teaches.

    Attributes:
        regime: see :data:`Regime`.
        scheme: how initial weights are drawn: one of :data:`tutelage.nets.initial.SCHEMES`, or ``own``.
        gain: factor on them.
        seed: of the networks that judged it: ``Fresh(net, initialiser, seed).held_out(n)``.
        weights: stored ones by name, each (P, ...): all networks of the fixed regimes, perhaps some trained ones.

    Raises:
        ConfigError: for an unknown regime or scheme, a gain that is not above 0, or a fixed regime without weights.
        ShapeError: for weights of different numbers of networks.
    """

    regime: Regime
    scheme: str = "xavier-normal"
    gain: float = 1.0
    seed: int = 0
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.regime not in get_args(Regime):
            raise ConfigError(unknown("regime of initial weights", self.regime, get_args(Regime)))
        if self.scheme not in (*SCHEMES, OWN):
            raise ConfigError(unknown("initialisation", self.scheme, (*SCHEMES, OWN)))
        if self.known and not self.weights:
            raise ConfigError(
                f"a set of the regime {self.regime} works with its own initial weights alone: give them, to be stored."
            )
        if self.regime == "random" and self.weights:
            raise ConfigError("a set for random initial weights has none to be stored; its regime may be fixed.")
        if not 0 < self.gain < math.inf:
            raise ConfigError(f"the gain of the initialisation is {self.gain}; it must be above 0.")
        counts = {tuple(value.shape[:1]) for value in self.weights.values()}
        if len(counts) > 1 or counts & {(), (0,)}:
            told = ", ".join(f"{name} {tuple(value.shape)}" for name, value in list(self.weights.items())[:_NAMED])
            raise ShapeError(f"stored weights need one axis of networks in front, as long for all layers; here {told}.")

    @classmethod
    def made(cls, facts: Header, weights: Mapping[str, Tensor]) -> "Start":
        """Return what :meth:`plain` told, with these weights."""
        regime: Any = facts.text("regime")  # checked by the value
        return cls(regime, facts.text("scheme"), facts.number("gain"), facts.whole("seed"), weights)

    @property
    def known(self) -> bool:
        """Whether the set is for stored weights alone."""
        return self.regime in ("fixed", "pretrained-fixed")

    @property
    def trained(self) -> bool:
        """Whether networks were trained before they are taught."""
        return self.regime in ("pretrained", "pretrained-fixed")

    @property
    def stored(self) -> int:
        """How many networks are stored."""
        return count_of(self.weights) if self.weights else 0

    def initialiser(self, make: Callable[[int], nn.Module]) -> Initialiser:
        """Return how weights are drawn; ``make`` returns a network by a seed, for ``own``."""
        if self.scheme != OWN:
            return Scaled(self.scheme, self.gain)  # type: ignore[arg-type]  # checked: it is one of the schemes
        # the constructor draws from a seed that comes from the stream in force
        return Own(lambda: make(int(torch.randint(2**62, (1,)))))

    def plain(self) -> dict[str, Any]:
        """Return what of it is JSON."""
        return {
            "regime": self.regime,
            "scheme": self.scheme,
            "gain": self.gain,
            "seed": self.seed,
            "seed_rule": "network k is a function of (seed, k) alone",
            "stored": self.stored,
        }


@dataclass(frozen=True)
class FreeRecipe:
    """How networks are trained on a set without its order: SGD in shuffled batches, the rate a tenth from half time on.

    Attributes:
        lr: rate at the start.
        epochs: how many.
        batch_size: rows a step.
        momentum: of SGD.
        weight_decay: of SGD.
        augmentation: siamese operations, drawn for each row by itself; none: images as they are.

    Raises:
        ConfigError: for a value outside its range.
    """

    lr: float = 0.01
    epochs: int = 300
    batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: tuple[Op, ...] = ()

    def __post_init__(self) -> None:
        for name, fits, needed in (
            ("lr", 0 < self.lr < math.inf, "above 0"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
        ):
            if not fits:
                raise ConfigError(f"free training: {name} is {getattr(self, name)}; it must be {needed}.")
        check_ops(self.augmentation)

    @classmethod
    def made(cls, facts: Header) -> "FreeRecipe":
        """Return what :meth:`plain` told."""
        ops: Any = facts.texts("augmentation")  # checked by the value
        epochs, batch_size = facts.whole("epochs"), facts.whole("batch_size")
        return cls(facts.number("lr"), epochs, batch_size, facts.number("momentum"), facts.number("weight_decay"), ops)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "augmentation": list(self.augmentation)}

    @property
    def told(self) -> str:
        """It, in words."""
        changed = f", augmented by {', '.join(self.augmentation)}" if self.augmentation else ""
        return (
            f"SGD {self.lr:g}, momentum {self.momentum:g}, decay {self.weight_decay:g}, {self.epochs} epochs of "
            f"batches of {self.batch_size}, a tenth of the rate from half time on{changed}"
        )

    @property
    def options(self) -> dict[str, Any]:
        """What :func:`tutelage.distilled.free_training.train_freely` takes."""
        rule: Callable[[Rate], Rule] = partial(SGD, momentum=self.momentum, weight_decay=self.weight_decay)
        augment: Augment | None = Siamese(self.augmentation).each if self.augmentation else None
        common = {"lr": self.lr, "epochs": self.epochs, "batch_size": self.batch_size}
        return {**common, "rule": rule, "augment": augment}


@dataclass(frozen=True)
class Evaluation:
    """The accuracy that a file states, and of what.

    Attributes:
        values: one a network, in [0, 1], after the last lesson, or after free training.
        rows: how many test rows.
        fingerprint: of the test rows as networks see them, see :func:`tutelage.distilled.pools.data_fingerprint`.
        data: where they are from, as options of ``tutelage run dataset-distillation``: data, test, split_seed, ...
        before: accuracies of the same networks before the first lesson; none: not known.

    Raises:
        ConfigError: for no value, one outside [0, 1], or an option of the data of another type.
    """

    values: tuple[float, ...]
    rows: int
    fingerprint: str
    data: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.values or len(self.before) not in (0, len(self.values)) or self.rows < 1:
            raise ConfigError(
                f"evaluation: {len(self.values)} accuracies, {len(self.before)} before, of {self.rows} test rows; it "
                "needs at least one of each, and as many before, or none."
            )
        if not all(0 <= value <= 1 for value in (*self.values, *self.before)):
            raise ConfigError("evaluation: an accuracy is outside [0, 1].")
        for name, value in self.data.items():
            fits = _OPTIONS.get(name, lambda v: isinstance(v, (str, int, float)))
            if not (value is None and name != "data") and not fits(value):
                raise ConfigError(f"evaluation: the option {name} of its data cannot be {value!r}.")

    @classmethod
    def made(cls, facts: Header) -> "Evaluation":
        """Return what :meth:`plain` told."""
        rows, before = facts.whole("rows"), facts.numbers("before")
        return cls(facts.numbers("values"), rows, facts.text("fingerprint"), facts.mapping("data"), before)

    @property
    def summary(self) -> "Summary":
        """Mean, standard deviation and 95 % interval of the mean, over networks."""
        from ..evaluation import summary

        return summary(self.values)

    def margin(self, nets: int) -> float | None:
        """Return how far the mean over ``nets`` other networks may lie from the stated one, with 95 %.

        ``t_{.975, n-1} sd sqrt(1/n + 1/nets)`` of the n stated values; None for one of them.
        """
        from ..evaluation import summary

        n, stated = len(self.values), summary(self.values)["ci95"]
        return None if stated is None else float(stated) * (1.0 + n / nets) ** 0.5

    def plain(self, rule: str) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "rule": rule,
            "order": "as stored",
            "modes": "training mode while taught, evaluation mode when tested",
            "nets": len(self.values),
            **self.summary,
            "before": list(self.before),
            "rows": self.rows,
            "fingerprint": self.fingerprint,
            "data": dict(self.data),
        }
