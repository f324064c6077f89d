"""Which changes of inputs, teachers and rows are seen, and that looking leaves no trace."""

import math
import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tutelage.data import Augmentation, Crop, Flip, Pipeline
from tutelage.errors import CheckpointError, StaleTarget
from tutelage.logit_cache import LogitFile, NotCacheable, Storage, cached_logits
from tutelage.logit_cache.inputs import Inputs
from tutelage.logit_cache.probes import (
    TOLERANCE,
    _products,
    check_fresh,
    check_inputs,
    check_rows,
    check_teacher,
    norms,
    own_randomness,
    probes,
)
from tutelage.randomness import counter, stream

from .common import Linear, rows, source

DIGITS = torch.from_numpy(load_digits().images.astype(np.float32))[:, None] / 16
CPU = torch.device("cpu")


def moved(changed):
    """Per digit the largest change of a probe, as a share of its norm."""
    return np.abs(probes(changed) - probes(DIGITS)).max(1) / norms(DIGITS).numpy()


def test_the_vectors_are_fixed_and_normal():
    key, size = stream(0, "input probes"), 3
    for vector in range(4):
        for place in range(size):
            u, v = (((counter(key, k, vector * size + place) >> 11) + 0.5) / 2**53 for k in (0, 1))
            needed = math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)
            assert probes(torch.eye(size))[place, vector] == pytest.approx(needed, rel=1e-6)
    many = probes(torch.eye(2000))
    assert abs(many.mean()) < 0.03
    assert abs(many.std() - 1) < 0.03
    assert np.abs(np.corrcoef(many.T) - np.eye(4)).max() < 0.08


def test_probes_are_products_of_flattened_rows():
    x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    unit = torch.from_numpy(probes(torch.eye(6)))
    torch.testing.assert_close(torch.from_numpy(probes(x)), x.flatten(1) @ unit)
    torch.testing.assert_close(torch.from_numpy(probes(x.double())), x.flatten(1) @ unit)
    torch.testing.assert_close(
        torch.from_numpy(probes(x.transpose(0, 1).contiguous().transpose(0, 1))), x.flatten(1) @ unit
    )
    torch.testing.assert_close(norms(x), x.flatten(1).norm(dim=1))
    whole = (255 * torch.rand(7, 6)).to(torch.uint8)
    torch.testing.assert_close(torch.from_numpy(probes(whole)), whole.float() @ unit)


def test_the_form_for_other_devices():
    np.testing.assert_allclose(_products(DIGITS.flatten(1)).numpy(), probes(DIGITS), atol=1e-5)


def test_autocast_and_the_precision_of_products_do_not_matter():
    needed = probes(DIGITS)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert np.array_equal(probes(DIGITS), needed)
    finally:
        torch.set_float32_matmul_precision(before)


def test_which_changes_of_the_digits_are_seen():
    rolled = DIGITS.roll(1, 0)
    seen = {
        "flip": moved(DIGITS.flip(-1)),
        "shift": moved(torch.nn.functional.pad(DIGITS, (1, -1, 0, 0))),
        "mixup": moved(0.99 * DIGITS + 0.01 * rolled),
        "bfloat16": moved(DIGITS.mul(0.7).bfloat16().float() / 0.7),
        "one pixel": moved(DIGITS + 0.01 * (torch.arange(64) == 27).float().view(8, 8)),
    }
    for name, shares in seen.items():
        assert shares.min() > TOLERANCE, name
    assert seen["flip"].min() > 0.03
    assert seen["shift"].min() > 0.03
    alone = np.concatenate([probes(row[None]) for row in DIGITS])
    assert (np.abs(alone - probes(DIGITS)).max(1) / norms(DIGITS).numpy()).max() < 5e-6  # twenty times below


