"""What all teachers that select have in common: whom they show, what they remember, and that they leave no trace."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.selection.common import arranged, clusters, deep, images, linear
from tests.selection.teachers import FACTORIES, FAST, Given, chosen, consistent, scores_of
from tutelage import SGD, Batch, Student
from tutelage.pools import Every, everything, without_duplicates
from tutelage.sequences import Course, teach_together, teaching_set
from tutelage.teachers import SELECTING, AtRandom, MaxGrad
from tutelage.testing.laws import Watch

OF_EACH_ROW = ["maxgrad", "maxgrad of the head", "maxgrad of pairs", "random", "el2n"]
"""Those whose score of a row knows no other row."""


def test_the_largest_score_is_shown_and_ties_go_to_the_lowest_index():
    pool = Batch(torch.zeros(5, 6).double(), torch.zeros(5, dtype=torch.long), torch.tensor([4, 2, 0, 3, 1]))
    teacher, student = Given(torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0])), linear()
    lesson = teacher.teach(pool, student)
    assert lesson.notes["index"].tolist() == [1]
    assert lesson.notes["row"].tolist() == [4]
    assert lesson.notes["score"].tolist() == [3.0]
    assert lesson.notes["kept"] == 5
    assert lesson.notes["class_counts"].tolist() == [5, 0, 0]
    assert lesson.weight.tolist() == [1.0]
    assert chosen(teacher, pool, student, 5) == [1, 3, 2, 4, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_that_differ_by_rounding_are_ties(dtype):
    pool = Batch(torch.zeros(3, 6).double(), torch.zeros(3, dtype=torch.long), torch.arange(3))
    last_bits = 5 * (1 + 4 * torch.finfo(dtype).eps)
    near, far = torch.tensor([5, last_bits, 4], dtype=dtype), torch.tensor([5, 5 * (1 + 1e-4), 4], dtype=dtype)
    assert float(near[1]) > float(near[0])
    assert chosen(Given(near), pool, linear(), 3) == [0, 1, 2]
    assert chosen(Given(far), pool, linear(), 3) == [1, 0, 2]
    assert chosen(Given(near * 1e-30), pool, linear(), 3) == [0, 1, 2]
    assert chosen(Given(far * 1e-30), pool, linear(), 3) == [1, 0, 2]


@pytest.mark.parametrize(
    "scores", [[1.0, torch.inf, torch.inf], [-torch.inf] * 3, [-torch.inf, 1.0, -torch.inf]], ids=str
)
def test_infinite_scores(scores):
    pool = Batch(torch.zeros(3, 6).double(), torch.zeros(3, dtype=torch.long), torch.arange(3))
    needed = sorted(range(3), key=lambda row: (-scores[row], row))
    assert chosen(Given(torch.tensor(scores)), pool, linear(), 3) == needed


@pytest.mark.parametrize("name", FACTORIES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_the_pool_does_not_matter(name, seed):
    pool = clusters(30, seed=seed)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    keep = Every([without_duplicates(), consistent(3)])
    needed = chosen(FACTORIES[name](keep), pool, linear())
    assert chosen(FACTORIES[name](keep), arranged(pool, order), linear()) == needed


@pytest.mark.parametrize("name", sorted(set(FACTORIES) - {"random", "balanced"}))
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000))
def test_of_equal_rows_the_lowest_index_is_shown_wherever_they_lie(name, seed):
    """Matrix products give equal rows other last bits in another place."""
    one = clusters(7, classes=5, width=33, seed=seed, dtype=torch.float32)
    order = torch.randperm(42, generator=torch.Generator().manual_seed(seed))
    pool = arranged(Batch(one.x.repeat(6, 1), one.y.repeat(6), torch.arange(42)), order)
    teacher = FACTORIES[name](everything)
    lesson = teacher.teach(pool, linear(33, 5, dtype=torch.float32))
    assert int(lesson.notes["index"]) < 7


@pytest.mark.parametrize("name", OF_EACH_ROW)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000), row=st.integers(0, 19))
def test_leaving_out_a_row_leaves_the_other_scores_alone(name, seed, row):
    pool, student, teacher = clusters(20, seed=seed), linear(), FACTORIES[name](everything)
    others = torch.arange(20) != row
    needed = scores_of(teacher, pool, student)[others]
    found = scores_of(teacher, arranged(pool, others), student)
    torch.testing.assert_close(found, needed, rtol=1e-12, atol=1e-12)
    if row != teacher.teach(pool, student).notes["row"]:
        index = teacher.teach(arranged(pool, others), student).notes["index"]
        assert index.equal(teacher.teach(pool, student).notes["index"])


@pytest.mark.parametrize("name", FACTORIES)
def test_shown_rows_are_remembered_by_index_not_by_place(name):
    """The pool is filtered and arranged anew in the middle."""
    pool, teacher, student = clusters(20), FACTORIES[name](everything), linear()
    first = [int(teacher.teach(pool, student).notes["index"])]
    for step in range(5):
        order = torch.randperm(20, generator=torch.Generator().manual_seed(step))
        part = arranged(pool, order[: 19 - step])
        lesson = teacher.teach(part, student)
        teacher.learn(lesson, student, None)
        assert (pool.x[pool.index == lesson.notes["index"]]).equal(lesson.x)
        first.append(int(lesson.notes["index"]))
    assert len(set(first[1:])) == 5


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scoring_leaves_no_trace(name, dtype):
    """Neither in the student nor in statistics of batch norm, the modes of layers or random state."""
    pool, student, teacher = images(24, dtype=dtype), deep(dtype=dtype), FACTORIES[name](everything)
    with Watch("teach must only read", student, teacher):
        first = teacher.teach(pool, student)
    second = teacher.teach(pool, student)
    assert first.x.equal(second.x)
    assert first.notes["score"].equal(second.notes["score"])
    assert not first.notes["score"].requires_grad


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("rows", [1, 4])
def test_the_pool_passes_once_a_step(name, rows):
    """And one row of it before, which tells how many classes there are."""
    pool, student, passes = images(24), deep(), []
    teacher = FACTORIES[name](everything, rows=rows)
    hook = student.architecture.register_forward_hook(lambda net, x, out: passes.append(len(out)))
    for _ in range(2):
        passes.clear()
        teacher.learn(teacher.teach(pool, student), student, None)
        assert passes == ([1] if name in ("random", "balanced") else [1, 24])
    hook.remove()


def test_students_answer_in_evaluation():
    """Scores do not depend on who else is in the batch, and dropout is off."""
    pool, student = images(24), deep()
    scores = scores_of(MaxGrad(everything), pool, student)
    alone = [scores_of(MaxGrad(everything), arranged(pool, torch.tensor([row])), student) for row in range(24)]
    torch.testing.assert_close(torch.cat(alone), scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 24, 1000])
def test_pieces_of_a_pool_answer_as_the_whole(batch_size):
    pool, student = images(24), deep()
    for found, needed in zip(student.embed(pool.x, batch_size=batch_size), student.embed(pool.x)):
        torch.testing.assert_close(found, needed, rtol=1e-5, atol=1e-6)
    features, logits = student.embed(pool.x, batch_size=batch_size)
    assert logits.equal(student.predict(pool.x, batch_size=batch_size))
    torch.testing.assert_close(features @ student.head[1].T, logits)
    assert features.shape == (24, 16)


def test_embeddings_of_integers_and_of_strided_inputs_are_exact_in_pieces():
    """Sums of small integers do not round, so that nothing but the place could make a difference."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-9, 9, (50, 12), generator=generator).double()[:, ::2]
    student = linear(scale=0.0).at({"1.weight": torch.arange(18.0).reshape(3, 6).double().requires_grad_()})
    whole = student.embed(x)
    for batch_size in (1, 3, 49):
        assert all(a.equal(b) for a, b in zip(student.embed(x, batch_size=batch_size), whole))
    assert whole[0].equal(x)
    assert whole[0].data_ptr() != x.data_ptr()


