"""``corrupt``: label noise by the name of its kind, for command lines and recipes."""

from collections.abc import Callable, Mapping

from ..errors import ConfigError, unknown
from .noise import Count, NoisyLabels, class_flip, from_labels, pair_flip, uniform
from .sources import IntArray

KINDS = (
    "none",
    "uniform",
    "uniform-exact",
    "symmetric",
    "symmetric-exact",
    "pair-flip",
    "pair-flip-exact",
    "class-flip",
    "class-flip-exact",
    "class-flip-2",
    "class-flip-2-exact",
)


def corrupt(
    y: IntArray,
    kind: str,
    p: float,
    *,
    num_classes: int,
    seed: int,
    on: IntArray | None = None,
    count: Count = "bernoulli",
    mapping: Mapping[int, int] | None = None,
) -> NoisyLabels:
    """Add label noise of a named kind.

    ``uniform`` draws among all classes, so that p (K-1)/K of the labels change; ``symmetric`` among the
    others, so that p of them change; ``-exact`` selects exactly ``floor(p n + 1/2)`` rows; ``pair-flip`` goes
    to the next class or to ``mapping[y]``; ``class-flip`` and ``class-flip-2`` to one or two fixed other
    classes drawn from the seed; ``none`` changes nothing.

    Args:
        y: clean labels, int64, shape (N,).
        kind: one of ``KINDS``.
        p: share of rows selected, in [0, 1].
        num_classes: K.
        seed: of the draws.
        on: indices open to noise; None: all.
        count: see :func:`tutelage.data.noise.uniform`; the ``-exact`` kinds fix it.
        mapping: class -> class, for ``pair-flip``, such as ``CIFAR10_ASYMMETRIC``.

    Raises:
        ConfigError: if the kind is not known, p is outside [0, 1] or an option does not fit the kind.
        DataError: if a label or an index of ``on`` is out of range.
    """
    if kind not in KINDS:
        raise ConfigError(unknown("label noise", kind, KINDS))
    if not 0 <= p <= 1:
        raise ConfigError(f"noise {p} is outside [0, 1].")
    if mapping is not None and not kind.startswith("pair-flip"):
        raise ConfigError(f'label noise "{kind}" takes no mapping; use pair-flip.')
    if kind.endswith("-exact"):
        count = "exact"

    def flip(targets: int) -> NoisyLabels:
        return class_flip(y, p, targets=targets, num_classes=num_classes, seed=seed, on=on, count=count)

    def even(include_true: bool) -> NoisyLabels:
        return uniform(y, p, include_true=include_true, num_classes=num_classes, seed=seed, on=on, count=count)

    make: dict[str, Callable[[], NoisyLabels]] = {
        "none": lambda: from_labels(y, y, num_classes=num_classes, on=on, convention="none"),
        "uniform": lambda: even(True),
        "symmetric": lambda: even(False),
        "pair-flip": lambda: pair_flip(y, p, num_classes=num_classes, seed=seed, mapping=mapping, on=on, count=count),
        "class-flip": lambda: flip(1),
        "class-flip-2": lambda: flip(2),
    }
    return make[kind.removesuffix("-exact")]()
