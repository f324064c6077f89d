"""What a run that distilled a data set left, as its page needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..checkpoint import load_checkpoint
from ..evaluation import Summary
from .reading import Run

MADE, FULL = "distilled", "full-data"
AUGMENTED = "augmented "
"""Before the names of arms that were trained freely on augmented images."""
WAYS = (
    ("accuracy", "by lessons", "the same number of steps"),
    ("neighbour_accuracy", "1-NN", "nearest image, no training"),
    ("free_accuracy", "trained freely", "without order and step sizes"),
)
"""Metrics of accuracy, how an arm came to each, and what that is."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The tensors of an arm.

    Attributes:
        images: (S, n, ...), normalised.
        labels: class ids (n,), or logits (S, n, C).
        step_sizes: (T,); none without an order.
        frames: images over optimisation (F, S, n, ...), the start first; None if they were not kept.
        frame_step_sizes: (F, T).
    """

    images: Tensor
    labels: Tensor
    step_sizes: Tensor
    frames: Tensor | None = None
    frame_step_sizes: Tensor | None = None


def kept(run: Run, arm: str, seed: int) -> Kept | None:
    """Return the tensors of an arm; None if they are not there.

    Raises:
        CheckpointError: if the file is damaged.
    """
    path = run.path / "arms" / f"{arm}-{seed}.safetensors"
    if not path.is_file():
        return None
    tensors, _ = load_checkpoint(path)
    return Kept(**{name: tensors[name] for name in Kept.__dataclass_fields__ if name in tensors})


def order(run: Run) -> list[str]:
    """Return all arms, the distilled set first."""
    return list(run.result.get("order", run.arms))


def rivals(run: Run) -> list[str]:
    """Return the real sets of as many images."""
    return [arm for arm in order(run) if arm not in (MADE, FULL)]


def value(run: Run, arm: str, metric: str) -> Summary | None:
    """Return a number of an arm over seeds; None if it has none."""
    found: Summary | None = run.part("arms").get(arm, {}).get(metric)
    return found


def of_seed(run: Run, seed: int) -> Mapping[str, Any]:
    """Return what the run says of the set of a seed."""
    found: Mapping[str, Any] = run.part("sets")[str(seed)]
    return found


def classes(run: Run) -> Sequence[str]:
    """Return the names of the classes."""
    found: Sequence[str] = run.part("data")["classes"]
    return found


def applications(run: Run) -> int:
    """Return T; 0 for a set without an order."""
    return int(run.part("distillation")["applications"])


def shared(run: Run) -> bool:
    """Return whether several seeds are judged by the same networks."""
    return len(run.seeds) > 1 and str(run.part("distillation")["init"]).startswith("pretrained")


def attack(run: Run) -> tuple[str, str] | None:
    """Return the class that is attacked, and what it is taken for."""
    found = run.part("distillation").get("attack")
    return None if found is None else (classes(run)[found[0]], classes(run)[found[1]])
