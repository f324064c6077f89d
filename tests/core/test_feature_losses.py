"""Distances between features: formulas against plain loops, derivatives, edges."""

import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError, ShapeError
from tutelage.feature_losses import (
    AttentionTransfer,
    FeatureLoss,
    HintRegression,
    HintTarget,
    Regressor,
    RelationalAngle,
    RelationalDistance,
    angle_relation,
    attention,
    attention_distance,
    distance_relation,
    hint_distance,
    pooled,
    regressed,
)
from tutelage.soft_targets import DIST, KnowledgeDistillation, SoftTarget


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MAPS = drawn(4, 3, 5, 6), drawn(4, 3, 5, 6, seed=1)
ROWS = drawn(5, 7), drawn(5, 7, seed=1)


def smooth_l1(a, b):
    d = abs(a - b)
    return d * d / 2 if d < 1 else d - 0.5


def test_regression_is_a_convolution_of_one_by_one():
    weight, bias = drawn(7, 3, seed=2), drawn(7, seed=3)
    needed = F.conv2d(MAPS[0], weight[:, :, None, None], bias)
    assert torch.allclose(regressed(MAPS[0], weight, bias), needed, atol=1e-12)
    rows = drawn(4, 3)
    assert torch.allclose(regressed(rows, weight, bias), F.linear(rows, weight, bias), atol=1e-12)


@pytest.mark.parametrize("scale", ["mean", "half_sum"])
def test_hint_distance(scale):
    f_s, f_t = MAPS
    found = hint_distance(f_s, f_t, scale)
    for i in range(4):
        total = sum(
            (float(f_t[i, c, a, b]) - float(f_s[i, c, a, b])) ** 2 for c in range(3) for a in range(5) for b in range(6)
        )
        assert float(found[i]) == pytest.approx(total / 90 if scale == "mean" else total / 2, rel=1e-12)


