"""Fill a file with what a teacher answers."""

from pathlib import Path

import torch

from ..errors import ShapeError
from .inputs import Inputs
from .layout import Layout
from .part import Part
from .probes import Answering, own_randomness


def fill(
    path: Path,
    layout: Layout,
    teacher: Answering,
    inputs: Inputs,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    wait: bool = False,
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
        wait: for another process that fills it, rather than raise.

    Raises:
        CheckpointError: if another process fills it, or it cannot be written.
        DataError: for logits that are not finite, or do not fit into the storage.
    """
    n = len(layout.index)
    with Part(path, layout, wait=wait) as part, own_randomness(0):
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
                part.put(rows, view, {**layout.storage.packed(logits, index), **part.layout.measure.kept(x)})
        part.finish()
