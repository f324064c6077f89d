"""Options of the recipe, and what becomes of those that are not given."""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ...teachers.select.maxgrad import Space
from ..selection.embedding import Embedding
from ..selection.options import PoolOptions, settled
from .arms import FINE_TUNED, ITERATIVE, TEACHERS

Chosen: TypeAlias = Any
"""Options of which nothing is left to choose; the type checker cannot know which of them are no longer None."""
LINEAR = "linear"
_STEPS = {LINEAR: 150, "mcboost": 50, "cross-entropy": 50}
_RATES = {LINEAR: 0.2, "mcboost": 0.003, "cross-entropy": 0.03}
_BEFORE = 15


@dataclass(frozen=True)
class Config(PoolOptions):
    """Options of the recipe; None means: chosen to fit the student."""

    size: int = 20
    """Rows that each teacher shows in all."""
    rows: int = 1
    """Rows that are shown at a time, before the student studies again."""
    teachers: str | None = None
    """Teachers to compare, separated by commas; default: all, for a fine-tuned network random, maxgrad, herding and
    prototypes-then-maxgrad; random, the baseline, is always among them."""
    filters: str | None = None
    """Which rows of the pool the teachers but random may show: none (all of them), in-sample or cross-fitted (those
    whose label a linear model predicts, fitted on the whole pool, or on the other folds), separated by commas; default:
    cross-fitted,none."""
    folds: int = 5
    """Folds of the cross-fitted filter."""
    quota: int = 0
    """Rows that a filter leaves of each class at least: those of largest margin are added."""
    space: Space = "functional"
    """Where MaxGrad takes the gradient's norm: in the embedding (functional) or in the codewords (head)."""
    pairs: bool = False
    """MaxGrad ranks pairs of a row and the class that it is taken for."""
    stale: int | None = None
    """MaxGrad looks at the whole pool every so many lessons, and in between at the tenth of it that scored highest
    then: faster for networks, not the same rows; default: at the whole pool each time."""
    student: str = LINEAR
    """Who is taught: linear, on rows that stay as they are; net, a small network; a network by name, or your own as
    package.module:function."""
    embedding: Embedding | None = None
    """What the linear student sees: the rows themselves (pixels, default), or their principal components (pca)."""
    components: int = 50
    """Principal components."""
    backbone: Literal["frozen", "fine-tuned"] | None = None
    """Whether the network below the codewords stays as it is, so that a linear student learns on its embeddings, or
    studies with them (default)."""
    before: int | None = None
    """Passes over the classes that are not used, on which a network is trained before; default: 15, 0 for your own."""
    schedule: Literal["converged", "paper"] = "converged"
    """How the student studies: until it has fitted what it was shown, or as in the published code: 10 steps a row at
    rate 0.0001, momentum 0.9, decay 0.0001, fresh codewords, the loss without the half."""
    steps: int | None = None
    """Steps after each row on all that was shown; default: linear 150, from its start each time; networks 50."""
    lr: float | None = None
    """Learning rate; default: linear 0.2, networks 0.003, with cross-entropy 0.03."""
    loss: Literal["mcboost", "cross-entropy"] = "mcboost"
    """Loss that a fine-tuned network studies by; MaxGrad ranks by the gradient of mcboost in any case."""
    compat: bool = False
    """As published: --schedule paper and --filters none, MaxGrad against random alone if no teachers are named."""
    export: str | None = None
    """Folder to write the teaching sets to: JSON, and for image folders the published list format as well."""


def filled(given: Config) -> Chosen:
    """Return the options with nothing left to choose."""
    linear = given.student == LINEAR
    backbone = None if linear else given.backbone or "fine-tuned"
    schedule: Literal["converged", "paper"] = "paper" if given.compat else given.schedule
    kind = LINEAR if linear or backbone == "frozen" else given.loss
    converged = schedule == "converged"
    return replace(
        given,
        **settled(given),
        teachers=_teachers(given, backbone) if given.teachers is None else given.teachers,
        filters=("none" if given.compat else "cross-fitted,none") if given.filters is None else given.filters,
        backbone=backbone,
        embedding=(given.embedding or "pixels") if linear else None,
        before=(0 if linear or ":" in given.student else _BEFORE) if given.before is None else given.before,
        schedule=schedule,
        steps=(given.steps or _STEPS[kind]) if converged else None,
        lr=(given.lr or _RATES[kind]) if converged else None,
    )


def _teachers(given: Config, backbone: str | None) -> str:
    """The teachers if none are named."""
    if given.compat:
        return "random,maxgrad"
    several = [name for name in TEACHERS if given.rows == 1 or name not in ITERATIVE]
    return ",".join(FINE_TUNED if backbone == "fine-tuned" else several)
