"""Label files: the published layouts, rates, rows in another order, damaged and hostile files."""

import io
import os

import numpy as np
import pytest
import torch

from tutelage.data import from_arrays, join_labels, join_votes, noise_rates
from tutelage.data.label_files import COLUMNS, PUBLISHED_RATES
from tutelage.data.noise import probabilities, uniform
from tutelage.errors import ConfigError, DataError

N, K = 1_000, 10
Y = np.random.default_rng(0).integers(0, K, N)
SOURCE = from_arrays(np.zeros((N, 1), np.float32), Y, num_classes=K, name="cifar10-train")
RATES = {"aggregate": 0.09, "random1": 0.17, "random2": 0.18, "random3": 0.176, "worst": 0.4}
NOISY = {
    COLUMNS[short]: uniform(Y, p, include_true=False, num_classes=K, seed=seed, count="exact").noisy
    for seed, (short, p) in enumerate(RATES.items())
}
HUMAN = {"clean_label": Y, **NOISY}


def structured(columns):
    table = np.zeros(N, dtype=[(name, np.int64) for name in columns])
    for name, values in columns.items():
        table[name] = values
    return table


def written(path, columns=HUMAN, form="pt"):
    if form == "npz":
        np.savez(path.with_suffix(".npz"), **columns)
        return path.with_suffix(".npz")
    if form == "npy":
        np.save(path.with_suffix(".npy"), structured(columns))
        return path.with_suffix(".npy")
    path = path.with_suffix(".pt")
    make = {"tensors": torch.from_numpy, "lists": np.ndarray.tolist, "bytes": lambda v: v.astype(np.uint8)}
    columns = {name: make.get(form, np.asarray)(values) for name, values in columns.items()}
    torch.save(columns, path, _use_new_zipfile_serialization=form != "legacy")
    return path


@pytest.mark.parametrize("form", ["pt", "legacy", "tensors", "lists", "bytes", "npz", "npy"])
def test_every_form_of_the_file(tmp_path, form):
    path = written(tmp_path / "CIFAR-10_human", form=form)
    for short, name in COLUMNS.items():
        if short != "noisy":
            for column in (short, name):
                labels = join_labels(path, SOURCE, column)
                np.testing.assert_array_equal(labels.noisy, NOISY[name])
                np.testing.assert_array_equal(labels.clean, Y)
                assert labels.realised == pytest.approx(RATES[short])
                assert labels.convention == f"{path.name}: {name}"
                assert labels.seed is labels.requested is None
    assert noise_rates(str(path), SOURCE) == pytest.approx(RATES)


def test_published_rates():
    assert set(PUBLISHED_RATES) == set(RATES)
    assert PUBLISHED_RATES["aggregate"] == 0.0901
    assert PUBLISHED_RATES["worst"] == 0.4021


def test_files_of_older_numpy(tmp_path):
    path = written(tmp_path / "CIFAR-10_human", form="legacy")
    content = path.read_bytes()
    older = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    newer = content.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert older != newer
    for version in (older, newer):
        path.write_bytes(version)
        assert noise_rates(path, SOURCE) == pytest.approx(RATES)


def test_cifar100n_with_its_coarse_lists(tmp_path):
    noisy = uniform(Y, 0.4, include_true=False, num_classes=K, seed=9, count="exact").noisy
    columns = {"clean_label": Y, "noisy_label": noisy}
    torch.save({**columns, "noisy_coarse_label": [99] * N}, tmp_path / "CIFAR-100_human.pt")
    path = tmp_path / "CIFAR-100_human.pt"
    np.testing.assert_array_equal(join_labels(path, SOURCE, "noisy").noisy, noisy)
    assert noise_rates(path, SOURCE) == {"noisy": 0.4}
    with pytest.raises(DataError, match=r"noisy_coarse_label: label 99 at index 0; K is 10."):
        join_labels(path, SOURCE, "noisy_coarse_label")


