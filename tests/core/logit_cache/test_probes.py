"""Which inputs, teachers and rows are refused at the start, and that looking leaves no trace."""

import random

import numpy as np
import pytest
import torch

from tutelage.data import Augmentation, Crop, Flip, Pipeline
from tutelage.errors import CheckpointError
from tutelage.logit_cache import LogitFile, NotCacheable, Storage, cached_logits
from tutelage.logit_cache.inputs import Inputs
from tutelage.logit_cache.probes import check_inputs, check_rows, check_teacher, own_randomness

from .common import Linear, rows, source

CPU = torch.device("cpu")


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
    found = check_teacher(Coarse(), Inputs(rows()), CPU)
    assert (found.classes, found.off) == (5, pytest.approx(1e-3, rel=0.01))
    assert found.fingerprint == Coarse().fingerprint()
    assert check_teacher(Linear(), Inputs(rows()), CPU).off < 1e-5
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