@pytest.mark.parametrize("name", FACTORIES)
def test_several_rows_at_a_time_are_chosen_one_after_another(name):
    """Each as if those before it had been shown, by the same student."""
    pool, student = clusters(20), linear()
    together = FACTORIES[name](everything, rows=5).teach(pool, student).notes
    one, found = FACTORIES[name](everything), []
    for _ in range(5):
        lesson = one.teach(pool, student)
        one.learn(lesson, student, None)
        found.append(lesson.notes)
    assert together["index"].tolist() == [int(notes["index"]) for notes in found]
    assert together["score"].equal(torch.cat([notes["score"] for notes in found]))
    assert together["row"].shape == (5,)


@pytest.mark.parametrize("name", FACTORIES)
def test_a_course_that_was_stopped_goes_on_equally(name):
    """From a state dict, a copy and a pickle; what the filter found is found again."""
    pool, make = clusters(30), lambda: FACTORIES[name](consistent(3), seed=4)
    whole = teaching_set(make(), pool, linear(), 9, FAST)
    assert len(set(whole.index.tolist())) == 9
    part = teaching_set(make(), pool, linear(), 4, FAST)
    loaded = make()
    loaded.load_state_dict(part.teacher.state_dict())
    twins = [loaded, copy.deepcopy(part.teacher), pickle.loads(pickle.dumps(part.teacher))]  # noqa: S301
    for teacher in twins:
        again = Course(teacher, pool, linear())
        again.student, again.lessons = part.student, list(part.lessons)
        teach_together([again], 9, FAST)
        assert again.index.equal(whole.index)
        assert again.scores.equal(whole.scores)
        assert again.student.head[1].equal(whole.student.head[1])
    assert len(part.teacher.shown) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", FACTORIES)
