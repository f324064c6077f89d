"""What stages share in which teachers choose from a pool, a rate of noise and a seed at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...errors import ConfigError, DataError, NotConverged
from ...lesson import Batch
from ..pieces import Record, Tensors
from .rows import Drawn, Material


def noise_stage(rate: float) -> str:
    """Return the name of the stage of a rate of noise."""
    return f"noise-{rate:g}"


@contextmanager
def at(rate: float, seed: int) -> Iterator[None]:
    """Say of what cannot be taught at which rate of noise and with which seed it was.

    Raises:
        ConfigError, DataError, NotConverged: the one from within, with both.
    """
    try:
        yield
    except (ConfigError, DataError, NotConverged) as error:
        raise type(error)(f"noise {rate:g}, seed {seed}: {error}") from error


def facts_of(drawn: Drawn, classes: int) -> Record:
    """Return what a stage keeps of the rows of a seed: how many there are, and how many labels are wrong."""
    return {
        "realised": drawn.realised,
        "pool_rows": len(drawn.pool),
        "test_rows": len(drawn.test_y),
        "pool_counts": class_counts(drawn.pool, classes),
    }


def class_counts(pool: Batch, classes: int, kept: Tensor | None = None) -> list[int]:
    """Return how many rows of each class are in a pool, or among those that are kept."""
    labels = pool.y if kept is None else pool.y[kept]
    counts: list[int] = torch.bincount(labels.long(), minlength=classes).tolist()
    return counts


def images_of(material: Material, rows: Iterable[int]) -> Tensors:
    """Return some rows as the source has them, each once, and their positions there, in order."""
    shown = sorted(set(rows))
    return {"shown": torch.tensor(shown), "images": torch.from_numpy(material.source.x[shown])}