def test_the_message_names_the_row():
    stored, norm, index = probes(DIGITS[:4]), norms(DIGITS[:4]).numpy(), torch.tensor([10, 20, 30, 40])
    check_fresh(DIGITS[:4], stored, norm, index, None)
    x = DIGITS[:4].clone()
    x[2:] += 0.1
    with pytest.raises(StaleTarget) as caught:
        check_fresh(x, stored, norm, index, torch.tensor([0, 1, 2, 3]))
    share = (np.abs(probes(x) - stored).max(1) / norm)[2]
    assert str(caught.value) == (
        f"the input of example 30 (view 2) is not the one whose logits are stored: it has moved by {share:.2g} of its "
        "norm, and so have 2 of 4 rows. Random augmentation needs augment(..., views=V) for the cache and for the "
        'batches, or mode="off".'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_inputs_that_are_not_finite_are_stale(value):
    stored, norm = probes(DIGITS[:4]), norms(DIGITS[:4]).numpy()
    x = DIGITS[:4].clone()
    x[3, 0, 0, 0] = value
    with pytest.raises(StaleTarget, match="the input of example 3 is not"):
        check_fresh(x, stored, norm, torch.arange(4), None)


def test_an_input_of_zeros():
    zeros = torch.zeros(1, 4)
    check_fresh(zeros, probes(zeros), norms(zeros).numpy(), torch.arange(1), None)
    with pytest.raises(StaleTarget):
        check_fresh(zeros + 1e-9, probes(zeros), norms(zeros).numpy(), torch.arange(1), None)


# The start -----------------------------------------------------------------------------------------------------------


class Flipped:
    """A data set that flips at random, by one of the global generators or by one of its own."""

    def __init__(self, by, *, turned=True):
        self.x = torch.from_numpy(source().x.astype(np.float32))
        self.turned = turned
        self.by, self.own = by, np.random.default_rng(0)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        draws = {"torch": lambda: float(torch.rand(())), "numpy": np.random.random, "python": random.random}
        draw = draws.get(self.by, self.own.random)()
        return (self.x[i].flip(-1) if draw < 0.5 and self.turned else self.x[i]), 0


@pytest.mark.parametrize("by", ["torch", "numpy", "python", "its own"])
def test_random_data_sets_are_found_whatever_they_draw_from(by):
    with pytest.raises(
        NotCacheable, match=r"the inputs are random: example \d+ looks different in two passes. Declare"
    ):
        check_inputs(Inputs(Pipeline.from_dataset(Flipped(by))))


def test_a_random_augmentation_must_be_a_bank_of_views():
    plain = Pipeline.from_source(source())
    for undeclared in (
        plain.augment(Augmentation(Flip())),
        plain.random_map(lambda pair, generator: (pair[0] + generator.random(), pair[1])),
        plain.augment(Augmentation(Crop(1)), views=2).map(lambda p: p).augment(Augmentation(Flip())),
    ):
        with pytest.raises(NotCacheable, match="the inputs are random"):
            check_inputs(Inputs(undeclared))
    for declared in (
        plain.augment(Augmentation(Flip()), views=3),
        plain.augment(Augmentation(Flip())).cache(),
        plain.augment(Augmentation(Crop(1)), views=2).augment(Augmentation(Flip()), views=3),
    ):
        check_inputs(Inputs(declared))
    assert Inputs(declared).views == 6


def test_rows_by_place_and_pass():
    index = np.array([40, 7, 23])
    data = Pipeline.from_source(source(), index=index, seed=3).augment(Augmentation(Crop(1), Flip()), views=2)
    inputs = Inputs(data.shuffle().repeat())
    assert inputs.index.tolist() == [7, 23, 40]
    for epoch in range(4):
        needed = {r.index: r.value[0] for r in data.records(epoch)}
        given = inputs.at(np.array([2, 0, 1, 0]), epoch)
        for x, name in zip(given, [40, 7, 23, 7]):
            assert torch.equal(x, needed[name])
    assert torch.equal(inputs.at(np.arange(3), 1), inputs.at(np.arange(3), 3))


def test_looking_leaves_no_trace(tmp_path):
    torch.rand(()), np.random.random(), random.random()  # noqa: NPY002

    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    for by in ("torch", "numpy", "python"):
        assert cached_logits(Linear(), Pipeline.from_dataset(Flipped(by)), epochs=2).file is None
    harmless = Pipeline.from_dataset(Flipped("torch", turned=False))
    assert cached_logits(Linear(), harmless, epochs=2, path=tmp_path / "b").file is not None
    source_of_all = cached_logits(Linear(), rows(), epochs=2, path=tmp_path / "a")
    for batch in rows().shuffle().batch(8).batches():
        source_of_all.answers_for(batch)
    with pytest.raises(ZeroDivisionError), own_randomness(1 << 70):
        torch.rand(()), np.random.random(), random.random(), 1 / 0  # noqa: NPY002
    assert states() == before


class Dropping(Linear):
    def answers(self, x):
        return torch.nn.functional.dropout(super().answers(x), 0.1)


class Normalising(Linear):
    def answers(self, x):
        z = super().answers(x)
        return (z - z.mean(0)) / z.std(0)


class Wide(Linear):
    def answers(self, x):
        return super().answers(x)[:, None]


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        (Dropping(), "the teacher is random: it answers differently to the same rows, as with dropout"),
        (Normalising(), "depends on the other rows of the batch, as with batch norm in training mode"),
        (Wide(), r"the teacher's answers have shape \(32, 1, 5\); only logits \(N, C\) can be kept"),
    ],
    ids=["random", "coupled", "wide"],
)
def test_teachers_whose_answers_cannot_be_kept(teacher, reason):
    with pytest.raises(NotCacheable, match=reason):
        check_teacher(teacher, Inputs(rows()), CPU)


class Coarse(Linear):
    """Rounds otherwise in batches of other sizes, as 16 bits do."""

    def answers(self, x):
        return super().answers(x) * (1 + 1e-3 * (len(x) % 2 - 0.5 + (len(x) < 20)))


def test_a_coarse_teacher_is_allowed_for(tmp_path):
    classes, off = check_teacher(Coarse(), Inputs(rows()), CPU)
    assert (classes, off) == (5, pytest.approx(1e-3, rel=0.01))
    assert check_teacher(Linear(), Inputs(rows()), CPU)[1] < 1e-5
    assert cached_logits(Coarse(), rows(), epochs=2, path=tmp_path / "a", storage=Storage("float32")).file is not None


def test_a_teacher_that_is_not_what_it_says_is_found_by_its_rows(tmp_path):
    class Lying(Linear):
        """Has the fingerprint of another one."""

        off = 0.0

        def answers(self, x):
            return super().answers(x) + self.off

    teacher, inputs = Lying(), Inputs(rows())
    for precision in ("float32", "float16", "bfloat16"):
        teacher.off = 0.0
        cached_logits(teacher, rows(), epochs=2, path=tmp_path / precision, storage=Storage(precision))
        largest = float(Linear().answers(inputs.at(np.arange(60), 0)).abs().max())
        teacher.off = 0.05 * largest
        with pytest.raises(CheckpointError) as caught:
            cached_logits(teacher, rows(), epochs=2, path=tmp_path / precision, storage=Storage(precision))
        text = str(caught.value)
        assert f"{tmp_path / precision}: the logits of example " in text
        assert " (view 0) differ from the teacher's by " in text
        assert text.endswith(
            "remove the file, or allow for it by tolerance=... if the teacher runs in less than 32 bits."
        )
        check_rows(LogitFile(tmp_path / precision), teacher, inputs, CPU, tolerance=largest)
