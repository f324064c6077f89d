"""Splits and label noise as published systems have them, by name.

    split, labels = preset("mentornet").prepare(source, seed=0, rate=0.4)

Numbers of rows are those of the papers for the training rows of the published sets, and of this library's own
experiments for the digits; a set of another size is refused where counts would mean something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from ..errors import ConfigError, unknown
from .noise import NoisyLabels, class_flip, from_labels, pair_flip, uniform, within_groups
from .published import CIFAR10_ASYMMETRIC, CIFAR100_SUPERCLASS
from .sources import IntArray, Source
from .splits import Role, Size, Split, split

DIGITS, CIFAR, SVHN, IMAGENET = 1_797, 50_000, 604_388, 1_281_167
"""Training rows: of the digits all, of SVHN with its extra images."""


class Noise(Protocol):
    """Label noise at a rate, on some rows."""

    def __call__(self, y: IntArray, p: float, *, num_classes: int, seed: int, on: IntArray) -> NoisyLabels:
        """Return the labels; arguments as of :func:`tutelage.data.noise.uniform`."""
        ...


class Prepared(NamedTuple):
    """Roles and labels: train reads the noisy labels, every other role the clean ones.

    Attributes:
        split: the roles.
        labels: clean and noisy labels of all rows; only the rows of train are open to noise.
    """

    split: Split
    labels: NoisyLabels


@dataclass(frozen=True)
class Layout:
    """How rows are shared.

    Attributes:
        sizes: role -> number of rows or ``"rest"``.
        train_includes: roles whose rows train has as well.
        unlabelled_includes: the same for the unlabelled role.
    """

    sizes: Mapping[str, Size]
    train_includes: tuple[Role, ...] = ()
    unlabelled_includes: tuple[Role, ...] = ()


@dataclass(frozen=True)
class Preset:
    """Split and label noise of a published system.

    Attributes:
        name: to ask for it.
        description: one line.
        citation: where it comes from.
        layouts: number of rows of the source -> how they are shared.
        otherwise: how the rows of a source of any other size are shared; None: it is refused.
        noises: kinds of label noise by name, the usual one first; empty: labels stay clean.
        rates: published noise rates; ``rates[0]`` is what you get without asking.
    """

    name: str
    description: str
    citation: str
    layouts: Mapping[int, Layout]
    otherwise: Layout | None = None
    noises: Mapping[str, Noise] = field(default_factory=dict)
    rates: tuple[float, ...] = ()

    def prepare(
        self,
        source: Source | IntArray,
        *,
        seed: int,
        rate: float | None = None,
        kind: str | None = None,
        num_classes: int | None = None,
    ) -> Prepared:
        """Return the roles of the rows and their labels, stratified by the clean ones.

        Args:
            source: training rows, or only their clean labels, int64, shape (N,).
            seed: of split and noise.
            rate: of noise, in [0, 1]; None: ``rates[0]``.
            kind: of noise, a key of ``noises``; None: the first.
            num_classes: K, if only labels are given.

        Raises:
            ConfigError: if the kind, the rate or the number of classes or rows does not fit.
            DataError: if a label is out of range.
        """
        y, k = self._labels(source, num_classes)
        layout = self._layout(len(y))
        roles = split(
            y,
            layout.sizes,
            seed=seed,
            train_includes=layout.train_includes,
            unlabelled_includes=layout.unlabelled_includes,
        )
        if not self.noises:
            if rate or kind is not None:
                raise ConfigError(f"{self.name}: it has no label noise; leave rate and kind out.")
            return Prepared(roles, from_labels(y, y, num_classes=k, on=roles.train, convention="none"))
        kind = next(iter(self.noises)) if kind is None else kind
        if kind not in self.noises:
            raise ConfigError(unknown(f"noise of {self.name}", kind, self.noises))
        p = self.rates[0] if rate is None else rate
        return Prepared(roles, self.noises[kind](y, p, num_classes=k, seed=seed, on=roles.train))

    def _labels(self, source: Source | IntArray, num_classes: int | None) -> tuple[IntArray, int]:
        if isinstance(source, Source):
            return source.y, source.num_classes
        if num_classes is None:
            raise ConfigError(f"{self.name}: the number of classes is not known; pass num_classes=K.")
        return source, num_classes

    def _layout(self, rows: int) -> Layout:
        layout = self.layouts.get(rows, self.otherwise)
        if layout is None:
            known = " or ".join(f"{n:,}" for n in self.layouts)
            raise ConfigError(
                f"{self.name}: its counts are for {known} rows, not {rows:,}; use split and noise yourself."
            )
        return layout


def preset(name: str) -> Preset:
    """Return a preset by its name.

    Raises:
        ConfigError: if the name is not known.
    """
    if name not in PRESETS:
        raise ConfigError(unknown("preset", name, PRESETS))
    return PRESETS[name]


def _asymmetric(y: IntArray, p: float, *, num_classes: int, seed: int, on: IntArray) -> NoisyLabels:
    if num_classes != 10:
        raise ConfigError(f"asymmetric: this noise is for the 10 classes of CIFAR-10, not {num_classes}.")
    return pair_flip(y, p, num_classes=10, seed=seed, mapping=CIFAR10_ASYMMETRIC, on=on)


def _hierarchical(y: IntArray, p: float, *, num_classes: int, seed: int, on: IntArray) -> NoisyLabels:
    if num_classes != 100:
        raise ConfigError(f"hierarchical: this noise is for the 100 classes of CIFAR-100, not {num_classes}.")
    return within_groups(y, p, CIFAR100_SUPERCLASS, seed=seed, on=on)


_ALL = Layout({"train": "rest"})
_DIGITS = {DIGITS: Layout({"test": 540, "train": "rest"})}
_INCLUSIVE = partial(uniform, include_true=True)
_EXCLUSIVE = partial(uniform, include_true=False)

_PRESETS = (
    Preset(
        "mentornet",
        "all training rows corrupted, among all classes; a tenth of them also trusted with their clean labels",
        'Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on corrupted '
        'labels", ICML 2018',
        {
            CIFAR: Layout({"trusted": 5_000, "train": "rest"}, train_includes=("trusted",)),
            DIGITS: Layout({"test": 539, "trusted": 126, "train": "rest"}, train_includes=("trusted",)),
        },
        noises={"uniform": _INCLUSIVE},
        rates=(0.4, 0.2, 0.8),
    ),
    Preset(
        "meta-weight-net",
        "1,000 trusted rows, balanced; noise among all classes, to one or two fixed classes, or in the superclass",
        'Shu et al., "Meta-Weight-Net: learning an explicit mapping for sample weighting", NeurIPS 2019',
        {CIFAR: Layout({"trusted": 1_000, "train": "rest"})},
        noises={
            "uniform": _INCLUSIVE,  # the law of its code, which draws from the matrix (1-p) I + p/K 11'
            "flip": class_flip,
            "flip2": partial(class_flip, targets=2),
            "hierarchical": _hierarchical,
        },
        rates=(0.4, 0.2, 0.6),
    ),
    Preset(
        "dividemix",
        "an exact share of the rows gets a label among all classes",
        'Li, Socher and Hoi, "DivideMix: learning with noisy labels as semi-supervised learning", ICLR 2020',
        _DIGITS,
        _ALL,
        {"uniform": partial(_INCLUSIVE, count="exact")},
        (0.5, 0.2, 0.8, 0.9),
    ),
    Preset(
        "co-teaching",
        "each row gets a wrong label at the rate, any other class or the next one",
        'Han et al., "Co-teaching: robust training of deep neural networks with extremely noisy labels", NeurIPS 2018',
        _DIGITS,
        _ALL,
        {"uniform": _EXCLUSIVE, "pair-flip": pair_flip},
        (0.5, 0.2, 0.45),
    ),
    Preset(
        "jocor",
        "each row gets a wrong label at the rate, any other class",
        'Wei et al., "Combating noisy labels by agreement: a joint training method with co-regularization", CVPR 2020',
        _DIGITS,
        _ALL,
        {"uniform": _EXCLUSIVE},
        (0.5, 0.2, 0.8),
    ),
    Preset(
        "curml",
        "each row gets a wrong label at the rate, any other class",
        'Zhou et al., "CurML: a curriculum machine learning library", ACM Multimedia 2022',
        _DIGITS,
        _ALL,
        {"uniform": _EXCLUSIVE},
        (0.4,),
    ),
    Preset(
        "l2t-di",
        "a clean validation set; an exact share of the training rows gets a wrong label, any other class or the next",
        'Fan et al., "Learning to teach with deep interactions", 2020',
        {
            CIFAR: Layout({"validation": 5_000, "train": "rest"}),
            DIGITS: Layout({"test": 540, "validation": 126, "train": "rest"}),
        },
        noises={"uniform": partial(_EXCLUSIVE, count="exact"), "pair-flip": partial(pair_flip, count="exact")},
        rates=(0.4,),
    ),
    Preset(
        "mpl",
        "few labelled rows (train) beside many unlabelled ones: CIFAR-10 4,000, SVHN 1,000, ImageNet 10 %",
        'Pham et al., "Meta pseudo labels", CVPR 2021',
        {
            CIFAR: Layout({"train": 4_000, "validation": 5_000, "unlabelled": "rest"}),
            SVHN: Layout({"train": 1_000, "unlabelled": "rest"}),
            IMAGENET: Layout({"train": 128_000, "unlabelled": "rest"}, unlabelled_includes=("train",)),
        },
    ),
    Preset(
        "cifar10-asymmetric",
        "truck to automobile, bird to airplane, deer to horse, cat to dog and back",
        'Patrini et al., "Making deep neural networks robust to label noise: a loss correction approach", CVPR 2017',
        {CIFAR: _ALL},
        noises={"asymmetric": _asymmetric},
        rates=(0.4, 0.2),
    ),
)
PRESETS: Mapping[str, Preset] = {p.name: p for p in _PRESETS}
"""All presets by name."""
