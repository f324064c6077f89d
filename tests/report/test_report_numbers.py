"""The numbers behind the pictures."""

import numpy as np
import pytest

from tutelage.evaluation import Comparison, summary
from tutelage.report.bands import band
from tutelage.report.canvas import looks, spread
from tutelage.report.gallery import to_bytes
from tutelage.report.surface import loss_edges, surface
from tutelage.report.tables import number, verdict


def test_surface_equals_a_naive_loop() -> None:
    random = np.random.default_rng(1)
    epochs, rows, groups = 12, 30, 4
    loss = random.exponential(1.0, (epochs, rows)).astype(np.float16)
    weight = random.random((epochs, rows)).astype(np.float16)
    loss[random.random(loss.shape) < 0.3] = np.nan
    edges = np.array([0.01, 0.1, 0.5, 1.0, 2.0])

    found = surface(weight, loss, edges, rows=groups)

    for row in range(groups):
        members: list[list[float]] = [[] for _ in edges[1:]]
        for epoch in range(3 * row, 3 * row + 3):
            for i in range(rows):
                if np.isnan(loss[epoch, i]):
                    continue
                place = sum(bool(loss[epoch, i] >= edge) for edge in edges[1:-1])
                members[place].append(float(weight[epoch, i]))
        expected = [np.mean(m) if m else np.nan for m in members]
        np.testing.assert_allclose(found.weight[row], expected, rtol=1e-12)
    np.testing.assert_allclose(found.percent_edges, [0, 25, 50, 75, 100])


def test_a_cliff_is_a_cliff_and_empty_bins_stay_empty() -> None:
    loss = np.array([[0.02, 0.05, 3.0, 4.0]])
    found = surface((loss <= 1).astype(float), loss, np.array([0.01, 0.1, 1.0, 10.0]))
    np.testing.assert_array_equal(found.weight, [[1.0, np.nan, 0.0]])


@pytest.mark.parametrize(("epochs", "rows"), [(1, 1), (7, 7), (50, 50), (70, 35), (101, 34)])
def test_rows_cover_the_whole_training(epochs: int, rows: int) -> None:
    values = np.ones((epochs, 3))
    found = surface(values, values, np.array([0.5, 1.0, 2.0]))
    assert found.weight.shape == (rows, 2)
    assert (found.percent_edges[0], found.percent_edges[-1]) == (0, 100)
    assert np.isfinite(found.weight[:, 1]).all()


def test_loss_bins_are_shared_logarithmic_and_bounded_below() -> None:
    edges = loss_edges([np.array([[0.0, 1e-5, np.nan]]), np.array([[8.0, 10.0]])], bins=8)
    assert len(edges) == 9
    assert edges[0] == 1e-3
    assert edges[-1] == pytest.approx(10.0, rel=0.01)
    np.testing.assert_allclose(edges[1:] / edges[:-1], edges[1] / edges[0])


@pytest.mark.parametrize("losses", [np.zeros((2, 3)), np.full((2, 3), np.nan), np.full((1, 1), 0.7)])
def test_loss_bins_of_odd_losses_still_ascend(losses: np.ndarray) -> None:
    assert (np.diff(loss_edges([losses])) > 0).all()


def test_band_is_the_interval_of_the_mean_or_the_range() -> None:
    three = band(np.array([[0.1], [0.2], [0.6]]))
    half = summary([0.1, 0.2, 0.6])["ci95"]
    assert half is not None
    np.testing.assert_allclose([three.low[0], three.mean[0], three.high[0]], [0.3 - half, 0.3, 0.3 + half])
    two = band(np.array([[0.1], [0.2]]))
    np.testing.assert_allclose([two.low[0], two.mean[0], two.high[0]], [0.1, 0.15, 0.2])
    none = band(np.array([[np.nan, 1.0]]))
    assert np.isnan(none.mean[0])
    assert none.mean[1] == none.low[1] == none.high[1] == 1.0


def test_labels_move_apart_in_order_and_stay_below_the_top() -> None:
    placed = spread([0.9, 0.1, 0.91, 0.89], 0.05, 1.0)
    assert placed[1] == 0.1
    assert placed[3] < placed[0] < placed[2] <= 1.0
    assert min(placed[0] - placed[3], placed[2] - placed[0]) >= 0.05 - 1e-12
    assert spread([1.0, 1.0, 1.0], 0.1, 1.0) == pytest.approx([0.8, 0.9, 1.0])


def test_arms_keep_their_look_and_differ() -> None:
    names = [str(i) for i in range(15)]
    assert len({(look.colour, str(look.dash)) for look in looks(names).values()}) == 15
    assert looks(names)["3"] == looks(names[:4])["3"]


def test_images_are_scaled_by_their_own_range() -> None:
    grey = to_bytes(np.array([0, 4, 8, 16], dtype=np.uint8).reshape(1, 1, 2, 2))
    assert grey.shape == (1, 2, 2)
    assert grey.ravel().tolist() == [0, 64, 128, 255]
    colour = to_bytes(np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 2, 2))
    assert colour.shape == (1, 2, 2, 3)
    assert (colour.min(), colour.max()) == (0, 255)
    assert to_bytes(np.zeros((1, 1, 300, 200), dtype=np.float32)).shape == (1, 75, 50)


def _comparison(difference: float, ci95: float | None, metric: str = "accuracy") -> Comparison:
    return Comparison(a="a", b="b", metric=metric, mean_difference=difference, ci95=ci95, wins=0, ties=0, losses=0)


def test_verdicts() -> None:
    assert verdict(_comparison(0.02, 0.01)) == "better"
    assert verdict(_comparison(-0.02, 0.01)) == "worse"
    assert verdict(_comparison(0.02, 0.02)) == "tie"
    assert verdict(_comparison(0.0, 0.0)) == "tie"
    assert verdict(_comparison(0.02, None)) == "one seed"
    assert verdict(_comparison(-0.02, 0.01, "calibration_error")) == "better"


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert number(-1.25, 1) == "−1.2"
    assert number(-0.01, 1) == "0.0"
