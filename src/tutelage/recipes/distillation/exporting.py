"""Writing the student of a run to a file of its own."""

from pathlib import Path

from torch import nn

from ...errors import ConfigError
from ..distilling import Setting

_KINDS = (".safetensors", ".onnx")


def check_target(target: str) -> None:
    """Refuse a file that cannot be written.

    Raises:
        ConfigError: naming the option.
    """
    if Path(target).suffix not in _KINDS:
        raise ConfigError(f"--export {target}: a student is written as {' or '.join(_KINDS)}.")
    if not Path(target).resolve().parent.is_dir():
        raise ConfigError(f"--export {target}: there is no folder {Path(target).parent}; make it, or name another.")


def write_network(net: nn.Module, setting: Setting, arm: str, target: str) -> None:
    """Write the network of an arm."""
    from ...export import export_onnx
    from ...nets.weights import save_weights

    shape = setting.source.x.shape[1:]
    if Path(target).suffix == ".onnx":
        export_onnx(net.cpu(), shape, Path(target))
    else:
        save_weights(net, Path(target), {"arm": arm, "seed": setting.seed, "classes": list(setting.source.classes)})
