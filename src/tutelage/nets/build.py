"""Networks by name, and users' own by ``package.module:function``."""

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from ..errors import ConfigError, ShapeError, TutelageError, unknown
from ..importing import import_function, told
from ..randomness import seeded, stream
from .cnn import cifarnet, lenet, small_cnn
from .condensation import alexcifarnet, convnet
from .cue_net import cue_net, explain_net
from .mentor_resnet import mentor_resnet
from .mlp import mlp
from .plain import plain
from .resnet import projected_resnet, resnet
from .vgg import vgg
from .wide_resnet import wide_resnet

NAMES = (
    "mlp", "mlp-64-32", "mlp-gelu-16", "cnn", "lenet", "plain4", "vgg13", "resnet20", "resnet32", "resnet8x4",
    "wrn-16-2", "wrn-28-10", "mentor-resnet-14-2", "resnet101", "inception", "alexcifarnet", "convnet3", "convnet2x32",
    "cue-net", "explain-net",
)  # fmt: skip
"""Examples of valid names: mlp[-gelu]-W1-W2-...[-dropout-P] with P such as 0.3, plainD with D of 2 to 10, vggD with D
of 8, 11, 13, 16 or 19, resnetD and mentor-resnet-D-W with D = 6n + 2, wrn-D-W with D = 6n + 4; resnetDxK, such as
resnet8x4 and resnet56x1, are the ResNets of the published distillation tables; resnet101 and inception are the students
of the published MentorNet tables; alexcifarnet and convnetD, of D blocks of 128 channels, or convnetDxW, of W, are
those of dataset distillation; cue-net and explain-net are linear in the mean of their last maps, for explanations."""

_FOR_IMAGES: Mapping[str, Callable[..., nn.Module]] = {
    "cnn": small_cnn,
    "lenet": lenet,
    "inception": cifarnet,
    "alexcifarnet": alexcifarnet,
    "cue-net": cue_net,
    "explain-net": explain_net,
    r"convnet(\d+)": lambda shape, classes, d: convnet(shape, classes, depth=d),
    r"convnet(\d+)x(\d+)": lambda shape, classes, d, w: convnet(shape, classes, depth=d, width=w),
    "resnet101": mentor_resnet,  # not of the form resnetD: its depth is 56
    r"mentor-resnet-(\d+)-(\d+)": lambda shape, classes, d, w: mentor_resnet(shape, classes, depth=d, width=w),
    r"plain(\d+)": lambda shape, classes, d: plain(shape, classes, depth=d),
    r"resnet(\d+)": lambda shape, classes, d: resnet(shape, classes, depth=d),
    r"resnet(\d+)x(\d+)": lambda shape, classes, d, k: projected_resnet(shape, classes, depth=d, factor=k),
    r"vgg(\d+)": lambda shape, classes, d: vgg(shape, classes, depth=d),
    r"wrn-(\d+)-(\d+)": lambda shape, classes, d, w: wide_resnet(shape, classes, depth=d, width=w),
}
"""Networks by a pattern of their name, with the numbers in it."""


def build(name: str, shape: Sequence[int], classes: int, *, seed: int = 0) -> nn.Module:
    """Return a network by name, initialised from a seed without touching global random state.

    Args:
        name: one of the forms of :data:`NAMES`, or ``package.module:function`` for the user's own, called as
            ``function(shape, classes)``, or without arguments if it takes none.
        shape: shape of one example, such as (3, 32, 32).
        classes: number of logits.
        seed: of the initialisation.

    Raises:
        ConfigError: unknown name, or a function that cannot be imported.
        ShapeError: the network does not map (2, \\*shape) to (2, classes).
    """
    constructor = _constructor(name)
    with seeded(stream(seed, "initialisation")):
        net = _constructed(constructor, name, shape, classes)
    check_output(name, net, shape, classes)
    return net


def parameter_shapes(name: str, shape: Sequence[int], classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's parameters by name, without memory for their values or a pass.

    Args and errors as for :func:`build`, but whether it takes the examples is not looked at.
    """
    constructor = _constructor(name)
    with torch.device("meta"):
        return {n: tuple(p.shape) for n, p in _constructed(constructor, name, shape, classes).named_parameters()}


def _constructed(make: Callable[..., nn.Module], name: str, shape: Sequence[int], classes: int) -> nn.Module:
    try:
        return make(tuple(shape), classes)
    except TutelageError:
        raise
    except RuntimeError as error:
        raise ShapeError(f"{name} cannot be built for examples of shape {tuple(shape)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"student {name} could not be made: {told(error)}") from error


def check_output(name: str, net: nn.Module, shape: Sequence[int], classes: int) -> None:
    """Run two rows of zeros through a network and check the shape of its logits.

    Raises:
        ShapeError: if the network cannot take the input, or returns anything but (2, classes).
    """
    try:
        with torch.no_grad(), seeded(0):
            was_training = net.training
            out = net.eval()(torch.zeros(2, *shape))
            net.train(was_training)
            copy.deepcopy(net)(torch.zeros(2, *shape))  # a copy: training passes move statistics
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise ShapeError(f"student {name} cannot take inputs of shape (2, {_list(shape)}): {first}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"student {name} failed on inputs of shape (2, {_list(shape)}): {told(error)}") from error
    if not any(p.requires_grad for p in net.parameters()):
        raise ConfigError(f"student {name} has no parameters to train.")
    given = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    if given != (2, classes):
        raise ShapeError(
            f"student {name} returned {given} for 2 examples, but needs (2, {classes}), one logit per class."
        )


def _list(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def _constructor(name: str) -> Callable[[tuple[int, ...], int], nn.Module]:
    if ":" in name:
        return _users_own(name)
    if match := re.fullmatch(r"mlp(-gelu)?((?:-[1-9]\d*)*)(?:-dropout-(0?\.\d+))?", name):
        widths = tuple(int(w) for w in match[2].split("-")[1:]) or (256, 256)
        activation, dropout = nn.GELU if match[1] else nn.ReLU, float(match[3] or 0)
        return lambda shape, classes: mlp(shape, classes, widths=widths, activation=activation, dropout=dropout)
    for pattern, make in _FOR_IMAGES.items():
        if match := re.fullmatch(pattern, name):
            return partial(_for_images, name, make, [int(number) for number in match.groups()])
    raise ConfigError(unknown("student", name, [*NAMES, "package.module:function"]))


def _for_images(
    name: str, make: Callable[..., nn.Module], numbers: Sequence[int], shape: tuple[int, ...], classes: int
) -> nn.Module:
    if len(shape) != 3:
        raise ShapeError(f"{name} needs images (C, H, W), but the examples have shape {shape}; use mlp.")
    return make(shape, classes, *numbers)


def _users_own(name: str) -> Callable[[tuple[int, ...], int], nn.Module]:
    function = import_function("student", name)
    try:
        takes_arguments = bool(inspect.signature(function).parameters)
    except ValueError:  # some functions written in C have no signature
        takes_arguments = True

    def construct(shape: tuple[int, ...], classes: int) -> nn.Module:
        net = function(shape, classes) if takes_arguments else function()
        if not isinstance(net, nn.Module):
            raise ConfigError(f"student {name} returned a {type(net).__name__}, but needs to return an nn.Module.")
        return net

    return construct
