"""Iterative teaching: the rows that a plain loop would show, and an imitation that sees answers alone."""

import copy
import pickle

import pytest
import torch
from torch import nn

from tutelage import SGD, Batch, Lesson, Student
from tutelage.errors import ConfigError, NotFiniteError, ShapeError
from tutelage.linear_sgd import LOGISTIC, MCBOOST, SOFTMAX, SQUARED
from tutelage.losses import cross_entropy
from tutelage.sequences import Studied, teaching_set
from tutelage.teachers.select.iterative import ImitationTeaching, IterativeTeaching, rescaled
from tutelage.testing.laws import identical


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def student(weights, lr=0.05, **options):
    net = nn.Linear(weights.shape[1], weights.shape[0], bias=False, dtype=weights.dtype)
    with torch.no_grad():
        net.weight.copy_(weights)
    return Student(net, SGD(lr, **options))


def regression(n=60, d=5, seed=0):
    x, target = normal(seed, n, d), normal(seed + 100, d)
    return Batch(x, x @ target, torch.arange(n)), target


def signs():
    """Labels -1 and +1."""
    pool, target = regression()
    return Batch(pool.x, pool.y.sign().long(), pool.index), target[None]


def classification(n=60, d=5, k=3, seed=0):
    x, target = normal(seed, n, d), normal(seed + 100, k, d)
    return Batch(x, (x @ target.T).argmax(1), torch.arange(n)), target


def taught(teacher, learner, pool, steps):
    """Shown rows and squared distances to the target after each step."""
    rows, distances = [], []
    target = (teacher.choosing if isinstance(teacher, ImitationTeaching) else teacher).target
    for _ in range(steps):
        lesson = teacher.teach(pool, learner)
        teacher.learn(lesson, learner, None)
        learner.study(lesson)
        rows.append(int(lesson.notes["row"]))
        distances.append(float((learner.head[1] - target).detach().square().sum()))
    return rows, distances


def plain_regression(pool, target, eta, steps, surrogate):
    """The loop of the paper for the squared error."""
    w, rows = torch.zeros_like(target), []
    for _ in range(steps):
        best, least = 0, float("inf")
        for i, (x, y) in enumerate(zip(pool.x, pool.y)):
            r = w @ x - y
            t1 = (r * x) @ (r * x)
            t2 = 0.5 * r**2 - 0.5 * (target @ x - y) ** 2 if surrogate else (w - target) @ (r * x)
            if (value := eta**2 * t1 - 2 * eta * t2) < least:
                best, least = i, value
        w = w - eta * (w @ pool.x[best] - pool.y[best]) * pool.x[best]
        rows.append(best)
    return rows, w


@pytest.mark.parametrize("surrogate", [False, True])
def test_regression_as_in_a_plain_loop(surrogate):
    for seed in range(3):
        pool, target = regression(seed=seed)
        learner = student(torch.zeros(1, 5, dtype=torch.float64))
        rows, _ = taught(IterativeTeaching(target, loss=SQUARED, surrogate=surrogate), learner, pool, 12)
        expected, w = plain_regression(pool, target, 0.05, 12, surrogate)
        assert rows == expected
        torch.testing.assert_close(learner.head[1].detach()[0], w)


@pytest.mark.parametrize("loss", [SOFTMAX, MCBOOST, LOGISTIC], ids=lambda loss: loss.name)
def test_classes_as_by_trying_every_row(loss):
    """The score is by how much the distance falls if the student studies the row."""
    pool, target = signs() if loss is LOGISTIC else classification()
    learner = student(0.1 * normal(5, len(target), 5), lr=0.1)
    teacher = IterativeTeaching(target, loss=loss)
    for _ in range(5):
        lesson = teacher.teach(pool, learner)
        falls = []
        for i in range(len(pool)):
            one = Lesson(pool.x[i : i + 1], pool.y[i : i + 1], lesson.weight, lesson.loss)
            after = learner.after(one, differentiable=False).head[1].detach()
            falls.append(float((learner.head[1].detach() - target).square().sum() - (after - target).square().sum()))
        best = max(range(len(pool)), key=falls.__getitem__)
        assert int(lesson.notes["row"]) == best
        assert float(lesson.notes["score"]) == pytest.approx(falls[best], rel=1e-9)
        teacher.learn(lesson, learner, None)
        learner.study(lesson)


