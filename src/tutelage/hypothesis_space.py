"""Hypotheses that learners of a pool may start with: learned from its labels, random, or both."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .errors import ConfigError, DataError, unknown
from .hypotheses import Features, Hypotheses, flat
from .lesson import Batch
from .mcboost import check_labels
from .pools import OfPool
from .randomness import counter, stream

Kind: TypeAlias = Literal["cluster_rand", "cluster", "rand", "sparse"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Space: TypeAlias = Callable[[Batch, int], Hypotheses]
"""(pool, classes) -> the hypotheses of its learners."""

_Rows: TypeAlias = npt.NDArray[np.float64]
_Labels: TypeAlias = npt.NDArray[np.int64]
_Mask: TypeAlias = npt.NDArray[np.bool_]


class HypothesisSpace:
    """Finds hypotheses of a pool, the same for every order of its rows; remembers those of the last pool.

    Learned ones separate a group of rows from the rest, by linear support vector machines with an L1 penalty: each of
    two k-means clusters of each class, each class, and, of three classes or more, each pair of classes. Random ones
    have weights from N(0, 1).

    Args:
        kind: ``cluster_rand``: learned ones, filled up with random ones to ``size``; ``cluster``: learned ones alone,
            however many; ``rand``: each class, and random ones; ``sparse``: each class, and random ones of two weights
            that are +-1, the others 0.
        size: H, how many.
        alpha: > 0; how decided learners are, see :mod:`tutelage.hypotheses`.
        embed: inputs (N, ...) -> features (N, d), which are standardised; default: flattened inputs.
        seed: of clusters and draws.

    Raises:
        ConfigError: for an unknown kind, an alpha <= 0; when asked, if there are more learned ones than ``size``.
        DataError: when asked, if a class has no row, or a feature is not finite.

    Source: Mac Aodha et al., "Teaching categories to human learners with visual explanations", CVPR 2018.
    """

    def __init__(
        self,
        kind: Kind = "cluster_rand",
        size: int = 100,
        *,
        alpha: float = 0.5,
        embed: Callable[[Tensor], Tensor] = flat,
        seed: int = 0,
    ) -> None:
        if kind not in KINDS:
            raise ConfigError(unknown("kind of hypotheses", kind, KINDS))
        if not 0 < alpha < float("inf"):
            raise ConfigError(f"alpha = {alpha}, but needs a number above 0; 0.5 is usual.")
        self.kind, self.size, self.alpha, self.embed, self.seed = kind, size, alpha, embed, seed
        self._of = OfPool(self._find)

    def __call__(self, pool: Batch, classes: int) -> Hypotheses:
        """Return the hypotheses of a pool whose student knows this many classes."""
        return self._of(pool, classes)

    def _find(self, pool: Batch, classes: int) -> Hypotheses:
        check_labels(pool.y, classes)
        order = pool.index.argsort(stable=True)
        x, y = pool.x[order], pool.y[order].long().cpu().numpy()
        missing = np.setdiff1d(np.arange(classes), y)
        if len(missing):
            raise DataError(
                f"class {missing[0]} of {classes} has no row in the pool of {len(pool)}, but hypotheses are learned "
                "from rows of every class: add some, or give the student fewer classes."
            )
        features = Features.of(x, self.embed)
        rows = features(x)
        learned = self._learned(rows.cpu().numpy(), y, classes)
        drawn = self._drawn(len(learned), rows.shape[1])
        weights = torch.cat([torch.from_numpy(np.stack(learned)), drawn]).to(rows)
        return Hypotheses(weights, features, self.alpha)

    def _learned(self, rows: _Rows, labels: _Labels, classes: int) -> list[_Rows]:
        groups: Iterator[_Mask] = (labels == c for c in range(classes))
        if self.kind.startswith("cluster"):
            groups = itertools.chain(self._clusters(rows, labels, classes), groups, _pairs(labels, classes))
        return [_separating(rows, group) for group in groups]

    def _clusters(self, rows: _Rows, labels: _Labels, classes: int) -> Iterator[_Mask]:
        """Two groups of rows of each class; none of a class whose rows are all the same."""
        from sklearn.cluster import KMeans

        key = stream(self.seed, "clusters of hypotheses")
        for c in range(classes):
            own = labels == c
            if len(np.unique(rows[own], axis=0)) < 2:
                continue
            found = KMeans(2, n_init=10, random_state=counter(key, c) % 2**32).fit_predict(rows[own])
            for cluster in range(2):
                group = own.copy()
                group[own] = found == cluster
                yield group

    def _drawn(self, learned: int, width: int) -> Tensor:
        count = 0 if self.kind == "cluster" else self.size - learned
        if count < 0:
            raise ConfigError(
                f"size = {self.size}, but {learned} hypotheses are learned from this pool: take a size of {learned} or "
                "more."
            )
        generator = torch.Generator().manual_seed(stream(self.seed, "random hypotheses") >> 1)
        if self.kind != "sparse":
            return torch.randn(count, width, generator=generator, dtype=torch.float64)
        places = torch.rand(count, width, generator=generator).argsort(1)[:, :2]
        signs = torch.randint(2, (count, 2), generator=generator).double() * 2 - 1
        return torch.zeros(count, width, dtype=torch.float64).scatter_(1, places, signs[:, : places.shape[1]])


def _pairs(labels: _Labels, classes: int) -> Iterator[_Mask]:
    """The rows of each pair of classes, if there are others."""
    if classes > 2:
        for pair in itertools.combinations(range(classes), 2):
            yield np.isin(labels, pair)


def _separating(rows: _Rows, group: _Mask) -> _Rows:
    """The weights (D,) of a machine that separates a group of rows from the others."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine: Any = LinearSVC(
        penalty="l1", loss="squared_hinge", dual=False, fit_intercept=False, random_state=0, max_iter=10_000
    )
    with warnings.catch_warnings():
        # a machine that is not quite the best one is a hypothesis as good as any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights: _Rows = machine.fit(rows, group).coef_[0]
    return weights