def test_a_gpu_shows_the_same(name):
    pool, keep = clusters(30), Every([without_duplicates(), consistent(3)])
    there = Batch(pool.x.cuda(), pool.y.cuda(), pool.index.cuda())
    student = Student(linear().net.cuda(), SGD(0.1))
    found = teaching_set(FACTORIES[name](keep), there, student, 6, FAST)
    assert found.index.tolist() == chosen(FACTORIES[name](keep), pool, linear())
    assert found.scores.is_cuda


ROOT = Path(__file__).resolve().parents[2]
PROCESS = """
import torch
torch.set_num_threads(1)
from tests.selection.common import clusters, linear
from tests.selection.teachers import FACTORIES, chosen, consistent
for make in FACTORIES.values():
    print(chosen(make(consistent(3), seed=7), clusters(30), linear()))
"""


def test_another_process_shows_the_same():
    done = subprocess.run([sys.executable, "-c", PROCESS], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [chosen(make(consistent(3), seed=7), clusters(30), linear()) for make in FACTORIES.values()]
    assert done.stdout.splitlines() == [str(sequence) for sequence in found]


def test_only_random_rows_follow_the_seed():
    for name, make in FACTORIES.items():
        sequences = {str(chosen(make(everything, seed=seed), clusters(30), linear())) for seed in range(3)}
        assert len(sequences) == (3 if name in ("random", "balanced") else 1), name


def test_notes_count_the_rows_that_may_be_shown():
    pool = clusters(20)
    keep = lambda pool, classes: pool.y != 1  # noqa: E731
    for rows in (1, 3):
        notes = MaxGrad(keep, rows=rows).teach(pool, linear()).notes
        assert notes["kept"] == 13
        assert notes["class_counts"].tolist() == [7, 0, 6]


def test_steps_count_rows_that_left_the_pool():
    pool, teacher = index_pool(9), AtRandom(everything, balanced=True)
    for step in range(3):
        lesson = teacher.teach(arranged(pool, slice(3 * step, None)), linear())
        teacher.learn(lesson, linear(), None)
        assert lesson.target.tolist() == [step]
    look = teacher.looked(arranged(pool, ~torch.isin(pool.index, torch.tensor(teacher.shown))), linear())
    assert look.step == 3
    assert look.shown.tolist() == []


def test_rows_may_be_shown_again_if_the_teacher_says_so():
    pool = clusters(5)
    course = teaching_set(
        Given(pool.index.double()[pool.index.argsort()] * 0, again=True), index_pool(5), linear(), 8, FAST
    )
    assert course.index.tolist() == [0] * 8


def index_pool(n):
    pool = clusters(n)
    return Batch(pool.x, pool.y, torch.arange(n))


def test_notes_that_go_beside():
    def beside(look, row):
        return {"picture": look.pool.x[row] * 2, "step": look.step}

    notes = Given(torch.arange(5.0), rows=2, beside=beside).teach(index_pool(5), linear()).notes
    assert notes["picture"].equal(2 * index_pool(5).x[[4, 3]])
    assert notes["step"] == 2


def test_the_list_shows_them_with_their_papers(capsys, monkeypatch):
    from tutelage.cli import main

    monkeypatch.setattr("tutelage.cli._out.width", 200)
    assert main(["list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in SELECTING:
        assert f" {name} " in shown
    assert "Gradient-based algorithms for machine teaching" in shown
