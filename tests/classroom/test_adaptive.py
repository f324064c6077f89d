"""Teachers that choose by a person's answers, against loops over hypotheses and items, and replayed."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.classroom.adaptive import MAKERS, MaxGrad, Review, Strict, due, thumbnails
from tutelage.classroom.config import ADAPTIVE
from tutelage.classroom.teaching import Answered, Pool, PoolItem
from tutelage.mcboost import log_score
from tutelage.randomness import counter


@pytest.fixture(scope="module", params=[2, 3])
def pool(request, tmp_path_factory):
    """Twelve images of each class, of a colour of their own and noise."""
    folder, classes, items = tmp_path_factory.mktemp("pool"), request.param, []
    draws = np.random.RandomState(0)
    for i in range(12 * classes):
        label = i % classes
        pixels = draws.normal(90, 40, (20, 24, 3)) + 70 * (np.arange(3) == label)
        file = folder / f"{i}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
        items.append(PoolItem(f"item{i}", label, file))
    return Pool(tuple("abc"[:classes]), tuple(items))


def walk(teacher, pool, answer, steps, key=0):
    """What a person is shown who answers by a function of the item."""
    history, notes = [], []
    for step in range(steps):
        id, told = teacher.next_item(history, pool, counter(key, step))
        item = next(item for item in pool.items if item.id == id)
        history.append(Answered(id, answer(item), True))
        notes.append(told)
    return history, notes


def always_right(item):
    return item.label


@pytest.fixture(scope="module", params=ADAPTIVE)
def teacher(request, pool):
    return MAKERS[request.param](pool, 7)


def test_the_same_history_and_key_give_the_same_item(teacher, pool):
    draws = np.random.RandomState(1)
    guesses = {item.id: int(draws.randint(len(pool.classes))) for item in pool.items}
    history, _ = walk(teacher, pool, lambda item: guesses[item.id], 8)
    assert history == walk(teacher, pool, lambda item: guesses[item.id], 8)[0]
    for n in range(8):
        assert teacher.next_item(history[:n], pool, counter(0, n))[0] == history[n].item_id


def test_no_item_comes_again_while_there_are_others(teacher, pool):
    count = len(pool.items)
    history, _ = walk(teacher, pool, always_right, count + 2)
    ids = [answer.item_id for answer in history]
    assert sorted(ids[:count]) == sorted(item.id for item in pool.items)
    assert all(a != b for a, b in itertools.pairwise(ids))


def test_answers_count(pool):
    """After other answers to the same items another one comes, or is thought of otherwise."""
    for name in ("strict", "maxgrad"):
        teacher = MAKERS[name](pool, 7)
        shown, _ = walk(teacher, pool, always_right, 4)
        wrong = [Answered(a.item_id, (a.response + 1) % len(pool.classes), True) for a in shown]
        mine, theirs = (teacher.next_item(history, pool, 0) for history in (shown, wrong))
        assert mine != theirs


def test_strict_by_loops(pool):
    teacher = Strict(pool, 3)
    classes, alpha = len(pool.classes), teacher.hypotheses.alpha
    weights, rows = teacher.hypotheses.weights, teacher.hypotheses.features(thumbnails(pool))
    labels = [item.label for item in pool.items]
    tasks = range(classes) if classes > 2 else [1]
    guesses = [0, 1, 1, 0]
    history = [Answered(pool.items[i].id, guess, False) for i, guess in zip((0, 5, 9, 14), guesses)]
    shown = {0: 0, 5: 1, 9: 1, 14: 0}

    def p(h, x, y):
        return 1 / (1 + math.exp(-alpha * y * float(weights[h] @ x)))

    def left(i):
        total = 0.0
        for c in tasks:
            sign = [1 if label == c else -1 for label in labels]
            right = [[(float(weights[h] @ x) > 0) == (s > 0) for x, s in zip(rows, sign)] for h in range(len(weights))]
            q = []
            for h in range(len(weights)):
                value = 1.0
                for j, guess in shown.items():
                    value *= p(h, rows[j], 1 if guess == c else -1)
                    value *= 1.0 if right[h][j] else p(h, rows[j], sign[j])
                q.append(value)
            for h in range(len(weights)):
                error = 1 - sum(right[h]) / len(rows)
                total += q[h] / sum(q) * error * (1.0 if right[h][i] else p(h, rows[i], sign[i]))
        return total

    found, notes = teacher.next_item(history, pool, 0)
    free = [i for i in range(len(labels)) if i not in shown]
    by_hand = {i: left(i) for i in free[:8]}
    place = next(i for i, item in enumerate(pool.items) if item.id == found)
    assert notes["left"] == pytest.approx(left(place))
    assert notes["left"] <= min(by_hand.values()) + 1e-12


def test_maxgrad_scores_a_student_of_the_answers_by_true_labels(pool):
    teacher = MaxGrad(pool)
    confused = lambda item: (item.label + 1) % len(pool.classes)  # noqa: E731
    history, _ = walk(teacher, pool, confused, 6)
    words = teacher.codewords(history, pool)
    rows = [next(i for i, item in enumerate(pool.items) if item.id == a.item_id) for a in history]
    told = (teacher.rows[rows] @ words.T).argmax(1).tolist()
    assert told == [a.response for a in history]  # it answers as the person did, who was wrong
    scores = log_score(teacher.rows @ words.T, teacher.labels, words)
    id, notes = teacher.next_item(history, pool, 0)
    free = [i for i, item in enumerate(pool.items) if i not in rows]
    best = max(free, key=lambda i: float(scores[i]))
    assert id == pool.items[best].id
    assert notes["log_score"] == pytest.approx(float(scores[best]))


def test_first_items_are_drawn(pool):
    for teacher in (MaxGrad(pool), Review()):
        first = {teacher.next_item([], pool, key)[0] for key in range(60)}
        assert len(first) > len(pool.items) / 2


def naive_reviews(pairs):
    """Positions of reviews, by the two rules, one after the other; pairs[t] is of the answer at t, None if right."""
    reviews = {}
    for t in range(1, len(pairs) + 1):
        pair = pairs[t - 1]
        if pair is None:
            continue
        two_before = t - 1 in reviews and t - 2 in reviews
        same = [s for s, other in reviews.items() if other == pair]
        between = t - max(same) - 1 if same else 3
        if not two_before and between >= 3:
            reviews[t] = pair
    return reviews


def test_reviews_keep_their_rules():
    draws = np.random.RandomState(0)
    labels = {f"i{n}": n % 3 for n in range(60)}
    for _ in range(50):
        history = [Answered(f"i{n}", int(draws.randint(3)), False) for n in draws.permutation(60)[:25]]
        pairs = [
            None if labels[a.item_id] == a.response else frozenset((labels[a.item_id], a.response)) for a in history
        ]
        expected = naive_reviews(pairs)
        assert {n: pair for n in range(26) if (pair := due(history[:n], labels)) is not None} == expected
        assert not any({t, t + 1, t + 2} <= expected.keys() for t in expected)


def test_a_review_is_of_the_missed_class_or_the_one_it_was_taken_for(pool):
    labels = {item.id: item.label for item in pool.items}
    first = pool.items[0]
    wrong = [Answered(first.id, 1, True)]
    shown = {Review().next_item(wrong, pool, key)[0] for key in range(40)}
    assert {labels[id] for id in shown} == {0, 1}
    assert Review().next_item(wrong, pool, 0)[1] == {"review": ["a", "b"]}
    right = [Answered(first.id, 0, True)]
    assert Review().next_item(right, pool, 0)[1] == {}
    assert {labels[Review().next_item(right, pool, key)[0]] for key in range(60)} == set(range(len(pool.classes)))


def test_nothing_left_to_review():
    items = tuple(PoolItem(f"i{n}", n, None) for n in range(3))
    pool = Pool(("a", "b", "c"), items)
    history = [Answered("i1", 1, True), Answered("i0", 1, True)]
    assert Review().next_item(history, pool, 0) == ("i2", {})


def test_thumbnails(pool):
    found = thumbnails(pool)
    assert found.shape == (len(pool.items), 16 * 16 * 3)
    assert found.dtype == torch.float64
    assert 0 <= float(found.min()) < float(found.max()) <= 1
    mean = found.view(len(found), -1, 3).mean(1)
    assert (mean.argmax(1) == torch.tensor([item.label for item in pool.items])).all()