def test_logistic_labels_are_minus_and_plus_one():
    """Labels that are no class ids; as the target is finite, steps near it lead away from it again."""
    pool, target = signs()
    rows, distances = taught(IterativeTeaching(target, loss=LOGISTIC), student(pool.x.new_zeros(1, 5), 0.2), pool, 30)
    assert distances[:10] == sorted(distances[:10], reverse=True)
    assert min(distances) < 0.01 * distances[0]
    assert {int(pool.y[row]) for row in rows} == {-1, 1}


@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC], ids=lambda loss: loss.name)
def test_rows_of_several_sizes(loss):
    """The best row at its best size, tried one by one; it teaches faster than rows as they are."""
    pool, target = regression() if loss is SQUARED else signs()
    target, scales = target.reshape(1, -1), (0.5, 1.0, 2.0)
    wide = rescaled(pool, scales, loss)
    learner = student(pool.x.new_zeros(1, 5))
    lesson = IterativeTeaching(target, loss=loss).teach(wide, learner)
    values = {}
    for i in range(len(pool)):
        for scale in scales:
            x, y = scale * pool.x[i], scale * pool.y[i] if loss is SQUARED else pool.y[i]
            slope = -y * x if loss is SQUARED else -0.5 * y * x  # the learner answers 0
            values[i, scale] = float((target[0].square().sum()) - (0.05 * slope + target[0]).square().sum())
    i, scale = max(values, key=values.get)
    assert int(lesson.notes["index"]) == i
    assert torch.equal(lesson.x[0], scale * pool.x[i])
    plain, sized = (
        taught(IterativeTeaching(target, loss=loss), student(pool.x.new_zeros(1, 5)), p, 5)[1] for p in (pool, wide)
    )
    assert sized[-1] < plain[-1]


def test_a_row_of_several_sizes_is_one_row():
    pool, target = regression(n=6)
    teacher, learner = IterativeTeaching(target, loss=SQUARED, again=False), student(pool.x.new_zeros(1, 5))
    wide = rescaled(pool, [0.5, 2.0], SQUARED)
    rows, _ = taught(teacher, learner, wide, 6)
    assert sorted(row % 6 for row in rows) == list(range(6))
    with pytest.raises(ConfigError, match="may be shown"):
        teacher.teach(wide, learner)


def test_rows_are_shown_again_unless_told_otherwise():
    pool, target = regression(n=8)
    rows, _ = taught(IterativeTeaching(target, loss=SQUARED), student(pool.x.new_zeros(1, 5)), pool, 20)
    assert len(set(rows)) < 20
    once = IterativeTeaching(target, loss=SQUARED, again=False)
    learner = student(pool.x.new_zeros(1, 5))
    rows, _ = taught(once, learner, pool, 8)
    assert sorted(rows) == list(range(8))
    with pytest.raises(ConfigError, match="row 9, but the pool has 8 rows"):
        once.teach(pool, learner)


def test_the_rate_is_the_students_unless_given():
    pool, target = regression()
    learner = Student(student(pool.x.new_zeros(1, 5)).net, SGD(lambda step: 0.01 * (step + 1)))
    teacher = IterativeTeaching(target, loss=SQUARED)
    for _ in range(6):
        eta = 0.01 * (learner.step + 1)
        given = IterativeTeaching(target, loss=SQUARED, eta=eta).teach(pool, learner)
        lesson = teacher.teach(pool, learner)
        assert torch.equal(lesson.notes["score"], given.notes["score"])
        learner.study(lesson)