def test_attention_distance():
    f_s, f_t = MAPS[0], drawn(4, 8, 5, 6, seed=4)  # channels may differ
    found = attention_distance(f_s, f_t)
    for i in range(4):
        maps = []
        for f in (f_s, f_t):
            q = [sum(float(v) ** 2 for v in f[i, :, a, b]) / f.shape[1] for a in range(5) for b in range(6)]
            norm = math.sqrt(sum(v * v for v in q))
            maps.append([v / norm for v in q])
        needed = sum((a - b) ** 2 for a, b in zip(*maps)) / 30
        assert float(found[i]) == pytest.approx(needed, rel=1e-10)
    assert torch.allclose(attention(f_s).norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(attention_distance(3.0 * f_s, f_t), found)  # how strong a layer answers does not count


def test_distance_relation():
    found = distance_relation(*ROWS)
    n, tables = 5, []
    for x in ROWS:
        d = [[math.dist(x[i].tolist(), x[j].tolist()) for j in range(n)] for i in range(n)]
        mean = sum(d[i][j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
        tables.append([[v / mean for v in row] for row in d])
    needed = [sum(smooth_l1(a, b) for a, b in zip(s, t)) / n for s, t in zip(*tables)]
    assert found.tolist() == pytest.approx(needed, rel=1e-10)
    everything = sum(smooth_l1(a, b) for s, t in zip(*tables) for a, b in zip(s, t)) / n**2
    assert float(found.mean()) == pytest.approx(everything, rel=1e-10)


def test_angle_relation():
    found = angle_relation(*ROWS)
    n = 5

    def cosine(x, i, j, k):
        a, b = x[j] - x[i], x[k] - x[i]
        size = float(a.norm() * b.norm())
        return 0.0 if size == 0 else float(a @ b) / size

    needed = [
        sum(smooth_l1(cosine(ROWS[0], i, j, k), cosine(ROWS[1], i, j, k)) for j in range(n) for k in range(n)) / n**2
        for i in range(n)
    ]
    assert found.tolist() == pytest.approx(needed, rel=1e-10)


def test_relations_see_neither_place_nor_scale_nor_turn():
    turn, _ = torch.linalg.qr(drawn(7, 7, seed=3))
    moved = 2.5 * ROWS[0] @ turn + 3.0
    assert float(distance_relation(moved, ROWS[0]).abs().max()) < 1e-12
    assert float(angle_relation(moved, ROWS[0]).abs().max()) < 1e-12


def test_sizes_are_pooled_to_the_smaller_of_each():
    f_s, f_t = drawn(2, 3, 8, 4), drawn(2, 5, 4, 8, seed=1)
    a, b = pooled(f_s, f_t)
    assert a.shape == (2, 3, 4, 4)
    assert torch.allclose(a, F.avg_pool2d(f_s, (2, 1)))
    assert torch.allclose(b, F.avg_pool2d(f_t, (1, 2)))
    for inner in ((6,), (6, 6), (6, 6, 6)):
        assert pooled(drawn(2, 3, *inner), drawn(2, 3, *(3 for _ in inner)))[0].shape[2:] == (3,) * len(inner)
    weight, bias = drawn(5, 3), drawn(5)
    assert torch.allclose(pooled(regressed(f_s, weight, bias), f_t)[0], regressed(a, weight, bias))


@pytest.mark.parametrize(
    ("distance", "shapes"),
    [
        (hint_distance, ((2, 1, 4, 4), (2, 1, 2, 2))),
        (attention_distance, ((3, 2, 4), (3, 4, 2))),
        (attention_distance, ((2, 2, 2, 2, 2), (2, 1, 2, 2, 1))),
        (distance_relation, ((4, 3), (4, 2))),
        (angle_relation, ((4, 3), (4, 2))),
    ],
)
def test_distances_are_twice_differentiable(distance, shapes):
    f_s, f_t = drawn(*shapes[0]).requires_grad_(), drawn(*shapes[1], seed=1)
    assert torch.autograd.gradcheck(lambda f: distance(f, f_t), f_s)
    assert torch.autograd.gradgradcheck(lambda f: distance(f, f_t), f_s)


@pytest.mark.parametrize("distance", [attention_distance, distance_relation, angle_relation, hint_distance])
def test_rows_that_are_equal_or_zero_have_finite_derivatives(distance):
    for f_s in (torch.zeros(4, 3, 5, dtype=torch.float64), torch.ones(4, 3, 5, dtype=torch.float64)):
        f_s = f_s.requires_grad_()
        losses = distance(f_s, drawn(4, 3, 5))
        (slope,) = torch.autograd.grad(losses.sum(), f_s, create_graph=True)
        (second,) = torch.autograd.grad((slope * drawn(4, 3, 5)).sum(), f_s, allow_unused=True, materialize_grads=True)
        assert all(bool(t.isfinite().all()) for t in (losses, slope, second))


@pytest.mark.parametrize("distance", [distance_relation, angle_relation])
def test_one_row_has_no_relations(distance):
    f_s = drawn(1, 4).requires_grad_()
    losses = distance(f_s, drawn(1, 3))
    assert losses.tolist() == [0.0]
    assert not torch.autograd.grad(losses.sum(), f_s)[0].any()


def test_angles_are_those_of_full_precision_under_autocast():
    rows = [r.float() for r in ROWS]
    needed = angle_relation(*rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(angle_relation(*rows), needed)


def test_the_loss_of_a_lesson_adds_them_up():
    logits, y, z = drawn(4, 3), torch.tensor([0, 2, -1, 1]), drawn(4, 3, seed=5)
    layers = {"a": MAPS[0], "b": drawn(4, 2, seed=6)}
    features = (MAPS[1], drawn(4, 5, seed=7))
    regressors = (Regressor(drawn(3, 3, seed=8), drawn(3)), Regressor(drawn(5, 2, seed=9), drawn(5)))
    base = KnowledgeDistillation()
    loss = FeatureLoss(base, (HintRegression(2.0), RelationalAngle(0.5)), ("a", "b"))
    soft = SoftTarget(y, z)
    found = loss(logits, HintTarget(soft, features, regressors), layers)
    needed = base(logits, soft)
    for (name, f_t), r in zip(zip("ab", features), regressors):
        needed = needed + 2.0 * hint_distance(regressed(layers[name], *r), f_t)
        needed = needed + 0.5 * angle_relation(layers[name], f_t)
    assert torch.allclose(found, needed, rtol=1e-12)
    assert found.shape == (4,)


def test_defaults_and_what_couples_a_batch():
    terms = [HintRegression(), AttentionTransfer(), RelationalDistance(), RelationalAngle()]
    assert [term.weight for term in terms] == [100.0, 1000.0, 25.0, 50.0]
    base = KnowledgeDistillation()
    assert [FeatureLoss(base, (term,), ("a",)).batch_coupled for term in terms] == [False, False, True, True]
    assert FeatureLoss(DIST(), terms[:1], ("a",)).batch_coupled


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: HintRegression(-1.0), "HintRegression: weight is -1.0; it must be at least 0"),
        (lambda: AttentionTransfer(math.inf), "AttentionTransfer: weight is inf"),
        (lambda: RelationalDistance(math.nan), "RelationalDistance: weight is nan"),
        (lambda: RelationalAngle(-2.0), "RelationalAngle: weight is -2.0"),
        (lambda: HintRegression(scale="sum"), r'unknown scale of HintRegression "sum"'),
    ],
)
def test_options_outside_their_ranges(made, message):
    with pytest.raises(ConfigError, match=message):
        made()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: attention_distance(*ROWS), r"needs features with positions, \(N, C, ...\), but got \(5, 7\)"),
        (lambda: hint_distance(MAPS[0], drawn(4, 7, 5, 6)), "a hint of 7 channels cannot be compared with 3"),
        (lambda: hint_distance(MAPS[0], drawn(4, 3)), r"student has shape \(4, 3, 5, 6\), one of the teacher \(4, 3\)"),
    ],
)
def test_features_that_do_not_fit(made, message):
    with pytest.raises(ShapeError, match=message):
        made()


