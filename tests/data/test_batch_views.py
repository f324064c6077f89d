"""What a batch says of its rows beside their ids: which view they are, and what else is mixed into them."""

import numpy as np
import pytest
import torch

from tutelage.data import Augmentation, Crop, Cutmix, Flip, Mixup, Normalise, Pipeline, from_arrays
from tutelage.lesson import Mixed

IMAGES = from_arrays(
    np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8), np.arange(30) % 5, num_classes=5
)
LOOKS = Augmentation(Crop(2), Flip())
ROWS = Pipeline.from_source(IMAGES, seed=1)


def unchanged(pair):
    return pair


def fast(pipeline):
    return pipeline


def slow(pipeline):
    return pipeline.map(unchanged)


PATHS = pytest.mark.parametrize("path", [fast, slow])


@PATHS
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("straddling", [False, True])
def test_a_view_is_the_epoch_modulo_their_number(path, after, straddling):
    rows = path(ROWS)
    rows = rows if after else rows.augment(LOOKS, views=3)
    batches = rows.shuffle().repeat().batch(8) if straddling else rows.shuffle().batch(8).repeat()
    batches = batches.augment(LOOKS, views=3) if after else batches
    epochs = torch.from_numpy(np.concatenate([r.epoch for r in batches.take(30).records()]))
    found = list(batches.batches(30))
    assert torch.equal(torch.cat([b.view for b in found]), epochs % 3)
    looks = {}
    for batch in found:
        assert batch.mixed is None
        assert batch.view.dtype == torch.int64
        for name, view, x in zip(batch.index.tolist(), batch.view.tolist(), batch.x):
            assert torch.equal(looks.setdefault((name, view), x), x)
    assert len(looks) == 90


@PATHS
def test_without_a_bank_there_is_no_view(path):
    for rows in (path(ROWS), path(ROWS.augment(LOOKS))):
        assert all(b.view is None and b.mixed is None for b in rows.batch(8).batches())


def test_several_banks_come_again_together():
    rows = ROWS.augment(Augmentation(Crop(1)), views=2).augment(Augmentation(Flip()), views=3)
    views = torch.cat([b.view for b in rows.repeat().batch(30).batches(8)]).view(8, 30)
    assert views[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]


@PATHS
@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"pad": True}, {"start": 3}, {"resident": False}], ids=str)
def test_views_on_every_path(path, options):
    batches = path(ROWS.augment(LOOKS, views=2)).shuffle().repeat().batch(8)
    needed, found = list(batches.batches(12))[options.get("start", 0) :], list(batches.batches(12, **options))
    assert all(torch.equal(a.view, b.view) and torch.equal(a.x, b.x) for a, b in zip(needed, found, strict=True))


@PATHS
def test_views_of_a_rank(path):
    batches = path(ROWS.augment(LOOKS, views=2)).repeat().batch(8)
    whole = list(batches.batches(12))
    parts = [list(batches.batches(12, rank=r, world=2)) for r in (0, 1)]
    for all_rows, first, second in zip(whole, *parts):
        assert torch.equal(all_rows.view, torch.cat([first.view, second.view]))


# Mixed rows ----------------------------------------------------------------------------------------------------------


def mixed(path, mixing, views=None):
    """Batches of mixed rows beside the same without mixing."""
    rows = path(ROWS).shuffle().batch(8).repeat()
    if path is slow:
        rows = rows.augment(LOOKS, views=views)
        return rows.augment(Augmentation(mixing)), rows
    return rows.augment(Augmentation(Crop(2), Flip(), mixing), views=views), rows.augment(LOOKS, views=views)


@PATHS
@pytest.mark.parametrize("views", [None, 2])
@pytest.mark.parametrize("mixing", [Mixup(5), Mixup(5, per_example=True)], ids=["batch", "row"])
def test_what_mixup_mixed(path, mixing, views):
    batches, plain = mixed(path, mixing, views)
    for batch, alone in zip(batches.batches(12), plain.batches(12), strict=True):
        other = batch.mixed
        assert other.linear
        assert torch.equal(batch.index, alone.index)
        places = torch.stack([(alone.index == i).nonzero()[0, 0] for i in other.partner])
        share = other.share[:, None]
        needed = share * alone.x.flatten(1) + (1 - share) * alone.x[places].flatten(1)
        torch.testing.assert_close(batch.x.flatten(1), needed)
        one_hot = torch.eye(5)
        torch.testing.assert_close(batch.y, share * one_hot[alone.y] + (1 - share) * one_hot[alone.y[places]])
        assert other.share.shape == (len(batch),)
        if views is None:
            assert other.view is None
        else:
            assert torch.equal(other.view, alone.view[places])