def test_a_filter_is_kept_to():
    pool, target = regression()
    rows, _ = taught(
        IterativeTeaching(target, loss=SQUARED, keep=OnlyEven()), student(pool.x.new_zeros(1, 5)), pool, 10
    )
    assert all(row % 2 == 0 for row in rows)


class OnlyEven:
    def __call__(self, pool, classes):
        return pool.index % 2 == 0


def test_a_trained_student_as_target_and_a_course():
    pool, target = classification()
    course = teaching_set(
        IterativeTeaching(student(target), loss=SOFTMAX, again=False),
        pool,
        student(torch.zeros(3, 5, dtype=torch.float64), lr=0.5),
        15,
        Studied(steps=20),
    )
    assert len(set(course.index.tolist())) == 15
    assert (course.student.predict(pool.x).argmax(1) == pool.y).double().mean() > 0.8
    assert course.lessons[0].loss is cross_entropy


def plain_imitation(pool, target, eta, steps, start, asked):
    """Of regression, every step written out."""
    w, v, rows = torch.zeros_like(target), start.clone(), []
    for t in range(steps):
        r = pool.x @ v - pool.y
        values = eta**2 * r**2 * pool.x.square().sum(1) - 2 * eta * r * (pool.x @ (v - target))
        best = int(values.argmin())
        for i in [best, *asked[t]]:
            x = pool.x[i]
            v = v - (v @ x - w @ x) * x / (x @ x)
        v = v - eta * (v @ pool.x[best] - pool.y[best]) * pool.x[best]
        w = w - eta * (w @ pool.x[best] - pool.y[best]) * pool.x[best]
        rows.append(best)
    return rows, v


def test_imitation_as_in_a_plain_loop():
    pool, target = regression()
    teacher = ImitationTeaching(target, loss=SQUARED, queries=2, seed=4)
    learner, start, rows, asked = student(pool.x.new_zeros(1, 5)), teacher.copy[0].clone(), [], []
    for _ in range(10):
        lesson = teacher.teach(pool, learner)
        asked.append([int((pool.x == x).all(1).nonzero()) for x in lesson.notes["query"]])
        teacher.learn(lesson, learner, None)
        learner.study(lesson)
        rows.append(int(lesson.notes["row"]))
    expected, v = plain_imitation(pool, target, 0.05, 10, start, asked)
    assert rows == expected
    torch.testing.assert_close(teacher.copy[0], v)
    assert len({tuple(a) for a in asked}) > 5
    assert start.abs().max() < 0.5
    assert start.abs().min() > 0


def test_imitation_does_not_see_the_weights():
    pool, target = classification()
    teacher = ImitationTeaching(target, loss=SOFTMAX)
    lessons = [teacher.teach(pool, student(normal(s, 3, 5))) for s in (1, 2)]
    assert torch.equal(lessons[0].x, lessons[1].x)
    assert torch.equal(lessons[0].notes["score"], lessons[1].notes["score"])


def test_the_copy_becomes_the_student():
    """Of several classes; the student learns meanwhile."""
    pool, target = classification()
    teacher, learner = ImitationTeaching(target, loss=SOFTMAX, queries=3), student(normal(1, 3, 5))
    before = (teacher.copy - learner.head[1]).norm()
    _, distances = taught(teacher, learner, pool, 40)
    assert (teacher.copy - learner.head[1]).norm() < 1e-3 * before
    assert distances[-1] < distances[0]


def test_learn_reports_how_far_off_the_copy_was():
    pool, target = regression()
    teacher, learner = ImitationTeaching(target, loss=SQUARED, queries=1), student(normal(1, 1, 5))
    lesson = teacher.teach(pool, learner)
    x = torch.cat([lesson.x, lesson.notes["query"]])
    expected = (x @ (teacher.copy - learner.head[1].detach()).T).square().mean()
    found = teacher.learn(lesson, learner, None)
    torch.testing.assert_close(found["imitation_error"], expected)
    assert found["shown"] == 1