def test_one_wrong_row_is_named(tmp_path):
    clean = Y.copy()
    clean[[417, 800]] = (clean[[417, 800]] + 1) % K
    path = written(tmp_path / "f", {**HUMAN, "clean_label": clean})
    want = (
        f"clean label {clean[417]} at row 417, but cifar10-train has {Y[417]} .2 of 1,000 rows differ.; the file is for"
    )
    for call in (lambda: join_labels(path, SOURCE, "worst"), lambda: noise_rates(path, SOURCE)):
        with pytest.raises(DataError, match=want):
            call()


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_nothing_is_unpickled(tmp_path):
    target, path = str(tmp_path / "built"), tmp_path / "CIFAR-10_human.pt"
    for legacy in (False, True):
        torch.save({**HUMAN, "aggre_label": Hostile(target)}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(DataError, match=r"not a PyTorch file of tensors and integer arrays; nothing else is read."):
            join_labels(path, SOURCE, "worst")
    objects = np.array([Hostile(target)], dtype=object)
    torch.save({**HUMAN, "aggre_label": objects}, path)
    with pytest.raises(DataError, match=r"nothing else is read."):
        join_labels(path, SOURCE, "worst")
    for name, save in (("a.npy", np.save), ("a.npz", np.savez)):
        save(tmp_path / name, objects)
        with pytest.raises(DataError, match=f"{name}: holds Python objects, which are not read; use the .pt file."):
            join_labels(tmp_path / name, SOURCE, "worst")
    np.save(tmp_path / "CIFAR-10_human.npy", HUMAN)  # a pickled dict, as the published twin
    with pytest.raises(DataError, match=r"CIFAR-10_human.npy: holds Python objects"):
        join_labels(tmp_path / "CIFAR-10_human.npy", SOURCE, "worst")
    assert not os.path.exists(target)


def test_the_allow_list_is_put_back(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    noise_rates(written(tmp_path / "f"), SOURCE)
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("form", ["pt", "legacy", "npz", "npy"])
def test_damaged_files_are_refused_or_right(tmp_path, form):
    path = written(tmp_path / "f", {"clean_label": Y, "worse_label": NOISY["worse_label"]}, form)
    content, rng = path.read_bytes(), np.random.default_rng(1)
    for trial in range(60):
        if trial % 2:
            damaged = content[: rng.integers(len(content))]
        else:
            at = int(rng.integers(min(len(content), 2_000)))
            damaged = content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]
        path.write_bytes(damaged)
        try:
            labels = join_labels(path, SOURCE, "worst")
        except (DataError, ConfigError):  # one of ours, never one of numpy, torch or zipfile
            continue
        assert (labels.clean == Y).all()


COUNTS = np.random.default_rng(2).multinomial(50, np.full(K, 0.02) + 0.8 * np.eye(K)[Y])


@pytest.mark.parametrize("probs", [False, True])
def test_votes(tmp_path, probs):
    counts = COUNTS.copy()
    wrong = np.arange(8)
    counts[wrong] = np.roll(counts[wrong], 1, axis=1)
    table = counts / counts.sum(1, keepdims=True) if probs else counts
    np.save(tmp_path / "cifar10h.npy", table)
    votes = join_votes(tmp_path / "cifar10h.npy", SOURCE)
    np.testing.assert_allclose(votes.probabilities, counts / 50)
    assert votes.agreement == pytest.approx(0.992)
    assert votes.mean_probability == pytest.approx(np.mean([counts[i, Y[i]] / 50 for i in range(N)]))
    np.testing.assert_array_equal(np.flatnonzero(votes.majority.mask), wrong)
    np.testing.assert_array_equal(votes.majority.noisy, counts.argmax(1))
    drawn = probabilities(Y, votes.probabilities, seed=0)
    assert drawn.realised == pytest.approx(1 - votes.mean_probability, abs=0.05)


def test_votes_in_another_order(tmp_path):
    path = tmp_path / "cifar10h-counts.npy"
    order = np.random.default_rng(3).permutation(N)
    np.save(path, COUNTS[order])
    majority = COUNTS[order].argmax(1)
    first = np.flatnonzero(majority != Y)[0]
    want = f"of the rows only; the first other row is {first}, votes for {majority[first]}, label {Y[first]};"
    with pytest.raises(DataError, match=want):
        join_votes(path, SOURCE)
    np.save(path, COUNTS)
    assert join_votes(path, SOURCE, clean=Y).agreement == 1
    with pytest.raises(DataError, match=r"clean label . at row 0, but cifar10-train has"):
        join_votes(path, SOURCE, clean=(Y + 1) % K)


def saved(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif name.endswith(".npy"):
        np.save(path, content)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("name", "content", "column", "error", "message"),
    [
        (
            "f.pt",
            HUMAN,
            "wurst",
            ConfigError,
            'unknown label column "wurst". Did you mean "worst".* Known: aggregate, ',
        ),
        ("f.pt", {"worse_label": Y}, "worst", DataError, 'no column "clean_label" among worse_label; rows cannot'),
        ("f.pt", {**HUMAN, "clean_label": Y[:9]}, "worst", DataError, "9 rows, but cifar10-train has 1,000."),
        ("f.pt", {**HUMAN, "worse_label": Y[:9]}, "worst", DataError, "9 noisy labels for 1000 clean ones."),
        ("f.pt", {**HUMAN, "worse_label": Y + 1}, "worst", DataError, "worse_label: label 10 at index .*; K is 10."),
        ("f.pt", {**HUMAN, "worse_label": torch.ones(N)}, "worst", DataError, "worse_label: y is float32"),
        ("f.pt", {**HUMAN, "worse_label": [[1], [2, 3]]}, "worst", DataError, "worse_label holds no labels."),
        ("f.pt", torch.ones(3), "worst", DataError, "a dict of label columns is needed, or an .npz"),
        ("f.pt", {1: Y}, "worst", DataError, "a dict of label columns is needed"),
        ("f.pt", b"", "worst", DataError, "f.pt: not a readable label file."),
        ("f.pt", b"PK\3\4 no zip", "worst", DataError, "f.pt: not a readable label file."),
        ("f.npy", b"\x93NUMPY", "worst", DataError, "f.npy: not a readable label file."),
        ("f.npy", Y, "worst", DataError, "a dict of label columns is needed, or an .npz"),
    ],
)
def test_bad_label_files(tmp_path, name, content, column, error, message):
    with pytest.raises(error, match=message):
        join_labels(saved(tmp_path, name, content), SOURCE, column)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (COUNTS[:9], r"shape \(9, 10\), needs \(1000, 10\) for cifar10-train."),
        (COUNTS[:, :9], r"shape \(1000, 9\), needs \(1000, 10\)"),
        (COUNTS - np.eye(N, K) * 99, "row 0 is .*; it needs numbers >= 0, not all 0."),
        (COUNTS * (np.arange(N) != 5)[:, None], r"row 5 is \[0, 0, 0, 0, 0, 0, 0, 0, 0, 0\]; it needs"),
        (np.where(np.eye(N, K) > 0, np.nan, COUNTS), "row 0 is .*nan.*; it needs numbers >= 0"),
        (np.full((N, K), "a"), r"one array of numbers is needed, of shape \(1000, 10\)."),
    ],
)
def test_bad_votes(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        join_votes(saved(tmp_path, "cifar10h-counts.npy", content), SOURCE)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"CIFAR-10_human.pt: no such file; label files are not distributed"):
        noise_rates(tmp_path / "CIFAR-10_human.pt", SOURCE)


def test_legacy_stream_is_refused_like_any_other(tmp_path):
    buffer = io.BytesIO()
    torch.save({"clean_label": Y, "f": np.float32}, buffer)
    path = saved(tmp_path, "f.pt", buffer.getvalue())
    with pytest.raises(DataError, match=r"nothing else is read."):
        noise_rates(path, SOURCE)