@PATHS
def test_what_cutmix_mixed(path):
    batches, plain = mixed(path, Cutmix(5))
    shares = []
    for batch, alone in zip(batches.batches(12), plain.batches(12), strict=True):
        other = batch.mixed
        assert not other.linear
        places = torch.stack([(alone.index == i).nonzero()[0, 0] for i in other.partner])
        own, foreign = (batch.x == alone.x).all(1), (batch.x == alone.x[places]).all(1)
        assert (own | foreign).all()
        changed = (~own).double().mean((1, 2))
        assert (changed <= 1 - other.share + 1e-6).all()
        one_hot, share = torch.eye(5), other.share[:, None]
        torch.testing.assert_close(batch.y, share * one_hot[alone.y] + (1 - share) * one_hot[alone.y[places]])
        shares += other.share.tolist()
    assert 0 < min(shares) < max(shares) < 1


def test_both_paths_say_the_same():
    for mixing in (Mixup(5), Cutmix(5)):
        (one, _), (two, _) = mixed(fast, mixing, 2), mixed(slow, mixing, 2)
        for a, b in zip(one.batches(12), two.batches(12), strict=True):
            for name in ("partner", "share", "view"):
                assert torch.equal(getattr(a.mixed, name), getattr(b.mixed, name))
            assert torch.equal(a.view, b.view)


def test_what_was_lost_on_the_way_is_said_to_be_unknown():
    once = ROWS.batch(8).augment(Augmentation(Mixup(5)))
    twice = once.augment(Augmentation(Mixup(5)))
    zipped = Pipeline.zip(once, once).map(lambda both: both[0])
    for lost in (twice, zipped, once.unbatch().batch(8)):
        for batch in lost.batches(4):
            assert batch.mixed.partner.tolist() == [-1] * len(batch)
            assert not batch.mixed.linear
            assert batch.index.min() >= 0
    kept = (once.map(unchanged), once.augment(Augmentation(Normalise.channels((0.5,) * 3, (0.2,) * 3))), once.cache())
    for batches in kept:
        assert all(batch.mixed.partner.min() >= 0 for batch in batches.batches())


def test_the_share_of_a_rank():
    batches = slow(ROWS).batch(8, drop_remainder=True).augment(Augmentation(Mixup(5)))
    whole, part = next(batches.batches()), next(batches.batches(rank=1, world=2))
    assert torch.equal(part.mixed.partner, whole.mixed.partner[4:])
    assert torch.equal(part.mixed.share, whole.mixed.share[4:])


def test_rows_and_device_of_a_record():
    record = Mixed(torch.tensor([3, 4, 5]), torch.tensor([0.1, 0.2, 0.3]), True, torch.tensor([0, 1, 0]))
    two = record.rows(torch.tensor([2, 0])).to(torch.device("cpu"))
    assert (two.partner.tolist(), two.view.tolist(), two.linear) == ([5, 3], [0, 0], True)
    torch.testing.assert_close(two.share, torch.tensor([0.3, 0.1]))
    assert Mixed(record.partner, record.share, False).rows(torch.tensor([1])).to(torch.device("cpu")).view is None


@pytest.mark.slow
def test_views_and_mixed_rows_of_other_processes():
    batches, _ = mixed(fast, Mixup(5), 2)
    for a, b in zip(batches.batches(4), batches.batches(4, workers=1), strict=True):
        assert torch.equal(a.view, b.view)
        assert a.mixed.linear == b.mixed.linear
        for name in ("partner", "share", "view"):
            assert torch.equal(getattr(a.mixed, name), getattr(b.mixed, name))
    plain = ROWS.batch(8)
    assert all(b.view is None and b.mixed is None for b in plain.batches(workers=1))
