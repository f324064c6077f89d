"""The baselines of selection, each against a loop over rows."""

import math

import pytest
import torch

from tests.selection.common import arranged, clusters, linear
from tutelage import Batch
from tutelage.codewords import Fit
from tutelage.pools import everything
from tutelage.sequences import Refitted, Studied, teaching_set
from tutelage.teachers import EL2N, Alignment, AtRandom, KCenter, Prototypes

SIZE, STUDY = 9, Refitted(Fit(steps=8, lr=0.01))


def some(pool, classes):
    """A filter that drops every fifth row."""
    return pool.index % 5 != 0


def course(teacher, pool, student):
    """The course of a teacher, and the student before each step."""
    students = [student]
    done = teaching_set(teacher, pool, student, SIZE, STUDY, lambda c: students.append(c.student))
    return done, students


def check(teacher, pool, score):
    """Compare a course with the choice of the largest ``score(row, shown, kept, student)``, step by step."""
    student = linear()
    done, students = course(teacher, pool, student)
    kept = [row for row in range(len(pool)) if bool(teacher.keep(pool, 3)[row])]
    shown = []
    for step in range(SIZE):
        free = sorted((row for row in kept if row not in shown), key=lambda row: int(pool.index[row]))
        scores = {row: score(row, shown, kept, students[step]) for row in free}
        best = max(free, key=lambda row: scores[row])
        assert int(done.index[step]) == int(pool.index[best]), step
        assert float(done.scores[step]) == pytest.approx(scores[best], rel=1e-9, abs=1e-12)
        shown.append(best)


def mean_of(pool, rows):
    return sum(pool.x[row] for row in rows) / len(rows)


def of_class(pool, rows, label):
    return [row for row in rows if int(pool.y[row]) == label]


@pytest.mark.parametrize("keep", [everything, some], ids=["everything", "some"])
@pytest.mark.parametrize("seed", range(3))
def test_prototypes(keep, seed):
    pool = clusters(30, seed=seed)

    def score(row, shown, kept, student):
        if int(pool.y[row]) != len(shown) % 3:
            return -math.inf
        return -float((pool.x[row] - mean_of(pool, of_class(pool, kept, int(pool.y[row])))).norm())

    check(Prototypes(keep), pool, score)


@pytest.mark.parametrize("keep", [everything, some], ids=["everything", "some"])
@pytest.mark.parametrize("seed", range(3))
def test_herding(keep, seed):
    pool = clusters(30, seed=seed)

    def score(row, shown, kept, student):
        label = int(pool.y[row])
        if label != len(shown) % 3:
            return -math.inf
        with_it = [*of_class(pool, shown, label), row]
        return -float((mean_of(pool, with_it) - mean_of(pool, of_class(pool, kept, label))).norm())

    check(Prototypes(keep, herding=True), pool, score)


@pytest.mark.parametrize("keep", [everything, some], ids=["everything", "some"])
@pytest.mark.parametrize("seed", range(3))
def test_k_center(keep, seed):
    pool = clusters(30, seed=seed)

    def score(row, shown, kept, student):
        if not shown:
            return -float((pool.x[row] - mean_of(pool, kept)).norm())
        return min(float((pool.x[row] - pool.x[other]).norm()) for other in shown)

    check(KCenter(keep), pool, score)


@pytest.mark.parametrize("seed", range(3))
def test_el2n(seed):
    pool = clusters(30, seed=seed)

    def score(row, shown, kept, student):
        answer = [math.exp(float(z)) for z in pool.x[row] @ student.head[1].detach().T]
        share = [z / sum(answer) for z in answer]
        return math.sqrt(sum((p - (k == int(pool.y[row]))) ** 2 for k, p in enumerate(share)))

    check(EL2N(some), pool, score)


