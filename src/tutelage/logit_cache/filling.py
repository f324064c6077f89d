"""Fill a file with what a teacher answers."""

from pathlib import Path

import torch

from ..errors import ShapeError
from .file import Part
from .inputs import Inputs
from .layout import Layout
from .probes import Answering, norms, own_randomness, probes


def fill(
    path: Path,
    layout: Layout,
    teacher: Answering,
    inputs: Inputs,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
) -> None:
    """Ask a teacher for the logits of every row in every view, and write them; goes on where another one stopped.

    Rows are asked for in the same batches, so that a file which was filled in two goes has the same bytes.

    Args:
        path: of the file; while it is filled, its name ends in ``.part``.
        layout: of the file.
        teacher: who answers.
        inputs: what it sees.
        device: of the teacher.
        batch_size: rows at a time.

    Raises:
        CheckpointError: if another process fills it, or it cannot be written.
        DataError: for logits that are not finite, or do not fit into the storage.
    """
    n = len(layout.index)
    with Part(path, layout) as part, own_randomness(0):
        if part.complete:
            return
        for view in range(layout.views):
            for start in range(0, n, batch_size):
                rows = slice(start, min(start + batch_size, n))
                if part.has(rows, view):
                    continue
                x = inputs.at(torch.arange(rows.start, rows.stop).numpy(), view)
                logits = teacher.answers(x.to(device)).detach().cpu()
                if logits.shape != (len(x), layout.classes):
                    raise ShapeError(
                        f"the teacher answered with shape {tuple(logits.shape)}, needs {(len(x), layout.classes)}."
                    )
                index = torch.from_numpy(layout.index[rows])
                measured = {"probes": torch.from_numpy(probes(x)), "norm": norms(x).to(torch.bfloat16)}
                part.put(rows, view, {**layout.storage.packed(logits, index), **measured})
        part.finish()
