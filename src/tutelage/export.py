"""A trained network for use elsewhere: ONNX. (For safetensors see ``nets.save_weights``.)"""

import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import torch
from torch import nn

from .data.records.atomic import AtomicWriter
from .errors import ConfigError
from .randomness import seeded

if TYPE_CHECKING:
    from onnx import ModelProto


def export_onnx(net: nn.Module, shape: Sequence[int], path: str | os.PathLike[str]) -> None:
    """Write a network in evaluation mode as an ONNX file, which appears whole or not at all.

    Its input ``x`` is (batch, \\*shape) of the dtype of the network's parameters, its output ``logits``; batch may be
    any number. The network stays as it is, and so does random state.

    Args:
        net: such as ``student.net``.
        shape: of one example, such as (3, 32, 32).
        path: the file.

    Raises:
        ConfigError: without the packages of the extra ``onnx``, or if the network cannot be exported: its forward pass
            depends on values or on the batch size, or an operator is unknown to ONNX.
        DataError: if the file cannot be written.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  # what torch exports with
    except ImportError:
        raise ConfigError('export to ONNX needs onnx and onnxscript: pip install "tutelage[onnx]".') from None
    still = copy.deepcopy(net).cpu().eval()
    dtype = next((p.dtype for p in still.parameters()), torch.float32)
    rows = torch.zeros(2, *shape, dtype=dtype)  # one row would be taken for a constant
    try:
        with seeded(0), torch.no_grad(), _quiet():
            program = torch.onnx.export(
                still,
                (rows,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["x"],
                output_names=["logits"],
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        given = f"inputs (batch, {', '.join(map(str, shape))})"
        raise ConfigError(f"{type(net).__name__} cannot be exported to ONNX with {given}: {cause}") from error
    assert program is not None
    model = _bare(program.model_proto)
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:  # the exporter says so in a log only
        raise ConfigError(
            f"{type(net).__name__} cannot be exported to ONNX for any batch size: its forward pass fixes the number of "
            "rows; use x.shape[0], or -1 in reshape and view."
        )
    onnx.checker.check_model(model)
    AtomicWriter(path, model.SerializeToString(deterministic=True)).close()


def _bare(model: "ModelProto") -> "ModelProto":
    """Without what the exporter notes for itself: files and lines of the machine that it ran on."""
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        part.ClearField("metadata_props")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter prints and logs of optional packages, its own future and its attempts from the user."""
    before, aside = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(aside), redirect_stderr(aside):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
