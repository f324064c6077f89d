"""Presets: counts of roles, conventions and rates of noise, the superclasses of CIFAR-100, bad input."""

import numpy as np
import pytest

from tutelage.data import CIFAR10_ASYMMETRIC, PRESETS, from_arrays, preset
from tutelage.data.published import CIFAR100_SUPERCLASS, CIFAR100_SUPERCLASSES
from tutelage.errors import ConfigError, DataError

CIFAR10 = np.repeat(np.arange(10), 5_000)
CIFAR100 = np.repeat(np.arange(100), 500)
DIGITS = np.repeat(np.arange(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
SVHN = np.arange(604_388) % 10
IMAGENET = np.arange(1_281_167) % 1_000
LABELS = {50_000: (CIFAR10, 10), 1_797: (DIGITS, 10), 604_388: (SVHN, 10), 1_281_167: (IMAGENET, 1_000)}
NOISE_ONLY = ("dividemix", "co-teaching", "jocor", "curml")


def prepared(name, rows=50_000, **options):
    y, k = LABELS[rows]
    return preset(name).prepare(y, seed=0, num_classes=k, **options)


@pytest.mark.parametrize(
    ("name", "rows", "sizes"),
    [
        ("mentornet", 50_000, {"train": 50_000, "trusted": 5_000}),
        ("mentornet", 1_797, {"train": 1_258, "trusted": 126, "test": 539}),
        ("meta-weight-net", 50_000, {"train": 49_000, "trusted": 1_000}),
        ("l2t-di", 50_000, {"train": 45_000, "validation": 5_000}),
        ("l2t-di", 1_797, {"train": 1_131, "validation": 126, "test": 540}),
        ("mpl", 50_000, {"train": 4_000, "validation": 5_000, "unlabelled": 41_000}),
        pytest.param("mpl", 604_388, {"train": 1_000, "unlabelled": 603_388}, marks=pytest.mark.slow),
        pytest.param("mpl", 1_281_167, {"train": 128_000, "unlabelled": 1_281_167}, marks=pytest.mark.slow),
        ("cifar10-asymmetric", 50_000, {"train": 50_000}),
        *[(name, 50_000, {"train": 50_000}) for name in NOISE_ONLY],
        *[(name, 1_797, {"train": 1_257, "test": 540}) for name in NOISE_ONLY],
    ],
)
def test_counts(name, rows, sizes):
    roles, labels = prepared(name, rows)
    for role in ("train", "trusted", "unlabelled", "validation", "test"):
        assert len(roles[role]) == sizes.get(role, 0)
    closed = np.setdiff1d(np.arange(rows), roles.train)
    assert not labels.mask[closed].any()
    assert len(np.unique(np.concatenate([roles[role] for role in sizes]))) == rows


def test_every_preset_is_counted():
    assert set(PRESETS) == {"mentornet", "meta-weight-net", "l2t-di", "mpl", "cifar10-asymmetric", *NOISE_ONLY}
    for name, entry in PRESETS.items():
        assert entry.name == name
        assert entry.description
        assert entry.citation


def test_overlaps():
    roles = prepared("mentornet").split
    assert np.isin(roles.trusted, roles.train).all()
    assert roles.overlaps == (("train", "trusted"),)
    roles = prepared("mpl").split
    assert not np.intersect1d(roles.train, roles.unlabelled).size


@pytest.mark.slow
def test_the_unlabelled_rows_of_imagenet_hold_the_labelled_ones():
    roles = prepared("mpl", 1_281_167).split
    assert roles.overlaps == (("unlabelled", "train"),)
    assert np.isin(roles.train, roles.unlabelled).all()


def test_balanced_roles():
    for name, role, share in (
        ("meta-weight-net", "trusted", 100),
        ("mpl", "train", 400),
        ("l2t-di", "validation", 500),
    ):
        assert (np.bincount(CIFAR10[prepared(name).split[role]]) == share).all()


EYE, ONES = np.eye(10), np.ones((10, 10))
INCLUSIVE = {p: (1 - p) * EYE + p / 10 * ONES for p in (0.2, 0.4, 0.5)}
EXCLUSIVE = {p: (1 - p) * EYE + p / 9 * (ONES - EYE) for p in (0.2, 0.4, 0.5)}
PAIR = np.roll(EYE, 1, axis=1)


@pytest.mark.parametrize(
    ("name", "options", "matrix", "changed"),
    [
        ("mentornet", {}, INCLUSIVE[0.4], None),
        ("mentornet", {"rate": 0.2}, INCLUSIVE[0.2], None),
        ("meta-weight-net", {}, INCLUSIVE[0.4], None),
        ("dividemix", {}, INCLUSIVE[0.5], None),
        ("co-teaching", {}, EXCLUSIVE[0.5], None),
        ("co-teaching", {"kind": "pair-flip", "rate": 0.45}, 0.55 * EYE + 0.45 * PAIR, None),
        ("jocor", {"rate": 0.2}, EXCLUSIVE[0.2], None),
        ("curml", {}, EXCLUSIVE[0.4], None),
        ("l2t-di", {}, EXCLUSIVE[0.4], 18_000),
        ("l2t-di", {"kind": "pair-flip"}, 0.6 * EYE + 0.4 * PAIR, 18_000),
        ("mpl", {}, EYE, 0),
    ],
)
def test_conventions(name, options, matrix, changed):
    roles, labels = prepared(name, **options)
    np.testing.assert_allclose(labels.matrix, matrix, atol=1e-12)
    n, p = len(roles.train), labels.expected
    assert abs(labels.mask.sum() - n * p) <= 5 * np.sqrt(n * p * (1 - p))
    assert labels.realised == pytest.approx(labels.mask[roles.train].mean())
    if changed is not None:
        assert labels.mask.sum() == changed


def test_exact_counts():
    assert prepared("dividemix", rate=0.2).labels.selected.sum() == 10_000
    assert prepared("l2t-di", 1_797).labels.mask.sum() == 452  # floor(.4 * 1131 + .5)


@pytest.mark.parametrize(("kind", "targets"), [("flip", 1), ("flip2", 2)])
def test_flips_of_meta_weight_net(kind, targets):
    labels = prepared("meta-weight-net", kind=kind).labels
    for a in range(10):
        new, counts = np.unique(labels.noisy[labels.mask & (labels.clean == a)], return_counts=True)
        assert len(new) == targets
        assert (np.abs(counts - 4_900 * 0.4 / targets) < 200).all()


def test_hierarchical_noise_stays_in_the_superclass():
    labels = preset("meta-weight-net").prepare(CIFAR100, seed=0, num_classes=100, kind="hierarchical").labels
    group = np.asarray(CIFAR100_SUPERCLASS)
    assert (group[labels.noisy] == group[labels.clean]).all()
    assert labels.expected == pytest.approx(0.4)
    assert 0.38 < labels.realised < 0.42
    assert len(np.unique(labels.noisy[labels.clean == 0])) == 5


def test_asymmetric_noise():
    labels = prepared("cifar10-asymmetric").labels
    for a in range(10):
        new = np.unique(labels.noisy[labels.clean == a])
        assert new.tolist() == sorted({a, CIFAR10_ASYMMETRIC.get(a, a)})
    assert labels.expected == pytest.approx(0.2)


def test_a_source_knows_its_classes():
    source = from_arrays(np.zeros((1_797, 1), np.float32), DIGITS, num_classes=10)
    roles, labels = preset("l2t-di").prepare(source, seed=3)
    other = preset("l2t-di").prepare(DIGITS, seed=3, num_classes=10)
    np.testing.assert_array_equal(roles.train, other.split.train)
    np.testing.assert_array_equal(labels.noisy, other.labels.noisy)
    assert (preset("l2t-di").prepare(source, seed=4).split.test != roles.test).any()


SUPERCLASS_OF = {
    "aquatic mammals": (4, 30, 55, 72, 95),  # beaver, dolphin, otter, seal, whale
    "fish": (1, 32, 67, 73, 91),  # aquarium fish, flatfish, ray, shark, trout
    "flowers": (54, 62, 70, 82, 92),  # orchid, poppy, rose, sunflower, tulip
    "food containers": (9, 10, 16, 28, 61),  # bottle, bowl, can, cup, plate
    "fruit and vegetables": (0, 51, 53, 57, 83),  # apple, mushroom, orange, pear, sweet pepper
    "household electrical devices": (22, 39, 40, 86, 87),  # clock, keyboard, lamp, telephone, television
    "household furniture": (5, 20, 25, 84, 94),  # bed, chair, couch, table, wardrobe
    "insects": (6, 7, 14, 18, 24),  # bee, beetle, butterfly, caterpillar, cockroach
    "large carnivores": (3, 42, 43, 88, 97),  # bear, leopard, lion, tiger, wolf
    "large man-made outdoor things": (12, 17, 37, 68, 76),  # bridge, castle, house, road, skyscraper
    "large natural outdoor scenes": (23, 33, 49, 60, 71),  # cloud, forest, mountain, plain, sea
    "large omnivores and herbivores": (15, 19, 21, 31, 38),  # camel, cattle, chimpanzee, elephant, kangaroo
    "medium-sized mammals": (34, 63, 64, 66, 75),  # fox, porcupine, possum, raccoon, skunk
    "non-insect invertebrates": (26, 45, 77, 79, 99),  # crab, lobster, snail, spider, worm
    "people": (2, 11, 35, 46, 98),  # baby, boy, girl, man, woman
    "reptiles": (27, 29, 44, 78, 93),  # crocodile, dinosaur, lizard, snake, turtle
    "small mammals": (36, 50, 65, 74, 80),  # hamster, mouse, rabbit, shrew, squirrel
    "trees": (47, 52, 56, 59, 96),  # maple, oak, palm, pine, willow
    "vehicles 1": (8, 13, 48, 58, 90),  # bicycle, bus, motorcycle, pickup truck, train
    "vehicles 2": (41, 69, 81, 85, 89),  # lawn mower, rocket, streetcar, tank, tractor
}


def test_superclasses_of_cifar100():
    assert tuple(SUPERCLASS_OF) == CIFAR100_SUPERCLASSES
    for number, classes in enumerate(SUPERCLASS_OF.values()):
        assert tuple(c for c in range(100) if CIFAR100_SUPERCLASS[c] == number) == classes


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: preset("mentor-net"), ConfigError, 'unknown preset "mentor-net". Did you mean "mentornet".'),
        (
            lambda: prepared("meta-weight-net", 1_797),
            ConfigError,
            "its counts are for 50,000 rows, not 1,797; use split",
        ),
        (lambda: prepared("mentornet", 604_388), ConfigError, "for 50,000 or 1,797 rows, not 604,388"),
        (lambda: prepared("mpl", rate=0.4), ConfigError, "mpl: it has no label noise; leave rate and kind out."),
        (lambda: prepared("mpl", kind="uniform"), ConfigError, "mpl: it has no label noise"),
        (
            lambda: prepared("meta-weight-net", kind="flip3"),
            ConfigError,
            'unknown noise of meta-weight-net "flip3". Did you mean "flip".',
        ),
        (lambda: prepared("mentornet", rate=1.5), ConfigError, r"p is 1.5; it must lie in \[0, 1\]."),
        (
            lambda: prepared("meta-weight-net", kind="hierarchical"),
            ConfigError,
            "hierarchical: this noise is for the 100 classes of CIFAR-100, not 10.",
        ),
        (
            lambda: preset("cifar10-asymmetric").prepare(CIFAR100, seed=0, num_classes=100),
            ConfigError,
            "asymmetric: this noise is for the 10 classes of CIFAR-10, not 100.",
        ),
        (lambda: preset("mpl").prepare(CIFAR10, seed=0), ConfigError, "mpl: the number of classes is not known"),
        (
            lambda: preset("dividemix").prepare(CIFAR10, seed=0, num_classes=9),
            DataError,
            "label 9 at index 45000; K is 9.",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
