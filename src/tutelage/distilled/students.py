"""The students that a distilled set is for: how they are made, and where they start."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError
from ..importing import told
from ..nets.build import build, parameter_shapes
from ..nets.initial import Initialiser
from ..randomness import seeded
from ..starts import Fresh
from .facts import OWN, Architecture, Start
from .pools import part

Net: TypeAlias = nn.Module | str
"""A network, or its name for :func:`tutelage.nets.build`; ``package.module:function`` runs that function."""

_FREEZE = "the trained networks have statistics that the file does not hold: give the network itself."
_KNOWN = "The set works with its stored weights alone: use that network."
_OTHER = "Another version of it has that name here: give the network that the set was made for."
_TRAINED = (
    "the set is for networks that were trained before, and the file holds none: give one (to train: --net "
    "package.module:function, which returns it), or weights (to evaluate)."
)
_YOURS = "this set has networks initialise themselves (own): give the network by its name, or weights."


@dataclass(frozen=True, eq=False)
class Students:
    """Networks that a set was made for, or others that are to be taught by it.

    Attributes:
        architecture: that the set was made for.
        start: the regime of their initial weights.
        classes: number of logits.
        images: two or more that they must take, (n, ...).
    """

    architecture: Architecture
    start: Start
    classes: int
    images: Tensor

    def network(self, net: Net | None) -> nn.Module:
        """Return the network that the set was made for, or a given one if that can take its place.

        Args:
            net: None: that of the file, with the type of its images. A function that only the file names is not run.

        Raises:
            ConfigError: if the file does not know how to make it.
            ShapeError: if it cannot take the images, or is another architecture than its name says, or than the stored
                weights are of.
        """
        called = self.architecture.called if net is None else net if isinstance(net, str) else type(net).__name__
        found = net if isinstance(net, nn.Module) else self._built(net)
        self._check_takes(found, called)
        if net is None or net == self.architecture.name:
            self.architecture.check(found, called, _OTHER)
        elif self.start.known:
            self.architecture.check(found, called, _KNOWN)
        return found

    def first(
        self, net: Net | None, seed: int, device: str | torch.device = "cpu"
    ) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return a network to train, and its initial weights by name, each (1, ...).

        Args:
            net: see :meth:`network`; a network that was trained, or that initialises itself, starts where it is; one
                that a named function returns counts as trained where the file holds no trained one.
            seed: of the draw; of stored weights, which.
            device: where it is to be; a given one stays where it is.

        Raises:
            ConfigError, ShapeError: see :meth:`network` and :meth:`several`.
        """
        module, start = self.network(net), self.start
        if not isinstance(net, nn.Module):
            module = module.to(device)
        if _starts_there(net, start):
            return module, {name: p.detach().unsqueeze(0) for name, p in module.named_parameters()}
        if not start.stored:
            return module, _like(self._fresh(net, module, 1, seed), module)
        place = seed % start.stored
        return module, _like(part(self._stored(module), place, place + 1), module)

    def several(self, net: Net | None, count: int | None, seed: int | None) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return a network, and initial weights of those that judge the set, by name, each (K, ...).

        Args:
            net: see :meth:`network`.
            count: K; of stored ones None is all, of fresh ones it is needed.
            seed: of the draws; None: that of the file.

        Raises:
            ConfigError: for more than are stored, or networks that cannot be drawn.
            ShapeError: see :meth:`network`.
        """
        module, start = self.network(net), self.start
        if count is not None and count < 1:
            raise ConfigError(f"{count} networks cannot judge a set; ask for at least 1.")
        if not start.stored:
            assert count is not None
            return module, self._fresh(net, module, count, start.seed if seed is None else seed)
        if count is not None and count > start.stored:
            raise ConfigError(
                f"{count} networks are asked for, but the file stores {start.stored} of the regime {start.regime}, "
                "and cannot draw others: ask for fewer, or give weights."
            )
        return module, part(self._stored(module), 0, count or start.stored)

    def initialiser(self, net: Net | None = None) -> Initialiser:
        """Return how fresh weights of a network are drawn, see :meth:`network`.

        Raises:
            ConfigError: if only a name would say how a network initialises itself.
        """
        own = self.start.scheme == OWN
        if own and isinstance(net, nn.Module):
            raise ConfigError(_YOURS)
        name = self._name(None if isinstance(net, nn.Module) else net) if own else ""
        return self.start.initialiser(lambda drawn: build(name, self.images.shape[1:], self.classes, seed=drawn))

    def _built(self, given: str | None) -> nn.Module:
        name = self._name(given)
        if self.architecture.freeze_buffers and self.start.trained:
            raise ConfigError(_FREEZE)
        return build(name, self.images.shape[1:], self.classes).to(self.images.dtype)

    def _name(self, given: str | None) -> str:
        """A given name, or that of the file, if it is no code and still stands for the same network."""
        if given is not None:
            return given
        own = self.architecture.name
        if own is None or ":" in own:
            why = "of which the file knows the shapes only" if own is None else "which is code: a file does not run it"
            give = "give net" if own is None else f"give net ({own}) if you trust it"
            raise ConfigError(f"the set was made for {self.architecture.called}, {why}; {give} (--net).")
        # before it is made, as a file may name a network of any size
        self.architecture.compare(parameter_shapes(own, self.images.shape[1:], self.classes), own, _OTHER)
        return own

    def _fresh(self, net: Net | None, module: nn.Module, count: int, seed: int) -> dict[str, Tensor]:
        if self.start.trained:
            raise ConfigError(_TRAINED)
        return Fresh(module, self.initialiser(net), seed).held_out(count)

    def _stored(self, module: nn.Module) -> Mapping[str, Tensor]:
        """The stored weights, for a network of their architecture."""
        self.architecture.check(module, type(module).__name__, "The stored weights are those of that network.")
        return self.start.weights

    def _check_takes(self, net: nn.Module, called: str) -> None:
        first = next(net.parameters(), None)
        if first is None:
            raise ConfigError(f"{called} has no parameters, so a set can teach it nothing.")
        shape, needed = tuple(self.images.shape[1:]), (2, self.classes)
        rows = self.images[:1].detach().to(first).repeat_interleave(2, 0)
        try:
            with torch.no_grad(), seeded(0):
                out = copy.deepcopy(net).eval()(rows)
        except Exception as error:  # somebody else's code may raise anything
            line = str(error).splitlines()[0] if isinstance(error, RuntimeError) and str(error) else told(error)
            raise ShapeError(
                f"{called} cannot take inputs of shape {shape}, as the images of the file are: {line}"
            ) from error
        given = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if given != needed:
            raise ShapeError(
                f"{called} answers {given} to 2 images, but the {self.classes} classes of the set need {needed}."
            )


def _starts_there(net: Net | None, start: Start) -> bool:
    """Whether a network is taught from where it is."""
    if isinstance(net, nn.Module):
        return not start.known and (start.trained or start.scheme == OWN)
    return net is not None and ":" in net and start.trained and not start.stored


def _like(weights: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Weights where those of a network are, and of their type."""
    own = dict(net.named_parameters())
    return {name: value.to(own[name].detach()) for name, value in weights.items()}
