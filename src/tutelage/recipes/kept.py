"""What a finished trajectory keeps as tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import with_prefix
from ..teacher import Teacher
from .dumping import Dumper
from .experiment import Index, Labels, Setting
from .recorder import Recorder

SUSPECTS = 24
"""How many of the least trusted examples are kept with their images for the report."""


def kept(
    settings: Sequence[Setting],
    indices: Sequence[Index],
    labels: Labels,
    recorders: Sequence[Recorder],
    teachers: Sequence[Teacher],
) -> dict[str, Tensor]:
    """Return what all seeds recorded, and the teachers as they ended; see ``Outcome.tensors``."""
    first, recorder, index = settings[0], recorders[0], indices[0]
    order = np.lexsort((-recorder.early_loss, recorder.mean_weight))
    suspects = index[order[np.isfinite(recorder.mean_weight[order])][:SUSPECTS]]
    y = first.noise.noisy if labels == "given" else first.noise.clean
    arrays: dict[str, Any] = {
        "index": index,
        "given": y[index],
        "true": first.noise.clean[index],
        "weight": recorder.weight,
        "loss": recorder.loss,
        "suspects": suspects,
        "images": first.source.x[suspects],
        "rows": np.stack(indices),
        "seen": np.stack([r.seen for r in recorders]),
        "suggested": np.stack([r.suggested for r in recorders]),
    }
    for name in ("mean_weight", "last_weight", "mean_loss", "early_loss"):
        arrays[name] = np.stack([getattr(r, name) for r in recorders]).astype(np.float32)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    for s, teacher in enumerate(teachers):
        tensors |= with_prefix(f"teacher.{s}", teacher.state_dict())
    return tensors


def kept_dump(settings: Sequence[Setting], dumpers: Sequence[Dumper]) -> dict[str, Tensor]:
    """Return what was kept of the trusted rows, all seeds along the first axis."""
    states = [dumper.state_dict() for dumper in dumpers]
    indices = [s.roles["trusted"] for s in settings]
    return {
        "dump_percent": states[0]["percent"],
        "dump_threshold": torch.stack([state["threshold"] for state in states]),
        "dump_loss": torch.stack([state["loss"] for state in states]),
        "dump_index": torch.from_numpy(np.stack(indices)),
        "dump_given": torch.stack([given(s, index) for s, index in zip(settings, indices)]),
        "dump_trusted": torch.from_numpy(np.stack([s.noise.clean[i] for s, i in zip(settings, indices)])),
    }


def given(setting: Setting, index: Index) -> Tensor:
    """Return the labels (N,) of some rows as the noise left them."""
    return torch.from_numpy(setting.noise.noisy[index])