def slope(pool, row, student):
    """The head's gradient of one row's risk, from autograd."""
    words = student.head[1].detach().clone().requires_grad_()
    z, c = pool.x[row] @ words.T, int(pool.y[row])
    risk = sum(torch.exp((z[k] - z[c]) / 2) for k in range(3) if k != c)
    return torch.autograd.grad(risk, [words])[0]


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_alignment(cosine, seed):
    """Inner products of head gradients, which are ``-A_i f_i^T / 2``."""
    pool, known = clusters(30, seed=seed), {}

    def score(row, shown, kept, student):
        if id(student) not in known:
            slopes = [-2 * slope(pool, each, student) for each in range(30)]
            known[id(student)] = slopes, sum(slopes[each] for each in kept) / len(kept)
        slopes, mean = known[id(student)]
        product = float((slopes[row] * mean).sum())
        return product / float(slopes[row].norm()) if cosine else product

    check(Alignment(some, cosine=cosine), pool, score)


@pytest.mark.parametrize("cosine", [False, True])
def test_alignment_of_huge_logits(cosine):
    """No overflow, and a cosine does not vanish beside rows that pull much harder."""
    pool = clusters(30, dtype=torch.float32)
    far = Batch(500 * pool.x, pool.y, pool.index)
    teacher, student = Alignment(everything, cosine=cosine), linear(dtype=torch.float32, scale=2.0)
    look = teacher.looked(far, student)
    found = teacher.score(look, look.kept)
    assert look.logits.abs().max() > 1e3
    assert found.isfinite().all()
    if cosine:
        assert (found != 0).all()


def test_alignment_is_scaled_only_where_it_would_overflow():
    pool, student = clusters(30), linear(scale=2.0)
    look = Alignment(everything).looked(pool, student)
    found = Alignment(everything).score(look, look.kept)
    slopes = [-2 * slope(pool, row, student) for row in range(30)]
    needed = torch.stack([(one * sum(slopes) / 30).sum() for one in slopes])
    assert needed.max() > 1e3
    torch.testing.assert_close(found, needed, rtol=1e-9, atol=1e-12)


def test_classes_in_turn_until_one_runs_out():
    pool = clusters(30)
    rare = arranged(pool, (pool.y != 1) | (torch.arange(30) < 5))  # two rows of class 1
    for make in (Prototypes, lambda keep: Prototypes(keep, herding=True), lambda keep: AtRandom(keep, balanced=True)):
        shown = teaching_set(make(everything), rare, linear(), 9, STUDY).shown.y.tolist()
        assert shown == [0, 1, 2, 0, 1, 2, 0, 2, 2]


def test_random_rows_are_shown_equally_often():
    pool, student = clusters(10), linear()
    counts = torch.zeros(100)
    for seed in range(600):
        counts[AtRandom(seed=seed).teach(pool, student).notes["index"]] += 1
    found = counts[pool.index]
    assert found.sum() == 600
    assert found.min() > 30  # 60 expected, standard deviation 7.3
    assert found.max() < 90


def test_a_random_draw_is_of_seed_step_and_index():
    pool, student = clusters(30), linear()
    whole = teaching_set(AtRandom(seed=5), pool, student, 30, STUDY).index.tolist()
    assert sorted(whole) == sorted(pool.index.tolist())
    teacher = AtRandom(seed=5)
    assert teacher.teach(pool, student).notes["index"].tolist() == whole[:1]
    without = arranged(pool, pool.index != whole[0])
    second = sorted(whole, key=lambda index: -float(drawn_at_the_first_step(index)))[1]
    assert teacher.teach(without, student).notes["index"].tolist() == [second]


def drawn_at_the_first_step(index):
    from tutelage.randomness import counter, hashed_tensor, real_tensor, stream

    return real_tensor(hashed_tensor(counter(stream(5, "random selection"), 0), torch.tensor([index])))


def test_a_student_that_studies_in_steps_is_ranked_by_as_it_is():
    """EL2N after a warm start: the first row that is shown is learned, and another one is the hardest."""
    pool = clusters(30)
    students = [linear()]
    done = teaching_set(EL2N(everything), pool, students[0], 4, Studied(5), lambda c: students.append(c.student))
    for step in range(4):
        answers = students[step].predict(pool.x).softmax(1)
        errors = (answers - torch.nn.functional.one_hot(pool.y)).norm(dim=1)
        errors[[row for row in range(30) if int(pool.index[row]) in done.index[:step].tolist()]] = 0
        assert int(pool.index[errors.argmax()]) == int(done.index[step])
