"""Class activation maps: where a network saw the class."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError, unknown
from ..randomness import seeded
from ..student import Student
from .inputs import check_images, checked_target


def class_activation(
    net: nn.Module | Student, x: Tensor, target: Tensor | int, layer: str | None = None, *, batch_size: int = 256
) -> Tensor:
    """Return the class activation map of each image: where the network saw evidence for the target class.

    With maps A (ch, h, w) whose mean a linear layer with weights w reads, the exact map
    ``relu(sum_ch w[target, ch] A[ch])``; the bias has no place. For any other network Grad-CAM:
    ``relu(sum_ch a[ch] A[ch])`` with ``a[ch] = (1 / hw) sum_ij d logit[target] / d A[ch, i, j]``. Where both exist they
    differ by the factor hw. The network is looked at in evaluation mode and does not change.

    Args:
        net: a network, or a student; maps images to logits (N, K).
        x: float images (N, C, H, W).
        target: classes, int64, shape (N,), or one for all images.
        layer: name of the module whose output is A, as ``named_modules`` gives it. None: the last maps that a linear
            layer reads the mean of, else the output of the last ``nn.Conv2d`` that the pass reaches.
        batch_size: images a pass.

    Returns:
        (N, h, w), >= 0, not scaled; see :func:`placed` for the size of the image.

    Raises:
        ConfigError: without a convolution, for an unknown layer, or a class that the network has not.
        ShapeError: if x holds no images, or the layer's output no maps; if target has another length.

    Source: Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning deep features for discriminative localization", CVPR
    2016, equation 2; Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", ICCV 2017, equations 1 and 2.
    """
    check_images("class_activation", x)
    # a copy: hooks, modes and gradients stay off the user's network; a view's `net` is one with the student's values
    own = net.at({}).net if isinstance(net, Student) else copy.deepcopy(net)
    own.to(x.device).requires_grad_(False).eval()
    parameter = next(own.parameters(), None)
    inputs = x.detach() if parameter is None else x.detach().to(parameter.dtype)
    with seeded(0, x.device):
        name, weights = _found(own, inputs[:2], layer)
        classes = len(own(inputs[:1])[0]) if weights is None else len(weights)
        labels = checked_target("class_activation", target, x, classes)
        pieces = zip(torch.split(inputs, batch_size), torch.split(labels, batch_size))
        if weights is None:
            return torch.cat([_by_gradient(own, part, of, name) for part, of in pieces])
        return torch.cat([_weighed(_maps(own, part, name), weights[of]) for part, of in pieces])


def _weighed(maps: Tensor, weights: Tensor) -> Tensor:
    return torch.relu(torch.einsum("nchw,nc->nhw", maps, weights))


def _found(net: nn.Module, x: Tensor, layer: str | None) -> tuple[str, Tensor | None]:
    """The module whose output is mapped; the weights (K, ch) by which a linear layer reads its mean, if one does."""
    if layer is not None and layer not in (known := [n for n, _ in net.named_modules() if n]):
        raise ConfigError(unknown("layer of the network", layer, known))
    read: list[tuple[nn.Linear, Tensor, Tensor]] = []
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if isinstance(module, nn.Linear) and isinstance(output, Tensor):
            read.append((module, inputs[0].clone(), output.clone()))
        elif isinstance(output, Tensor) and output.ndim == 4:
            outputs.pop(name, None)
            outputs[name] = output.clone()  # the next layer may work in place

    with _hooked({n: m for n, m in net.named_modules() if n}, keep), torch.no_grad():
        logits = net(x)
    convolutions = [n for n in outputs if isinstance(net.get_submodule(n), nn.Conv2d)]
    if not convolutions:
        raise ConfigError(
            "class_activation: the network has no nn.Conv2d that its pass reaches, so it has no maps; use occlusion."
        )
    if layer is not None and layer not in outputs:
        raise ShapeError(f"class_activation: layer {layer} has no output of shape (N, channels, h, w) in a pass.")
    linear = next(((m, i) for m, i, o in reversed(read) if o.shape == logits.shape and torch.equal(o, logits)), None)
    for name in [layer] if layer is not None else reversed(outputs):
        if linear is not None and _is_mean(outputs[name], linear[1]):
            return name, linear[0].weight.detach()
    return layer if layer is not None else convolutions[-1], None


def _is_mean(maps: Tensor, features: Tensor) -> bool:
    """Whether features are the mean of maps, which have more than one place."""
    mean = maps.mean((2, 3))
    return maps[0, 0].numel() > 1 and mean.shape == features.shape and torch.allclose(mean, features, 1e-4, 1e-5)


def _maps(net: nn.Module, x: Tensor, name: str) -> Tensor:
    seen: list[Tensor] = []

    def keep(_: str, __: nn.Module, ___: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output.clone())  # the next layer may work in place

    with _hooked({name: net.get_submodule(name)}, keep), torch.no_grad():
        net(x)
    return seen[-1]


def _by_gradient(net: nn.Module, x: Tensor, target: Tensor, name: str) -> Tensor:
    seen: list[Tensor] = []

    def cut(_: str, __: nn.Module, ___: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # the next layer may work in place

    with _hooked({name: net.get_submodule(name)}, cut), torch.enable_grad():
        logits = net(x)
        (slope,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), seen[-1])
    return _weighed(seen[-1].detach(), slope.mean((2, 3)))


@contextmanager
def _hooked(
    modules: Mapping[str, nn.Module], hook: Callable[[str, nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]
) -> Iterator[None]:
    hooks = [
        module.register_forward_hook(lambda m, inputs, output, name=name: hook(name, m, inputs, output))
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
