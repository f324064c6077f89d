"""Writing the student of a run to a file of its own."""

from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from ...data.records.atomic import AtomicWriter
from ...errors import ConfigError
from ..distilling import Setting

_KINDS = (".safetensors", ".onnx")


def check_target(target: str, cache_path: str | None = None) -> None:
    """Refuse a file that cannot be written, or would be written over.

    Raises:
        ConfigError: naming the option.
    """
    path = Path(target)
    if path.suffix not in _KINDS:
        raise ConfigError(f"--export {target}: a student is written as {' or '.join(_KINDS)}.")
    if path.is_dir():
        raise ConfigError(f"--export {target} is a folder; name a file.")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"--export {target}: there is no folder {path.parent}; make it, or name another.")
    if path.exists():
        raise ConfigError(f"--export {target} exists; name another file, or move it away.")
    if cache_path is not None and path.resolve() == Path(cache_path).resolve():
        raise ConfigError(f"--export {target} is the file of --cache-path; name another.")


def rehearse_export(net: nn.Module, setting: Setting, target: str) -> None:
    """Write a network that nobody trained beside the target, and remove it: what cannot work is refused early.

    Raises:
        ConfigError: if the folder cannot be written to, or the network cannot be exported.
    """
    _content(net, setting, "rehearsal", Path(target))


def write_network(net: nn.Module, setting: Setting, arm: str, target: str) -> None:
    """Write the network of an arm; a file that is there must hold just that, as after a run that was stopped.

    Raises:
        ConfigError: if it cannot be exported, or another file is there.
        DataError: if it cannot be written.
    """
    path = Path(target)
    content = _content(net, setting, arm, path)
    if not path.exists():
        AtomicWriter(path, content).close()
    elif path.is_dir() or path.read_bytes() != content:
        raise ConfigError(
            f"--export {target} is there by now and holds something else; move it away and resume the run, whose "
            "result is written."
        )


def _content(net: nn.Module, setting: Setting, arm: str, target: Path) -> bytes:
    from ...export import export_onnx
    from ...nets.weights import save_weights

    try:
        with TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            path = Path(folder) / target.name
            if target.suffix == ".onnx":
                export_onnx(net, setting.source.x.shape[1:], path)
            else:
                save_weights(net, path, {"arm": arm, "seed": setting.seed, "classes": list(setting.source.classes)})
            return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--export {target}: {target.parent} cannot be written to ({error.strerror}).") from error
