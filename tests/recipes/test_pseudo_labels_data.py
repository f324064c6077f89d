"""Few labels: who is labelled, what comes in a step, and how rows look."""

import numpy as np
import pytest
import torch

from tutelage.data import DataSet, Normalise
from tutelage.recipes.draws import Draws
from tutelage.recipes.pseudo_labels import Config, run
from tutelage.recipes.pseudo_labels.drawing import draw
from tutelage.recipes.pseudo_labels.views import Noise, Pictures

from .pseudo_runs import SMALL, plan


def test_the_draw_of_the_specification():
    """RandomState(s): a permutation whose first 497 rows are tested on, then a choice in each class."""
    setting = plan(first_seed=5).settings[0]
    generator = np.random.RandomState(5)
    order = generator.permutation(1797)
    test, pool = order[:497], order[497:]
    chosen = [generator.choice(pool[setting.source.y[pool] == c], 2, replace=False) for c in range(10)]
    assert (setting.roles.test == np.sort(test)).all()
    assert (setting.pool == np.sort(pool)).all()
    assert (setting.roles.trusted == np.sort(np.concatenate(chosen))).all()


@pytest.mark.parametrize("how", ["stratified", "random-state"])
@pytest.mark.parametrize("include", [False, True])
def test_labelled_rows_are_drawn_by_class(how, include):
    data = plan().settings[0].source
    split = draw(DataSet(data), 3, 33, test=0.2, how=how, include_labelled=include)
    assert np.bincount(data.y[split.trusted]).tolist() == [4, 4, 4, 3, 3, 3, 3, 3, 3, 3]
    assert len(np.intersect1d(split.trusted, split.unlabelled)) == (33 if include else 0)
    assert len(split.test) == 359
    assert len(split.unlabelled) + len(split.test) + (0 if include else 33) == 1797
    other = draw(DataSet(data), 4, 33, test=0.2, how=how, include_labelled=include)
    assert (split.trusted != other.trusted).any()


def test_a_stream_is_a_function_of_the_step():
    rows = np.arange(100, 110)
    passes = Draws(7, rows, 4, False)
    two = np.concatenate([passes.at(step) for step in range(5)])
    assert sorted(two[:10]) == sorted(two[10:]) == rows.tolist()  # batches straddle passes
    assert (two[:10] != two[10:]).any()
    assert (passes.at(3) == two[12:16]).all()
    assert (Draws(7, rows, 10, False).at(9) == rows).all()  # all of them: always in order
    drawn = np.concatenate([Draws(7, rows, 50, True).at(step) for step in range(100)])
    counts = np.bincount(drawn - 100)
    assert (abs(counts - 500) < 100).all()
    assert len(set(counts)) > 1


def test_a_batch():
    setting = plan(include_labelled=False).settings[0]
    batch = setting.batch(5, 10)
    assert (batch.y == -1).all()
    assert batch.progress == 0.5
    assert set(batch.views) == {"weak", "strong"}
    assert len(batch) == 16
    assert np.isin(batch.index.numpy(), setting.pool).all()
    labelled = batch.labelled
    assert (labelled.index.numpy() == setting.roles.trusted).all()
    assert (labelled.y.numpy() == setting.source.y[setting.roles.trusted]).all()
    clean = torch.from_numpy(setting.source.x[batch.index.numpy()] / 16.0).float()
    assert (batch.views["weak"] - clean).std() == pytest.approx(0.05, rel=0.1)
    assert (batch.views["strong"] - clean).std() == pytest.approx(0.25, rel=0.1)
    own = torch.from_numpy(setting.source.x[labelled.index.numpy()] / 16.0).float()
    assert torch.equal(labelled.views["clean"], own)
    assert (labelled.x - own).std() == pytest.approx(0.1, rel=0.1)
    again, other = setting.batch(5, 10), setting.batch(6, 10)
    assert torch.equal(again.views["strong"], batch.views["strong"])
    assert not torch.equal(other.labelled.x, labelled.x)


def test_noise_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    x = torch.zeros(4, 3)
    seen = Noise(0, 1.0, None, 0.0, 1.0, 2.0)
    weak, strong = (seen.look(role, x, torch.arange(4), 3) for role in ("weak", "strong"))
    assert not torch.equal(2 * weak, strong)
    assert torch.equal(seen.look("labelled", x, torch.arange(4), 3), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures():
    x = torch.arange(2 * 3 * 32 * 32, dtype=torch.int64).remainder(251).to(torch.uint8).view(2, 3, 32, 32)
    scaling = Normalise.channels((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    seen = Pictures(0, 255.0, scaling, pad=4, operations=2, magnitude=16, cutout=16)
    index = torch.tensor([3, 9])
    clean, weak, strong = (seen.look(role, x, index, 1) for role in ("clean", "weak", "strong"))
    assert torch.allclose(clean, (x / 255 - 0.5) / 0.25)
    assert weak.shape == strong.shape == x.shape
    assert not torch.equal(weak, clean)
    assert not torch.equal(weak, strong)
    assert (strong == 0).sum() >= 3 * 8 * 8  # the square, clipped at most to a quarter
    assert torch.equal(strong, seen.look("strong", x, index, 1))
    assert not torch.equal(strong, seen.look("strong", x, index, 2))


def test_files_of_labelled_and_unlabelled_rows(tmp_path):
    (tmp_path / "labelled.csv").write_text("index\n" + "\n".join(map(str, range(0, 60))))
    (tmp_path / "unlabelled.csv").write_text("index\n" + "\n".join(map(str, range(100, 400))))
    files = {"labelled_rows": str(tmp_path / "labelled.csv"), "unlabelled_rows": str(tmp_path / "unlabelled.csv")}
    setting = plan(**files, include_labelled=False).settings[0]
    assert setting.roles.trusted.tolist() == list(range(60))
    assert setting.pool.tolist() == list(range(100, 400))
    assert not np.isin(setting.roles.test, np.r_[0:60, 100:400]).any()
    assert len(setting.roles.test) > 300
    with_them = plan(**files, include_labelled=True).settings[0]
    assert with_them.pool.tolist() == [*range(60), *range(100, 400)]
    rest = plan(labelled_rows=files["labelled_rows"], include_labelled=False).settings[0]
    assert len(rest.pool) + len(rest.roles.test) + 60 == 1797


def test_tables_of_numbers(tmp_path):
    generator = np.random.default_rng(0)
    y = np.arange(90) % 3
    np.savez(tmp_path / "table.npz", x=(y[:, None] + generator.normal(0, 1, (90, 5))).astype(np.float32), y=y)
    result = run(
        Config(**SMALL | {"data": str(tmp_path / "table.npz"), "classes": 3, "teachers": "uda,distil"}),
        tmp_path / "out",
    )
    assert result["config"]["normalise"] is True
    assert result["data"]["labelled_rows"] == 6
