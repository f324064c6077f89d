"""Answers from a file: the same as live ones, for the same rows only, or live with a reason."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from tutelage import SGD, Student
from tutelage.data import Augmentation, Crop, Cutmix, Flip, Mixup, Normalise, Pipeline
from tutelage.errors import CheckpointError, ConfigError, DataError, StaleTarget
from tutelage.frozen import Frozen
from tutelage.lesson import Batch, Mixed
from tutelage.logit_cache import Storage, cached_logits
from tutelage.logit_cache.cached import _in_one_copy, on_host
from tutelage.soft_targets import TopLogits, top_logits
from tutelage.teachers import Distillation

from .common import CLASSES, Linear, rows, source

BOUNDS = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
LOOKS = Augmentation(Crop(1), Flip())


def made(data=None, *, teacher=None, epochs=10, **options):
    return cached_logits(teacher or Linear(), rows() if data is None else data, epochs=epochs, **options)


def check_rows_equal(answers, batches, precision="float32", teacher=None):
    for batch in batches:
        live, given = (teacher or Linear()).answers(batch.x), answers.answers_for(batch)
        assert ((given - live).abs() <= BOUNDS[precision] * live.abs() + 1e-4 * live.abs().clamp_min(1)).all()
        check_counts(answers, batch, hit=len(batch))


def check_counts(answers, batch, hit=0, live=0, refused=0, source="cache"):
    notes = answers.notes(batch)
    assert (notes["source"], notes["hit"], notes["live"], notes["refused"]) == (source, hit, live, refused)
    assert notes["views"] is batch.view


# The same as live ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", BOUNDS)
def test_rows_equal_live_rows_within_the_bound(precision):
    answers = made(storage=Storage(precision), mode="force")
    check_rows_equal(answers, rows().shuffle().repeat().batch(16).batches(12), precision)


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"prefetch": 3}, {"rank": 1, "world": 2}], ids=str)
def test_an_id_has_its_row_in_whatever_order_it_comes(drop, options):
    if options.get("world") and not drop:
        options = options | {"pad": True}
    data = rows(index=np.arange(59)).with_seed(5)
    answers = made(data)
    known = {}
    for epoch in range(2):
        for batch in data.shuffle().batch(16, drop_remainder=drop).batches(epoch=epoch, **options):
            if batch.index.min() < 0:
                continue  # filled up, hence live
            for name, z in zip(batch.index.tolist(), answers.answers_for(batch)):
                assert torch.equal(known.setdefault(name, z), z)
    assert len(known) > 20


@pytest.mark.slow
def test_batches_of_other_processes():
    data = rows().augment(LOOKS, views=2)
    check_rows_equal(
        made(data, mode="force", storage=Storage("float32")), data.shuffle().repeat().batch(16).batches(9, workers=2)
    )


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_of_torch(workers, drop):
    x = next(rows().batch(60).batches()).x
    loader = torch.utils.data.DataLoader(
        [(x[i], i) for i in range(60)], 16, shuffle=True, drop_last=drop, num_workers=workers,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    answers, known = made(storage=Storage("float32")), {}
    for _ in range(2):
        batches = [Batch(x, index, index) for x, index in loader]
        assert len(batches) == (3 if drop else 4)
        check_rows_equal(answers, batches)
        for batch in batches:
            for name, z in zip(batch.index.tolist(), answers.answers_for(batch)):
                assert torch.equal(known.setdefault(name, z), z)
    assert len(known) > 50


def test_every_view_has_its_own_rows():
    data = Pipeline.from_source(source(), seed=4).augment(LOOKS, views=3)
    answers = made(data, storage=Storage("float32"), mode="force")
    check_rows_equal(answers, data.shuffle().repeat().batch(16).batches(30))
    views = torch.cat([b.view for b in data.repeat().batch(16).batches(12)])
    assert views.tolist() == [0] * 60 + [1] * 60 + [2] * 60 + [0] * 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_and_shapes_of_answers(dtype):
    answers = made(storage=Storage("float32"))
    batch = next(rows().batch(8).batches())
    wide = torch.zeros(8, 1, 6, 12, dtype=dtype)
    wide[..., ::2] = batch.x
    given = answers.answers_for(Batch(wide[..., ::2], batch.y, batch.index))
    assert (given.dtype, given.shape, given.requires_grad) == (dtype, (8, CLASSES), False)
    one = answers.answers_for(Batch(wide[:1, ..., ::2], batch.y[:1], batch.index[:1]))
    assert torch.equal(one, given[:1])
    x = batch.x.clone().requires_grad_()
    assert not answers.answers_for(Batch(x, batch.y, batch.index)).requires_grad


def test_one_row():
    data = Pipeline.from_source(source(), index=np.array([7])).augment()
    check_rows_equal(made(data, storage=Storage("float32")), data.batch(1).batches())


def test_the_largest_logits():
    answers = made(storage=Storage("float32", top=2, temperatures=(1.0, 3.0)), mode="force")
    for batch in rows().shuffle().batch(16).batches():
        needed, given = top_logits(Linear().answers(batch.x), 2, (1.0, 3.0)), answers.answers_for(batch)
        assert isinstance(given, TopLogits)
        assert torch.equal(given.indices, needed.indices)
        torch.testing.assert_close((given.values, given.tail), (needed.values, needed.tail))
    with pytest.raises(ConfigError, match=r'mix="interpolate" needs all logits; the largest few of two rows cannot'):
        made(storage=Storage(top=2), mix="interpolate")


def test_copies():
    answers = made()
    batch = next(rows().batch(16).batches())
    needed = answers.answers_for(batch)
    for other in (pickle.loads(pickle.dumps(answers)), copy.deepcopy(answers)):  # noqa: S301
        assert torch.equal(other.answers_for(batch), needed)
        check_counts(other, batch, hit=16)


def test_the_same_on_a_frozen_network():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, CLASSES))
    teacher = Frozen(net)
    data = Pipeline.from_source(source()).augment(LOOKS, views=2)
    answers = made(data, teacher=teacher, storage=Storage("float32"), mode="force")
    check_rows_equal(answers, data.shuffle().repeat().batch(16).batches(12), teacher=teacher)
    assert answers.notes(next(data.batch(4).batches()))["teacher"] == teacher.identity


def test_the_teacher_may_go():
    teacher = Linear()
    gone = weakref.ref(teacher)
    answers = cached_logits(teacher, rows(), epochs=2, keep_teacher=False)
    del teacher
    gc.collect()
    assert gone() is None
    batch = next(rows().batch(16).batches())
    answers.answers_for(batch)
    with pytest.raises(
        ConfigError, match=r"the batch is mixed, or some of its rows have no ids, and the teacher was let"
    ):
        answers.answers_for(Batch(batch.x, batch.y, torch.full_like(batch.index, -1)))
    live = cached_logits(Linear(), rows(), epochs=1, keep_teacher=False)
    live.answers_for(batch)


# Other rows ----------------------------------------------------------------------------------------------------------


def shifted(batch):
    return torch.nn.functional.pad(batch.x, (1, -1, 0, 0)), batch.index


def slightly_mixed(batch):
    return 0.99 * batch.x + 0.01 * batch.x.roll(1, 0), batch.index


def permuted(batch):
    return batch.x, batch.index.roll(1)


def brighter(batch):
    return batch.x * 1.001, batch.index


@pytest.mark.parametrize("change", [shifted, slightly_mixed, permuted, brighter])
@pytest.mark.parametrize("mode", ["auto", "force"])
def test_inputs_that_the_teacher_did_not_see_are_stale(mode, change):
    answers = made(mode=mode)
    batch = next(rows().shuffle().batch(16).batches())
    x, index = change(batch)
    with pytest.raises(
        StaleTarget, match=rf"the input of example {int(index[0])} is not the one whose logits are stored"
    ):
        answers.answers_for(Batch(x, batch.y, index))
    x = torch.cat([batch.x[:-1], x[-1:]])
    with pytest.raises(StaleTarget, match=r"and so have \d+ of 16 rows"):
        answers.answers_for(Batch(x, batch.y, torch.cat([batch.index[:-1], index[-1:]])))


def test_views_that_are_declared_for_the_cache_alone_or_otherwise():
    plain = Pipeline.from_source(source(), seed=4)
    answers = made(plain.augment(LOOKS, views=2))
    with pytest.raises(
        DataError, match=r"has 2 views of each row, but the batch does not say which it holds; use augment"
    ):
        answers.answers_for(next(plain.augment(LOOKS).batch(8).batches()))
    with pytest.raises(StaleTarget, match=r"has 2 views of each row, but the batch holds view 2; declare as many"):
        answers.answers_for(next(plain.augment(LOOKS, views=3).batch(8).batches(epoch=2)))
    with pytest.raises(StaleTarget, match=r"the input of example \d+ \(view 1\) is not the one"):
        answers.answers_for(next(plain.with_seed(5).augment(LOOKS, views=2).batch(60).batches(epoch=1)))
    with pytest.raises(DataError, match="has no logits of example 59; make it of all rows that are taught"):
        made(rows(index=np.arange(59))).answers_for(next(rows().batch(60).batches()))


# Live ----------------------------------------------------------------------------------------------------------------


def check_live(answers, reason):
    assert answers.file is None
    assert reason in answers.reason
    batch = next(rows().batch(8).batches())
    assert torch.equal(answers.answers_for(batch), Linear().answers(batch.x))
    check_counts(answers, batch, live=8, source="live")
    notes = answers.notes(batch)
    assert notes["reason"] == answers.reason
    assert notes["teacher"] == Linear().identity


def test_modes(tmp_path):
    check_live(made(mode="off"), "the cache is off")
    check_live(made(epochs=1), "a cache pays from 2 epochs on, not for 1")
    check_live(made(epochs=1.5, path=tmp_path / "a"), "a cache pays from 2 epochs on, not for 1.5")
    assert not (tmp_path / "a").exists()
    assert made(epochs=1, mode="force").file is not None
    assert made(epochs=2).file is not None
    with pytest.raises(ConfigError, match=r'unknown mode "on"\. .*Known: auto, off, force'):
        made(mode="on")
    with pytest.raises(ConfigError, match=r'unknown mix "interpolated"\. Did you mean "interpolate"'):
        made(mix="interpolated")


class Flipped(torch.utils.data.Dataset):
    """Flips at random, as a transform of torchvision does."""

    def __init__(self):
        self.x = torch.from_numpy(source().x / np.float32(255))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i].flip(-1) if torch.rand(1).item() < 0.5 else self.x[i], 0


def test_random_inputs_are_live_or_an_error():
    undeclared = Pipeline.from_source(source()).augment(LOOKS)
    for data in (Pipeline.from_dataset(Flipped()), undeclared):
        check_live(made(data), "the inputs are random: example ")
        with pytest.raises(
            ConfigError, match=r'mode="force", but logits cannot be kept: the inputs are random: example'
        ):
            made(data, mode="force")


def test_a_random_teacher_is_live_or_an_error():
    class Dropping(Linear):
        def answers(self, x):
            return nn.functional.dropout(super().answers(x), 0.5)

    assert "the teacher is random" in made(teacher=Dropping()).reason
    with pytest.raises(ConfigError, match='mode="force", but logits cannot be kept: the teacher is random'):
        made(teacher=Dropping(), mode="force")


def test_an_explicit_path_that_does_not_fit_is_an_error_in_every_mode_that_reads_it(tmp_path):
    made(path=tmp_path / "a")
    for mode in ("auto", "force"):
        with pytest.raises(CheckpointError, match=r"a does not fit: the teacher has changed \(tensor weight\)"):
            made(teacher=Linear(seed=1), path=tmp_path / "a", mode=mode)
    check_live(made(path=tmp_path / "a", mode="off"), "the cache is off")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is cut or damaged"):
        made(path=tmp_path / "a")


def test_logits_that_do_not_fit_are_an_error():
    with pytest.raises(DataError, match=r'float16 holds at most 65504: use storage=Storage\("float32"\)'):
        made(teacher=Linear(scale=1e6))
    assert made(teacher=Linear(scale=1e6), storage=Storage("float32")).file is not None
    with pytest.raises(ConfigError, match="the teacher has 1,200 classes"):
        made(teacher=Linear(classes=1200))


# Dominated inputs ----------------------------------------------------------------------------------------------------


def test_permuted_ids_beside_a_large_constant_feature_are_stale():
    x = torch.cat([torch.full((64, 1), 1.7e5), torch.randn(64, 8, generator=torch.Generator().manual_seed(0))], 1)
    data = Pipeline.from_tensor_slices((x, torch.arange(64) % CLASSES))
    answers = made(data, teacher=Linear(9, scale=1e-3), mode="force")
    for batch in data.shuffle().batch(16).batches():
        answers.answers_for(batch)
        for k in range(16):
            index = batch.index.clone()
            index[k] = batch.index[k - 1]
            with pytest.raises(StaleTarget, match=rf"the input of example {int(index[k])} is not the one"):
                answers.answers_for(Batch(batch.x, batch.y, index))


def test_whole_numbers_that_are_mixed_are_live():
    x = torch.randint(0, 100, (64, 36), generator=torch.Generator().manual_seed(0))
    data = Pipeline.from_tensor_slices((x, torch.arange(64) % CLASSES))
    answers = made(data, mode="force", mix="interpolate")
    batch = next(data.batch(16).batches())
    mixed = Mixed(batch.index.roll(1), torch.full((16,), 0.5), linear=True)
    half = Batch((batch.x + batch.x.roll(1, 0)).float() / 2, batch.y, batch.index, mixed=mixed)
    assert torch.equal(answers.answers_for(half), Linear().answers(half.x))
    check_counts(answers, half, live=16, refused=16)


def test_rows_come_from_a_device_in_one_copy():
    generator = torch.Generator().manual_seed(0)
    given = {
        "index": torch.arange(5), "measured": torch.randn(5, 4, generator=generator).T.contiguous().T,
        "share": torch.rand(5, generator=generator, requires_grad=True), "view": torch.arange(5).int(),
    }  # fmt: skip
    for name, tensor in _in_one_copy(given).items():
        assert torch.equal(tensor, given[name])
        assert tensor.dtype == given[name].dtype
    assert on_host({"index": given["index"], "view": None}) == {"index": given["index"]}


# Mixed rows ----------------------------------------------------------------------------------------------------------


def mixed_batches(mixing, views=None):
    looks = (LOOKS, views) if views else (Augmentation(Normalise.channels((0.5,), (0.25,))), None)
    data = Pipeline.from_source(source(), seed=2).augment(looks[0], views=looks[1])
    return data, data.shuffle().repeat().batch(16).augment(Augmentation(mixing)).batches(8)


@pytest.mark.parametrize("mixing", [Mixup(CLASSES), Cutmix(CLASSES)])
def test_mixed_rows_are_live_by_default(mixing):
    data, batches = mixed_batches(mixing)
    answers = made(data, mode="force")
    for batch in batches:
        torch.testing.assert_close(answers.answers_for(batch), Linear().answers(batch.x))
        check_counts(answers, batch, live=16, refused=16)


@pytest.mark.parametrize("views", [None, 2])
@pytest.mark.parametrize("mixing", [Mixup(CLASSES), Mixup(CLASSES, 0.3, per_example=True)], ids=["batch", "row"])
def test_rows_of_mixup_are_interpolated_if_asked_for(mixing, views):
    data, batches = mixed_batches(mixing, views)
    answers = made(data, mode="force", mix="interpolate", storage=Storage("float32"), keep_teacher=False)
    for batch in batches:
        # a linear teacher's answer to a mixed row is the mixed answer
        torch.testing.assert_close(answers.answers_for(batch), Linear().answers(batch.x), rtol=1e-4, atol=1e-4)
        check_counts(answers, batch, hit=16)


def test_rows_of_cutmix_are_never_interpolated():
    data, batches = mixed_batches(Cutmix(CLASSES))
    answers = made(data, mode="force", mix="interpolate")
    for batch in batches:
        torch.testing.assert_close(answers.answers_for(batch), Linear().answers(batch.x))
        check_counts(answers, batch, live=16, refused=16)


def test_interpolated_rows_are_tested_too():
    data, batches = mixed_batches(Mixup(CLASSES))
    answers = made(data, mode="force", mix="interpolate")
    batch = next(batches)
    answers.answers_for(batch)
    wrong = [
        Batch(batch.x * 1.01, batch.y, batch.index, mixed=batch.mixed),
        Batch(batch.x, batch.y, batch.index.roll(1), mixed=batch.mixed),
        Batch(batch.x, batch.y, batch.index),  # the record was lost
    ]
    for other in wrong:
        with pytest.raises(StaleTarget, match="the input of example"):
            answers.answers_for(other)


def test_rows_without_ids_are_live():
    answers = made()
    batches = list(rows().batch(16).batches(pad=True))
    assert batches[-1].index.tolist()[-4:] == [-1] * 4
    for batch in batches:
        torch.testing.assert_close(answers.answers_for(batch), Linear().answers(batch.x), rtol=1e-3, atol=1e-3)
        named = bool((batch.index >= 0).all())
        check_counts(answers, batch, **({"hit": 16} if named else {"live": 16, "refused": 16}))
    assert not named


# Lessons -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_student_learns_the_same_from_a_file_as_live(precision):
    torch.manual_seed(0)
    teacher = Frozen(nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, CLASSES)))
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    data = Pipeline.from_source(source(), seed=3).augment(LOOKS, views=2)
    kept = made(data, teacher=teacher, storage=Storage(precision), mode="force", keep_teacher=False)
    ends = []
    for answers in (teacher, kept):
        student, lessons = Student(copy.deepcopy(net), SGD(0.1, momentum=0.9)), Distillation(answers)
        for batch in data.shuffle().repeat().batch(16).batches(40):
            lesson = lessons.teach(batch, student)
            student.study(lesson)
        assert lesson.notes["source"] == ("live" if answers is teacher else "cache")
        assert lesson.notes["teacher"] == teacher.identity
        ends.append(torch.cat([p.flatten() for p in student.state_dict().values() if p.is_floating_point()]))
    assert (ends[0] - ends[1]).abs().max() < {"float32": 1e-5, "float16": 1e-3}[precision]
    assert lesson.notes["hit"] == 16


def test_teaching_reads(tmp_path):
    """The same lesson twice, notes included."""
    answers, batch = made(path=tmp_path / "a"), next(rows().batch(16).batches())
    before = pickle.dumps(answers)
    lessons = [Distillation(answers).teach(batch, Student(nn.Flatten(), SGD(0.1))) for _ in range(2)]
    assert lessons[0].notes == lessons[1].notes
    assert pickle.dumps(answers) == before
