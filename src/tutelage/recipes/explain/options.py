"""Options of the recipe, and what becomes of those that are not given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, TypeAlias

from ...hypothesis_space import Kind
from ...teachers.select.explain import Scale
from ..selection.options import PoolOptions, settled
from .arms import EXPLAINED, TEACHERS

Chosen: TypeAlias = Any
"""Options of which nothing is left to choose; the type checker cannot know which of them are no longer None."""
_FEW = 256
"""Numbers of a row up to which hypotheses look at pixels if nothing is said."""
_NET, _EPOCHS = "cue-net", 40


@dataclass(frozen=True)
class Config(PoolOptions):
    """Options of the recipe; None means: chosen to fit the data."""

    noise: str = "0"
    """Shares of the pool's labels that are drawn anew among all classes, separated by commas."""
    size: int = 20
    """Rows that each teacher shows in all."""
    rows: int = 1
    """Rows that are shown at a time."""
    teachers: str | None = None
    """Teachers to compare, separated by commas; default: all; explain, which ranks by explanations too, only if there
    are some; random, the baseline, is always among them."""
    filter: Literal["one-vs-all", "none"] = "one-vs-all"
    """Which rows all teachers choose from, random too: those on which the best hypothesis of every class is right
    (one-vs-all), or all (none)."""
    hypotheses: Kind = "cluster_rand"
    """What learners may hold: learned from clusters, classes and pairs of classes, filled up with random ones
    (cluster_rand), the learned ones alone (cluster), classes and random ones (rand), or sparse random ones (sparse)."""
    number: int = 100
    """Hypotheses in all."""
    alpha: float = 0.5
    """How decided learners are: P(y|h,x) = 1 / (1 + exp(-alpha y h(x)))."""
    sigma_e: float = 1.0
    """How much EXPLAIN prefers images whose explanation is compact."""
    sigma_d: float = 1.0
    """How much EXPLAIN prefers rows that are near the others of their class."""
    dist_scale: Scale = "zscore"
    """Distances less their mean, over their standard deviation (zscore), or as published (raw), which has no effect
    with some dozens of features."""
    features: Literal["pixels", "net"] | None = None
    """What hypotheses look at: pixels (default for small rows, such as digits), or the features of a network before its
    last layer (net)."""
    net: str | None = None
    """The network, by name, or your own as package.module:function; trained on the pool alone; default: cue-net."""
    epochs: int | None = None
    """Passes over the pool on which the network is trained; default: 40."""
    explain: Literal["none", "cam", "occlusion"] | None = None
    """Explanations of the network: class activation maps (cam, default with --features net), by covering the image
    (occlusion), or none."""
    learners: int = 200
    """Simulated learners of each seed, over whom answers are averaged."""
    export: str | None = None
    """Folder to write the teaching sets of the first seed to, with their images, explanations and test items."""


def filled(given: Config, shape: Sequence[int]) -> Chosen:
    """Return the options with nothing left to choose.

    Args:
        given: as the user gave them.
        shape: of a row.
    """
    features = given.features or ("pixels" if prod(shape) <= _FEW else "net")
    explain = given.explain or ("cam" if features == "net" else "none")
    looks = features == "net" or explain != "none"
    several = [name for name in TEACHERS if name not in EXPLAINED or explain != "none"]
    return replace(
        given,
        **settled(given),
        teachers=given.teachers or ",".join(several),
        features=features,
        explain=explain,
        net=(given.net or _NET) if looks else None,
        epochs=(given.epochs or _EPOCHS) if looks else None,
    )