def test_without_questions_there_are_none():
    pool, target = regression()
    lesson = ImitationTeaching(target, loss=SQUARED, queries=0).teach(pool, student(pool.x.new_zeros(1, 5)))
    assert lesson.notes["query"].shape == (0, 5)


@pytest.mark.parametrize("kind", [IterativeTeaching, ImitationTeaching])
def test_the_order_of_a_pool_changes_nothing(kind):
    pool, target = classification()
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(1))
    shuffled = Batch(pool.x[order], pool.y[order], pool.index[order])
    learner = student(normal(1, 3, 5))
    lessons = [kind(target, loss=SOFTMAX).teach(p, learner) for p in (pool, shuffled)]
    assert torch.equal(lessons[0].notes["index"], lessons[1].notes["index"])
    if kind is ImitationTeaching:
        assert torch.equal(lessons[0].notes["query"], lessons[1].notes["query"])


@pytest.mark.parametrize("kind", [IterativeTeaching, ImitationTeaching])
def test_teach_reads_and_the_state_is_all(kind):
    pool, target = classification()
    teacher, learner = kind(target, loss=SOFTMAX, again=False), student(normal(1, 3, 5))
    taught(teacher, learner, pool, 4)
    before = copy.deepcopy(teacher.state_dict())
    weights = learner.head[1].clone()
    state = torch.get_rng_state()
    teacher.teach(pool, learner)
    assert identical(teacher.state_dict(), before)
    assert torch.equal(learner.head[1], weights)
    restored = kind(torch.zeros_like(target), loss=SOFTMAX, again=False)
    restored.load_state_dict(teacher.state_dict())
    others = [restored, copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))]  # noqa: S301
    twins = [copy.deepcopy(learner) for _ in others]
    expected = taught(teacher, learner, pool, 6)
    for other, twin in zip(others, twins):
        assert taught(other, twin, pool, 6) == expected
    assert torch.equal(torch.get_rng_state(), state)


def test_single_precision_and_a_trunk():
    """What is below the last layer makes the features."""
    pool, _ = classification()
    pool = Batch(pool.x.float(), pool.y, pool.index)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False))
    learner, target = Student(net, SGD(0.1)), normal(3, 3, 7).float()
    lesson = IterativeTeaching(target).teach(pool, learner)
    features, logits = learner.embed(pool.x)
    slopes = MCBOOST.residuals(logits, pool.y)[:, :, None] * features[:, None]
    apart = learner.head[1].detach() - target
    falls = [float(apart.square().sum() - (apart - 0.1 * slope).square().sum()) for slope in slopes]
    assert int(lesson.notes["row"]) == max(range(len(pool)), key=falls.__getitem__)
    assert lesson.notes["class_counts"].sum() == len(pool)
    assert ImitationTeaching(target).teach(pool, learner).notes["score"].dtype == torch.float32


def test_refusals():
    pool, target = classification()
    with pytest.raises(ConfigError, match="eta = 0"):
        IterativeTeaching(target, eta=0)
    for scales in ([], [1.0, 0.0]):
        with pytest.raises(ConfigError, match="needs one size or more"):
            rescaled(pool, scales)
    with pytest.raises(ConfigError, match="queries = -1"):
        ImitationTeaching(target, queries=-1)
    with pytest.raises(ConfigError, match=r"spread = -0\.5"):
        ImitationTeaching(target, spread=-0.5)
    for kind in (IterativeTeaching, ImitationTeaching):
        with pytest.raises(ShapeError, match=r"target has shape \(2, 5\)"):
            kind(target[:2]).teach(pool, student(target))
        with pytest.raises(ConfigError, match="has a bias"):
            kind(target).teach(pool, Student(nn.Linear(5, 3, dtype=torch.float64), SGD(0.1)))
    with pytest.raises(NotFiniteError, match="diverged"):
        IterativeTeaching(target).teach(pool, student(target * torch.inf))
