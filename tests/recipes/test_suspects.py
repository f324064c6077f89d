"""Lists of suspected label errors: order, columns, how well they find errors; by hand on a few rows."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import torch

from tutelage.checkpoint import load_checkpoint
from tutelage.recipes.suspects import keep_suspects

NAN = float("nan")
TRUE = np.array([0, 0, 0, 1, 1, 1, 2, 2])
GIVEN = np.array([0, 1, 0, 0, 1, 2, 2, 2])  # wrong: rows 1, 3 and 5
COLUMNS = ["index", "given", "suggested", "weight_mean", "weight_last", "loss_mean", "early_loss_mean", "rank", "seen"]


def setting(trusted=(7,), x=None):
    x = np.arange(8 * 4, dtype=np.uint8).reshape(8, 1, 2, 2) if x is None else x
    return SimpleNamespace(
        source=SimpleNamespace(x=x),
        roles={"trusted": np.array(trusted)},
        noise=SimpleNamespace(noisy=GIVEN, clean=TRUE),
    )


def outcome(*seeds, rows=range(8)):
    """Seeds are dicts of columns over the rows; what they leave out is 0.5, 1.0, or 3."""
    standard = {"mean_weight": 0.5, "last_weight": 0.5, "mean_loss": 1.0, "early_loss": 1.0, "seen": 3, "suggested": 0}
    rows = np.array(rows)
    tensors = {"rows": torch.from_numpy(np.stack([rows] * len(seeds)))}
    for name, value in standard.items():
        kind = torch.int64 if isinstance(value, int) else torch.float32
        columns = [seed.get(name, [value] * len(rows)) for seed in seeds]
        tensors[name] = torch.tensor(columns, dtype=kind)
    return SimpleNamespace(tensors=tensors)


def keep(tmp_path, outcomes, *, noise=0.4, settings=None, rows="train"):
    count = len(next(iter(outcomes.values())).tensors["rows"])
    plan = SimpleNamespace(
        settings=settings or [setting()] * count,
        trajectories={name: SimpleNamespace(rows=rows) for name in outcomes},
        noise=noise,
    )
    return keep_suspects(plan, outcomes, SimpleNamespace(path=tmp_path))


def table(tmp_path, arm):
    columns = pyarrow.parquet.read_table(tmp_path / "suspects" / f"{arm}.parquet").to_pydict()
    return SimpleNamespace(**columns, names=list(columns))


def test_the_smallest_weight_first_ties_by_the_larger_loss_nan_last_trusted_left_out(tmp_path):
    teacher = outcome(
        {
            "mean_weight": [0.2, 0.1, NAN, 0.1, 0.9, 0.2, 0.9, 0.0],
            "mean_loss": [1.0, 3.0, NAN, 4.0, 0.1, 1.0, 0.2, 9.0],
            "seen": [3, 3, 0, 3, 3, 3, 3, 3],
            "suggested": [0, 0, 2, 1, 1, 1, 2, 2],
        }
    )
    keep(tmp_path, {"self-paced": teacher})
    found = table(tmp_path, "self-paced")
    assert found.names == [*COLUMNS, "true"]
    assert found.index == [3, 1, 0, 5, 6, 4, 2]  # 0 and 5 are equal in both: by index; 7 is trusted
    assert found.rank == [1, 2, 3, 4, 5, 6, 7]
    assert found.given == [0, 1, 0, 2, 2, 1, 0]
    assert found.true == [1, 0, 0, 1, 2, 1, 0]
    assert found.suggested == [1, 0, 0, 1, 2, 1, 0]  # row 2 was never drawn, so nothing but the given label
    assert found.seen == [3, 3, 3, 3, 3, 3, 0]
    assert found.weight_mean == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.9, 0.9, None])
    assert found.loss_mean == pytest.approx([4.0, 3.0, 1.0, 1.0, 0.2, 0.1, None])


def test_quality_by_hand_on_six_rows(tmp_path):
    """In the order of the list: wrong, right, wrong, right, wrong, right; four weights are below .5."""
    teacher = outcome({"mean_weight": [0.2, 0.1, 0.4, 0.3, 0.9, 0.8, 0.0, 0.0]})
    found = keep(tmp_path, {"spcl": teacher}, settings=[setting(trusted=(6, 7))])
    assert table(tmp_path, "spcl").index == [1, 0, 3, 2, 5, 4]
    assert set(found) == {"spcl"}
    quality = {name: summary["values"] for name, summary in found["spcl"].items()}
    assert quality == {
        "auc": [pytest.approx((3 + 2 + 1) / 9)],  # pairs of a wrong and a right row in the right order
        "precision_at_count": [pytest.approx(2 / 3)],
        "precision": [pytest.approx(2 / 4)],
        "recall": [pytest.approx(2 / 3)],
    }


def test_plain_training_is_a_list_by_early_loss(tmp_path):
    losses = [0.1, 5.0, 0.2, 4.0, 0.3, 0.25, NAN, 9.0]
    plain = outcome({"mean_weight": [1.0] * 8, "early_loss": losses}, {"mean_weight": [1.0] * 8, "early_loss": losses})
    found = keep(tmp_path, {"uniform": plain})
    assert table(tmp_path, "uniform").index == [1, 3, 4, 5, 2, 0, 6]
    quality = {name: summary["values"] for name, summary in found["uniform"].items()}
    auc, precision = (4 + 4 + 3) / 12, 2 / 3
    assert quality == {"auc": [pytest.approx(auc)] * 2, "precision_at_count": [pytest.approx(precision)] * 2}


def test_who_has_no_list(tmp_path):
    constant = outcome({})
    assert keep(tmp_path, {"spcl": constant}) == {}
    weighs = outcome({"mean_weight": [0.1 * i for i in range(8)]})
    assert keep(tmp_path, {"trusted-only": weighs}, rows="trusted") == {}
    assert not (tmp_path / "suspects").exists()


def test_nothing_below_one_half_leaves_the_precision_out(tmp_path):
    teacher = outcome({"mean_weight": [0.6, 0.5, 0.6, 0.5, 0.6, 0.5, 0.6, 0.6]})
    found = keep(tmp_path, {"focal": teacher})["focal"]
    assert {name: summary["mean"] for name, summary in found.items()} == {
        "auc": 1.0, "precision_at_count": 1.0, "recall": 0.0
    }  # fmt: skip


def test_without_a_wrong_label_there_is_no_quality(tmp_path):
    clean = setting()
    clean.noise.noisy = TRUE
    assert keep(tmp_path, {"focal": outcome({"mean_weight": [0.1 * i for i in range(8)]})}, settings=[clean]) == {}
    assert table(tmp_path, "focal").true == TRUE[:7].tolist()


def test_labels_as_they_came_give_the_mean_over_seeds(tmp_path):
    """Without injected noise every seed has the same labels, but other trusted rows, and no truth is known."""
    teacher = outcome(
        {
            "mean_weight": [0.1, 0.3, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9],
            "last_weight": [0.0, NAN, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            "suggested": [1, 2, 0, 1, 1, 1, 2, 2],
        },
        {
            "mean_weight": [0.5, 0.1, NAN, 0.9, 0.9, 0.9, 0.9, 0.9],
            "last_weight": [0.5, NAN, NAN, 1.0, 1.0, 1.0, 1.0, 1.0],
            "suggested": [1, 2, 0, 1, 1, 1, 2, 2],
            "seen": [3, 3, 0, 3, 3, 3, 3, 3],
        },
        {
            "mean_weight": [0.6, 0.2, NAN, 0.9, 0.9, 0.9, 0.8, 0.9],
            "suggested": [2, 0, 0, 1, 1, 1, 2, 2],
        },
    )
    settings = [setting(trusted=(7,)), setting(trusted=(7, 1)), setting(trusted=(6, 7))]
    assert keep(tmp_path, {"spcl": teacher}, noise=0.0, settings=settings) == {}
    found = table(tmp_path, "spcl")
    assert found.names == COLUMNS
    assert found.index == [1, 0, 2, 3, 4, 5, 6]
    assert found.weight_mean == pytest.approx([0.25, 0.4, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert found.weight_last == pytest.approx([0.5, 1 / 3, 0.75, 2.5 / 3, 2.5 / 3, 2.5 / 3, 1.0])
    assert found.seen == [6, 9, 6, 9, 9, 9, 6]
    assert found.suggested == [0, 1, 0, 1, 1, 1, 2]  # row 1: once 2, once 0, the first of equals
    assert found.given == [1, 0, 0, 0, 1, 2, 2]


def test_images_of_the_first_rows_are_kept(tmp_path):
    x = np.arange(8 * 3 * 8 * 8, dtype=np.uint8).reshape(8, 3, 8, 8)
    teacher = outcome({"mean_weight": [0.9, 0.1, 0.9, 0.2, 0.9, 0.3, 0.9, 0.0]})
    keep(tmp_path, {"spcl": teacher}, settings=[setting(x=x)])
    tensors, _ = load_checkpoint(tmp_path / "suspects" / "spcl.safetensors")
    assert tensors["index"].tolist() == [1, 3, 5, 0, 2, 4, 6]
    assert (tensors["images"].numpy() == x[[1, 3, 5, 0, 2, 4, 6]]).all()


def test_large_images_are_fewer_and_vectors_none(tmp_path):
    teacher = outcome({"mean_weight": [0.9, 0.1, 0.9, 0.2, 0.9, 0.3, 0.9, 0.0]})
    keep(tmp_path, {"spcl": teacher}, settings=[setting(x=np.zeros((8, 1, 1000, 1000), np.uint8))])
    tensors, _ = load_checkpoint(tmp_path / "suspects" / "spcl.safetensors")
    assert tensors["index"].tolist() == [1, 3, 5, 0]
    keep(tmp_path, {"focal": teacher}, settings=[setting(x=np.zeros((8, 64), np.float32))])
    assert not (tmp_path / "suspects" / "focal.safetensors").exists()
