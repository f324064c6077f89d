"""Rows and the published grid."""

from functools import partial

import pytest
import torch

from tutelage import curricula
from tutelage.errors import DataError, ShapeError
from tutelage.mentors import Rows, grid


def rows(n=6, **columns):
    given = {"loss": torch.ones(n), "difference": torch.zeros(n), "percent": torch.arange(n), "target": torch.ones(n)}
    return Rows(**(given | columns))


def test_the_grid_equals_loops_over_integers():
    all_rows = grid(curricula.predefined)
    assert len(all_rows) == 1_200_000
    tenths = [*range(100), *range(100, 300, 10)]
    for n in (*range(5), 99, 100, 5000, 5090, 9999, 10_000, 777_777, 1_199_999):
        loss, d, e = tenths[n // 10_000], n // 100 % 100 - 50, n % 100
        assert all_rows.loss[n].item() == pytest.approx(loss / 10, rel=1e-7)
        assert all_rows.difference[n].item() == pytest.approx(d / 10, rel=1e-7)
        assert all_rows.percent[n].item() == e
        late = min(1.0, max(0.0, 1 - d / 10))
        assert all_rows.target[n].item() == pytest.approx(1 if e <= 18 else float(d <= 0) if e < 90 else late, abs=1e-6)


def test_a_difference_of_0_is_0():
    self_paced, hard = grid(curricula.self_paced), grid(curricula.hard)
    at_0 = self_paced.difference == 0
    assert at_0.sum() == 12_000
    assert (self_paced.target[at_0] == 1).all()
    assert (hard.target[at_0] == 1).all()
    assert torch.equal(self_paced.target == 1, self_paced.difference <= 0)
    assert torch.equal(hard.target == 1, hard.difference >= 0)


def test_rows_that_cannot_occur_are_dropped_on_request():
    all_rows, possible = grid(curricula.focal), grid(curricula.focal, drop_impossible=True)
    keep = (all_rows.difference.double() * 10).round() <= (all_rows.loss.double() * 10).round()
    assert len(possible) == keep.sum() < len(all_rows)
    assert torch.equal(possible.loss, all_rows.loss[keep])
    assert torch.equal(possible.target, all_rows.target[keep])


def test_a_curriculum_of_ones_own():
    def own(loss, threshold, progress):
        return (loss - threshold < progress).int()  # whatever can be made a float

    all_rows = grid(own)
    n = 640_057
    expected = all_rows.difference[n] < 0.57
    assert all_rows.target[n] == expected.float()
    milder = grid(partial(curricula.focal, gamma=1.0))
    assert torch.allclose(milder.target, 1 - (-milder.loss).exp(), rtol=0, atol=1e-6)


def test_bad_curricula():
    with pytest.raises(
        ShapeError, match=r"the curriculum returned shape \(\), but needs \(12000,\), one weight a loss"
    ):
        grid(lambda loss, threshold, progress: loss.mean())
    with pytest.raises(
        DataError, match=r"the curriculum returned the weight 1\.5 at percent 30; .* use \.clamp\(0, 1\)"
    ):
        grid(lambda loss, threshold, progress: torch.full_like(loss, 1.5 if progress == 0.3 else 1.0))
    with pytest.raises(DataError, match="the weight nan at percent 0"):
        grid(lambda loss, threshold, progress: loss * float("nan"))


def test_columns_are_brought_to_their_types():
    some = rows(target=torch.ones(6, dtype=torch.bool), loss=torch.ones(6, dtype=torch.float64), percent=torch.ones(6))
    assert (some.target.dtype, some.loss.dtype, some.percent.dtype) == (torch.float32, torch.float32, torch.int64)
    assert not rows(loss=torch.ones(6, requires_grad=True)).loss.requires_grad


def test_rows_of_several_moments():
    first, second = rows(group=torch.arange(6)), rows(loss=torch.full((6,), 2.0), group=torch.arange(6))
    both = Rows.joined([first, second])
    assert both.loss.tolist() == [1.0] * 6 + [2.0] * 6
    assert both.group.tolist() == [*range(6), *range(6)]
    assert Rows.joined([first, rows()]).group is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"loss": torch.tensor([1.0, -1, 1, 1, 1, 1])}, "row 1: loss is -1; it must be finite and at least 0"),
        ({"loss": torch.tensor([1.0, 1, float("nan"), 1, 1, 1])}, "row 2: loss is nan; it must be finite"),
        ({"difference": torch.full((6,), float("inf"))}, "row 0: difference is inf; it must be finite"),
        ({"percent": torch.arange(95, 101)}, "row 5: percent is 100; it must be at most 99 and at least 0"),
        ({"target": torch.full((6,), 1.5)}, r"row 0: target is 1\.5; it must be at most 1 and at least 0"),
    ],
)
def test_numbers_out_of_range(columns, message):
    with pytest.raises(DataError, match=message):
        rows(**columns)


def test_shapes():
    with pytest.raises(ShapeError, match=r"Rows\.target has shape \(6, 1\), but needs \(N,\) as loss, \(6,\)"):
        rows(target=torch.ones(6, 1))
    with pytest.raises(ShapeError, match=r"Rows\.group has shape \(5,\)"):
        rows(group=torch.arange(5))