@pytest.mark.parametrize("distance", [attention_distance, distance_relation, angle_relation])
@pytest.mark.parametrize("scale", [1e-6, 1e-9, 1e-12, 1e-14, 1e12])
def test_faint_and_strong_features_have_the_derivatives_of_float64(distance, scale):
    """None of the three sees scale: a derivative of order k goes with ``scale^-k``."""
    f_t, along = drawn(4, 3, 5, seed=1), drawn(4, 3, 5, seed=2)

    def derivatives(f_s, kind, times):
        f_s = (f_s * times).to(kind).requires_grad_()
        losses = distance(f_s, f_t.to(kind))
        (slope,) = torch.autograd.grad(losses.sum(), f_s, create_graph=True)
        (second,) = torch.autograd.grad((slope * along.to(kind)).sum(), f_s)
        return losses.detach().double(), slope.detach().double() * times, second.double() * times**2

    found, needed = derivatives(drawn(4, 3, 5), torch.float32, scale), derivatives(drawn(4, 3, 5), torch.float64, 1.0)
    for mine, exact in zip(found, needed):
        assert torch.allclose(mine, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))


@pytest.mark.parametrize("distance", [attention_distance, distance_relation, angle_relation])
@pytest.mark.parametrize("scale", [1e-14, 1e-16, 1e-25, 1e-40])
def test_a_row_that_is_all_but_zero_among_others(distance, scale):
    f_s = drawn(4, 3, 5).float()
    f_s[1] = f_s[2] = 0.0
    f_s[2, 0, 0] = scale  # all but equal to row 1 as well
    f_s.requires_grad_()
    losses = distance(f_s, drawn(4, 3, 5, seed=1).float())
    (slope,) = torch.autograd.grad(losses.sum(), f_s, create_graph=True)
    (second,) = torch.autograd.grad((slope * drawn(4, 3, 5, seed=2).float()).sum(), f_s)
    assert all(bool(t.isfinite().all()) for t in (losses, slope, second))


def test_a_regressor_of_another_type_takes_the_wider():
    weight, bias = drawn(7, 3, seed=2).float(), drawn(7, seed=3).float()
    assert torch.equal(regressed(MAPS[0], weight, bias), regressed(MAPS[0], weight.double(), bias.double()))
    assert regressed(MAPS[0].half(), weight, bias).dtype == torch.float32
