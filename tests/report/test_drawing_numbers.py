"""The numbers of drawn curricula, against what their formulas say."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tutelage import curricula
from tutelage.errors import ConfigError, NotFiniteError, ShapeError
from tutelage.report.drawing.numbers import PERCENTS, Drawn, Scale, evaluate
from tutelage.report.drawing.page import doubts
from tutelage.report.drawing.panels import panels

SCALE = Scale()
D, LOSS = SCALE.differences, SCALE.losses


class Learned(nn.Module):
    """A curriculum of a certain slope in d that counts as learned."""

    def __init__(self, slope: float, shift: float = 0.0) -> None:
        super().__init__()
        self.slope, self.shift = slope, shift

    def forward(self, loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
        return torch.sigmoid(self.slope * (self.shift - (loss - threshold)))


def drawn(v: curricula.CurriculumFunction, scale: Scale = SCALE) -> Drawn:
    return evaluate("it", v, scale)


def frame(found: Drawn, percent: int) -> np.ndarray:
    return found.weights[PERCENTS.index(percent)]


def test_the_scale_is_regular_and_has_a_zero_in_the_middle() -> None:
    assert PERCENTS == (0, 10, 18, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
    assert D.shape == LOSS.shape == (61,)
    assert (D[0], D[30], D[-1], LOSS[0], LOSS[-1]) == (-5, 0, 5, 0, 5)
    np.testing.assert_allclose(np.diff(D), 1 / 6)
    np.testing.assert_allclose(np.diff(LOSS), 1 / 12)
    assert (SCALE.line[0], SCALE.line[1000], len(SCALE.line)) == (0, 10, 1001)
    assert Scale(bound=15).line[-1] == 15


def test_what_cannot_occur_is_where_d_exceeds_the_loss() -> None:
    for i, loss in enumerate(LOSS):
        for j, d in enumerate(D):
            assert SCALE.impossible[i, j] == (d > loss)
    assert not SCALE.impossible[:, :31].any()


@pytest.mark.parametrize(
    ("v", "expected"),
    [
        (curricula.uniform, lambda loss, d: 1.0),
        (curricula.self_paced, lambda loss, d: float(d <= 0)),
        (curricula.hard, lambda loss, d: float(d >= 0)),
        (curricula.spcl_linear, lambda loss, d: min(1.0, max(0.0, 1 - d))),
        (curricula.focal, lambda loss, d: (1 - math.exp(-loss)) ** 2),
    ],
)
def test_surfaces_are_those_of_the_formulas(
    v: curricula.CurriculumFunction, expected: Callable[[float, float], float]
) -> None:
    surface = [[expected(loss, d) for d in D] for loss in LOSS]
    found = drawn(v).weights
    assert found.shape == (13, 61, 61)
    for weights in found:
        np.testing.assert_allclose(weights, surface, atol=1e-6)


def test_marks_of_the_surfaces() -> None:
    cliff, ramp = frame(drawn(curricula.self_paced), 20), frame(drawn(curricula.spcl_linear), 20)
    assert (cliff[:, :31] == 1).all()
    assert (cliff[:, 31:] == 0).all()
    np.testing.assert_array_equal(frame(drawn(curricula.hard), 20), cliff[:, ::-1])
    assert (ramp[:, D <= 0] == 1).all()
    np.testing.assert_allclose(ramp[:, 36:], 0, atol=1e-6)
    np.testing.assert_allclose(np.diff(ramp[:, 30:37], axis=1), -1 / 6, atol=1e-6)
    curve = frame(drawn(curricula.focal), 20)[::12]
    np.testing.assert_allclose(curve[[0, 1, 2, 3, 5]], np.tile([[0], [0.40], [0.75], [0.90], [0.99]], 61), atol=5e-3)


@pytest.mark.parametrize(
    ("percents", "v"),
    [
        ((0, 10, 18), curricula.uniform),
        ((20, 30, 40, 50, 60, 70, 80), curricula.self_paced),
        ((90, 95, 99), curricula.spcl_linear),
    ],
)
def test_the_mixture_is_a_plane_then_a_cliff_then_a_ramp(
    percents: tuple[int, ...], v: curricula.CurriculumFunction
) -> None:
    mixture, part = drawn(curricula.predefined), drawn(v)
    for e in percents:
        np.testing.assert_array_equal(frame(mixture, e), frame(part, e))


@pytest.mark.parametrize(
    ("v", "threshold", "cut"),
    [
        (curricula.self_paced, 0.5, 0.0),
        (curricula.self_paced, 0.123, 0.0),
        (curricula.hard, 2.0, 0.0),
        (curricula.spcl_linear, 0.5, 0.5),
        (curricula.focal, 0.5, -math.log(1 - math.sqrt(0.5)) - 0.5),
        (Learned(3.0, 0.777), 0.5, 0.777),
        (Learned(3.0, -0.3), 0.5, -0.3),
        (curricula.uniform, 0.5, math.nan),
    ],
)
def test_the_cut_is_where_v_crosses_a_half(v: curricula.CurriculumFunction, threshold: float, cut: float) -> None:
    found = drawn(v, Scale(percents=(20, 30), threshold=threshold))
    np.testing.assert_allclose(found.cuts, [cut, cut], atol=2e-5)


def test_the_line_has_one_threshold() -> None:
    found = drawn(curricula.spcl_linear, Scale(percents=(20,), threshold=0.5))
    np.testing.assert_allclose(found.line[0, [0, 50, 75, 100, 150, 1000]], [1, 1, 0.75, 0.5, 0, 0], atol=1e-6)
    assert (found.near, found.far) == ([1.0], [0.0])


def test_only_learned_curricula_are_called_unclear_and_their_frames_are_named() -> None:
    scale = Scale(percents=(0, 50))
    steep, flat = drawn(Learned(4.0, 1.0), scale), drawn(Learned(0.5, 1.0), scale)
    assert steep.clear.all()
    assert not flat.clear.any()
    assert drawn(curricula.uniform, scale).clear.all()
    gap = 1 / (1 + math.exp(-0.75)) - 1 / (1 + math.exp(4.25))
    assert doubts({"steep": steep, "flat": flat}, scale) == [
        f"flat: no clear curriculum at any e: v(0) − v(10) is +{gap:.2f} at most; 0.8 is clear."
    ]

    class Late(Learned):
        def forward(self, loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
            return super().forward(loss, threshold, progress) if progress >= 0.5 else torch.ones_like(loss)

    late = doubts({"late": drawn(Late(4.0, 1.0), scale)}, scale)
    assert late == ["late: no clear curriculum at e = 0: v(0) − v(10) is 0.00 at most; 0.8 is clear."]


@pytest.mark.parametrize(("gap", "clear"), [(0.79, False), (0.81, True)])
def test_clear_is_a_gap_of_80_percent(gap: float, clear: bool) -> None:
    class Step(nn.Module):
        def forward(self, loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
            return (1 - 0.1 * loss * gap).clamp(0, 1)

    assert drawn(Step(), Scale(percents=(0,))).clear.tolist() == [clear]


def test_two_curricula_have_a_difference_and_three_have_none() -> None:
    found = {name: drawn(getattr(curricula, name)) for name in ("uniform", "self_paced", "hard")}
    two = panels({name: found[name] for name in ("uniform", "self_paced")})
    assert [panel.title for panel in two] == ["uniform", "self_paced", "uniform − self_paced"]
    assert [panel.low for panel in two] == [0, 0, -1]
    np.testing.assert_array_equal(two[2].values, np.broadcast_to(D > 0, two[2].values.shape))
    assert two[2].ticks == {-1.0: "−1", -0.5: "−0.5", 0.0: "0", 0.5: "0.5", 1.0: "1"}
    assert len(panels(found)) == 3
    assert len(panels({"hard": found["hard"]})) == 1


@pytest.mark.parametrize("v", [lambda x, t, e: t.sqrt().clamp(max=1), lambda x, t, e: t.clamp(max=1)])
def test_a_curriculum_may_have_no_value_where_nothing_occurs(v: curricula.CurriculumFunction) -> None:
    found = drawn(v)
    np.testing.assert_array_equal(np.isnan(found.weights), np.broadcast_to(SCALE.impossible, found.weights.shape))


def test_weights_of_a_curriculum_with_gradient_or_in_float64_are_taken() -> None:
    scale = Scale(percents=(20,))
    weight = nn.Parameter(torch.ones(()))
    np.testing.assert_array_equal(drawn(lambda loss, threshold, e: weight * torch.ones_like(loss), scale).weights, 1)
    half = drawn(lambda loss, threshold, e: torch.full_like(loss, 0.5, dtype=torch.float64), scale)
    np.testing.assert_array_equal(half.weights, 0.5)


@pytest.mark.parametrize(
    ("v", "error", "message"),
    [
        (lambda x, t, e: torch.ones(len(x), 1), ShapeError, r'"it" returned shape \(3721, 1\), but needs \(3721,\)'),
        (lambda x, t, e: torch.tensor(1.0), ShapeError, r'"it" returned shape \(\), but needs \(3721,\)'),
        (
            lambda x, t, e: x * math.nan,
            NotFiniteError,
            r'"it" returned the weight nan at loss 0, .* 5, e = 0; .*finite',
        ),
        (lambda x, t, e: x / 0, NotFiniteError, r'"it" returned the weight (nan|inf) at loss 0'),
        (
            lambda x, t, e: 1 + 0 * x + (e > 0.3),
            ConfigError,
            r"weight 2 at loss 0, threshold 5, e = 40;.*\.clamp\(0, 1\)",
        ),
        (lambda x, t, e: 0 * x - 0.25, ConfigError, r'"it" returned the weight -0\.25 at loss 0'),
    ],
)
def test_wrong_curricula_are_named(v: curricula.CurriculumFunction, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        drawn(v)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bound", [0, -1.0, math.inf, math.nan])
def test_the_bound_is_positive(bound: float) -> None:
    with pytest.raises(ConfigError, match=f"bound is {bound}; it must be positive: 5, or 15"):
        Scale(bound=bound)


@pytest.mark.parametrize("threshold", [-0.1, math.inf, math.nan])
def test_the_threshold_is_not_negative(threshold: float) -> None:
    with pytest.raises(ConfigError, match=f"threshold is {threshold}; a percentile of losses is finite and >= 0"):
        Scale(threshold=threshold)


@pytest.mark.parametrize("percents", [(), (100,), (-1, 5), (5, 5), (20, 10), (0.5,)])
def test_percents_are_whole_and_ascend_in_0_to_99(percents: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"percents are \(.*\); they must be whole numbers in 0\.\.99, ascending"):
        Scale(percents=percents)
