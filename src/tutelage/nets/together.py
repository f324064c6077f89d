"""Several networks of one architecture as one network: the same inputs for all, an answer from each."""

import copy
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import vmap

from ..errors import ConfigError, ShapeError
from ..functional import FunctionalNet

How: TypeAlias = Literal["vmap", "hand"]
"""``vmap``: PyTorch's vectorisation, for any network; ``hand``: one matrix product a layer, for perceptrons."""

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.LeakyReLU, nn.SiLU, nn.Softplus, nn.ELU, nn.Identity)


def perceptron(net: nn.Module) -> list[nn.Module] | None:
    """Return the layers of a network that is ``Linear`` layers and elementwise functions in a row; None for others.

    Dropout, normalisation, convolutions and shared layers make it another one.
    """
    layers: list[nn.Module] = []
    if not _collect(net, layers) or len({id(layer) for layer in layers}) != len(layers):
        return None
    linear = [isinstance(layer, nn.Linear) for layer in layers]
    first = linear.index(True) if any(linear) else len(layers)
    return layers if any(linear) and all(isinstance(layer, nn.Flatten) for layer in layers[:first]) else None


def _collect(net: nn.Module, layers: list[nn.Module]) -> bool:
    if type(net) is nn.Sequential:
        return all(_collect(part, layers) for part in net)
    layers.append(net)
    if type(net) is nn.Flatten:
        return (net.start_dim, net.end_dim) == (1, -1)
    return type(net) is nn.Linear or type(net) in _ELEMENTWISE


def check_stateless(net: nn.Module, *, freeze_buffers: bool = False) -> None:
    """Make sure that a network has no statistics that a pass would change.

    Raises:
        ConfigError: naming the first layer that has, unless they are frozen.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats and not freeze_buffers:
            raise ConfigError(
                f"layer {name or type(net).__name__} ({type(module).__name__}) keeps running statistics, which several "
                "networks in one pass cannot: use nn.GroupNorm, or freeze them (freeze_buffers)."
            )


class Together(nn.Module):
    """K networks of one architecture that see the same inputs: x (N, ...) -> logits (N, K, C).

    Parameters have the names of the single network's, and shapes (K, ...); those that a network shares between layers
    are shared here, and buffers are those of the given network. Dropout draws a mask of its own for every network.

    Args:
        net: the architecture.
        weights: parameters by name, each (K, ...), of all that the network has.
        how: to run them, see :data:`How`.
        freeze_buffers: keep layers with running statistics in evaluation mode.

    Raises:
        ConfigError: for a network with running statistics that are not frozen, or ``hand`` for one that is no
            perceptron.
        ShapeError: for weights that are not those of the network.
    """

    def __init__(
        self, net: nn.Module, weights: Mapping[str, Tensor], *, how: How = "vmap", freeze_buffers: bool = False
    ) -> None:
        super().__init__()
        check_stateless(net, freeze_buffers=freeze_buffers)
        self.count, self.how = check_weights(net, weights), how
        made = frozen(net) if freeze_buffers else _training(net)
        self.net = made.to(next(iter(weights.values())))  # buffers too
        self._call = FunctionalNet(self.net)
        self._layers = perceptron(self.net) if how == "hand" else None
        if how == "hand" and self._layers is None:
            raise ConfigError(
                f'engine "hand" needs linear layers and elementwise functions in a row, but {type(net).__name__} is '
                'something else: use "vmap" or "loop".'
            )
        stacked = {
            id(p): nn.Parameter(weights[name].detach().clone(), p.requires_grad)
            for name, p in self.net.named_parameters()
        }
        for module in self.net.modules():
            for name, p in module.named_parameters(recurse=False, remove_duplicate=False):
                setattr(module, name, stacked[id(p)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, K, C)."""
        if self._layers is not None:
            rows = x.flatten(1) if isinstance(self._layers[0], nn.Flatten) else x
            if rows.ndim == 2:
                return _by_hand(self._layers, rows)
        x = x.flatten().view(x.shape)  # axes of length 1 may have any stride, but under vmap group norms refuse some
        params: dict[str, Tensor] = dict(self.net.named_parameters())
        buffers = dict(self.net.named_buffers())

        def one(params: dict[str, Tensor]) -> Tensor:
            out, _ = self._call({**params, **buffers}, x)
            assert isinstance(out, Tensor)
            return out

        out: Tensor = vmap(one, out_dims=1, randomness="different")(params)
        return out


def _training(net: nn.Module) -> nn.Module:
    """A copy in training mode, whose parts keep theirs if it was in that mode; as of every student."""
    made = copy.deepcopy(net)
    return made if made.training else made.train()


def frozen(net: nn.Module) -> nn.Module:
    """Return a copy of a network, in training mode but for layers with running statistics."""
    made = _training(net)
    for module in made.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            module.eval()
    return made


def check_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """Return how many networks these stacked weights are of.

    Raises:
        ConfigError: for a network without parameters.
        ShapeError: naming the first layer that does not fit the network.
    """
    needed = {name: tuple(p.shape) for name, p in net.named_parameters()}
    for name in sorted(needed.keys() ^ weights.keys()):
        where = "lacks" if name in weights else "has"
        raise ShapeError(f"weights: the network {where} {name}; they are of another architecture.")
    if not needed:
        raise ConfigError(f"{type(net).__name__} has no parameters, so there is nothing to teach it.")
    first = next(iter(weights.values()))
    count = len(first) if first.ndim else 0
    for name, value in weights.items():
        if tuple(value.shape) != (count, *needed[name]):
            raise ShapeError(
                f"weights: {name} has shape {tuple(value.shape)}, but {count} networks need {(count, *needed[name])}; "
                "they are of another architecture."
            )
    return count


def _by_hand(layers: list[nn.Module], x: Tensor) -> Tensor:
    """A layer at a time: (N, inputs), shared by all networks, then (K, N, units)."""
    h = x
    for layer in layers:
        if isinstance(layer, nn.Flatten):  # of rows it is the identity
            continue
        if not isinstance(layer, nn.Linear):
            h = layer(h)
            continue
        weight: Tensor = layer.weight
        bias: Tensor | None = None if layer.bias is None else layer.bias.unsqueeze(1)
        if h.ndim == 2:
            h = (h @ weight.flatten(0, 1).T).view(-1, *weight.shape[:2]).transpose(0, 1)
            h = h if bias is None else h + bias
        else:
            h = torch.bmm(h, weight.mT) if bias is None else torch.baddbmm(bias, h, weight.mT)
    return h.transpose(0, 1)


class Each:
    """The sum over networks of a per-example loss: (logits (N, K, C), target) -> (N,).

    Args:
        loss: (logits (N, C), target) -> (N,), with class ids (N,) or probabilities (N, C).
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.loss = loss

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sums (N,)."""
        rows, count = logits.shape[:2]
        return self.loss(logits.flatten(0, 1), target.repeat_interleave(count, 0)).view(rows, count).sum(1)
