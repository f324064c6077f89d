"""Simulated participants: their answers have the moments that they were fitted to."""

import math
import statistics
import subprocess
import sys
from collections import Counter

import pytest

from tests.selection.spaces import cloud, drawn
from tutelage.errors import ConfigError, DataError
from tutelage.human_answers import read_answers
from tutelage.human_groups import LogNormal
from tutelage.learners import VersionSpaceLearners
from tutelage.participants import POPULATIONS, TEST_TIME, TRAIN_TIME, Population, fitted


def results(population, people, items, seed=0):
    """Number of right answers of each person."""
    found = []
    for number in range(people):
        person = population.participant(number, seed=seed)
        labels = [item % population.classes for item in range(items)]
        found.append(sum(person.answer(item, label).given == label for item, label in enumerate(labels)))
    return found


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("oct explain", 72.34, 20.13),
        ("oct random", 51.04, 21.65),
        ("butterflies random", 65.19, 15.03),
        ("characters random", 47.07, 15.25),
    ],
)
def test_populations_reach_the_accuracies_of_people(name, mean, std):
    """Mean and standard deviation of the Beta distributions fitted to released answers, by hand."""
    right = results(POPULATIONS[name], 1000, 20)
    assert 5 * statistics.mean(right) == pytest.approx(mean, abs=2.2)
    chance = mean * (100 - mean) / 20
    observed = math.sqrt(std**2 * 19 / 20 + chance)
    assert 5 * statistics.stdev(right) == pytest.approx(observed, abs=1.5)


def test_fitted_gives_back_the_population():
    population = Population(4, 3.0, 2.0, lapses=0.1)
    people = [population.participant(n) for n in range(1500)]
    train = [p.answer(i, 0, "train").seconds for p in people[:400] for i in range(5)]
    test = [p.answer(i, 0).seconds for p in people[:400] for i in range(5)]
    found = fitted(results(population, 1500, 20), 20, train, [*test, 0.0], classes=4, lapses=0.1)
    assert found.a / (found.a + found.b) == pytest.approx(0.6, abs=0.02)
    assert found.a + found.b == pytest.approx(5, abs=0.8)
    assert found.train_time == pytest.approx((2.2, 0.44), abs=0.03)
    assert found.test_time == pytest.approx((1.6, 0.56), abs=0.04)
    assert (found.classes, found.lapses) == (4, 0.1)


def test_accuracies_include_lapses_by_hand():
    """(1 - .1) p + .1 / 2 has mean .6 where p has .55 / .9, and a spread 1 / .9 as large."""
    found = Population.of_accuracy(2, 6.0, 4.0, lapses=0.1)
    mean, total = found.a / (found.a + found.b), found.a + found.b
    assert mean == pytest.approx(0.55 / 0.9)
    assert mean * (1 - mean) / (total + 1) == pytest.approx(0.6 * 0.4 / 11 / 0.81)
    same = Population.of_accuracy(2, 6.0, 4.0, lapses=0.0)
    assert (same.a, same.b) == (pytest.approx(6), pytest.approx(4))


def test_wrong_answers_are_of_any_other_class():
    person = Population(3, 1.0, 3.0).participant(5)
    given = [person.answer(i, 1).given for i in range(4000)]
    right = 0.95 * person.ability + 0.05 / 3
    assert given.count(1) / 4000 == pytest.approx(right, abs=0.03)
    assert given.count(0) / 4000 == pytest.approx((1 - right) / 2, abs=0.03)


def test_lapses_are_guesses():
    person = Population(4, 1.0, 1.0, lapses=0.4).participant(0)
    given = [person.follow(i, [0, 0, 1, 0]).given for i in range(4000)]
    shares = [given.count(c) / 4000 for c in range(4)]
    assert shares == pytest.approx([0.1, 0.1, 0.7, 0.1], abs=0.025)


def test_without_lapses_a_certain_learner_is_followed():
    pool = cloud()
    person = Population(3, 1.0, 1.0, lapses=0.0).participant(0)
    learner = VersionSpaceLearners.new(drawn(pool), 3, 1)
    thought = learner.probabilities(pool.x).tolist()
    assert [person.follow(i, p).given for i, p in enumerate(thought)] == learner.predict(pool.x)[0].tolist()


def test_a_divided_learner_is_followed_in_proportion():
    person = Population(3, 1.0, 1.0, lapses=0.0).participant(1)
    given = [person.follow(i, [0.2, 0.5, 0.3]).given for i in range(4000)]
    assert [given.count(c) / 4000 for c in range(3)] == pytest.approx([0.2, 0.5, 0.3], abs=0.03)


def test_times_are_log_normal_by_phase():
    person = Population(2, 1.0, 1.0, LogNormal(3.0, 0.2), LogNormal(1.0, 0.5)).participant(0)
    for phase, mean, std in (("train", 3.0, 0.2), ("test", 1.0, 0.5)):
        logs = [math.log(person.answer(i, 0, phase).seconds) for i in range(3000)]
        assert statistics.mean(logs) == pytest.approx(mean, abs=0.04)
        assert statistics.stdev(logs) == pytest.approx(std, abs=0.03)


def test_the_same_person_in_another_process():
    code = (
        "from tutelage.participants import POPULATIONS; p = POPULATIONS['oct random'].participant(7, seed=3);"
        "print([tuple(p.answer(i, i % 3)) for i in range(5)])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    population = POPULATIONS["oct random"]
    person = population.participant(7, seed=3)
    assert out == str([tuple(person.answer(i, i % 3)) for i in range(5)])
    others = [population.participant(7), population.participant(8, seed=3), population.participant(7, seed=3, name="b")]
    assert len({person.ability, *(other.ability for other in others)}) == 4


def test_answers_do_not_depend_on_their_order():
    person = POPULATIONS["butterflies random"].participant(0)
    assert person.answer(3, 1) == [person.answer(i, 1) for i in range(5)][3]
    assert person.answer(3, 1, "train").seconds != person.answer(3, 1).seconds


def test_published_times():
    assert (tuple(TRAIN_TIME), tuple(TEST_TIME)) == ((2.2, 0.44), (1.6, 0.56))


def test_refused():
    with pytest.raises(ConfigError, match="needs 2 classes or more, a and b > 0"):
        Population(1, 1.0, 1.0)
    with pytest.raises(ConfigError, match=r"Beta\(99, 1\) of 3 classes with 0.1 lapses: there are no such people"):
        Population.of_accuracy(3, 99.0, 1.0, lapses=0.1)
    person = Population(3, 1.0, 1.0).participant(0)
    with pytest.raises(ConfigError, match="an item of class 3, but there are classes 0 to 2"):
        person.answer(0, 3)
    with pytest.raises(ConfigError, match='unknown phase "teach"'):
        person.answer(0, 1, "teach")
    for bad in ([0.5, 0.5], [0.5, 0.6, 0.0], [1.5, -0.5, 0.0], [float("nan"), 0.0, 1.0]):
        with pytest.raises(ConfigError, match="needs 3 >= 0 that sum to 1"):
            person.follow(0, bad)
    with pytest.raises(DataError, match="people differ by no more than chance"):
        fitted([10, 10, 10], 20, [1.0, 2.0], [1.0, 2.0], classes=3)
    with pytest.raises(DataError, match="1 answers to test items took time above 0 seconds; needs 2 or more"):
        fitted([2, 10, 19], 20, [1.0, 2.0], [1.0, 0.0], classes=3)


@pytest.mark.filterwarnings("ignore:chinese_chars")
@pytest.mark.parametrize(
    ("folder", "name"), [("butterflies_crop", "butterflies random"), ("chinese_chars", "characters random")]
)
def test_fitted_to_the_released_answers(real_data, folder, name):
    path = real_data / "explain_teach" / folder
    if not path.is_dir():
        pytest.skip(f"no released answers of people in {path}")
    population = POPULATIONS[name]
    answers = [answer for answer in read_answers([path]) if answer.arm == "random"]
    right = Counter(answer.session for answer in answers if answer.phase == "test" and answer.correct)
    train, test = ([a.seconds for a in answers if a.phase == phase and a.seconds] for phase in ("train", "test"))
    people = sorted({answer.session for answer in answers})
    found = fitted([right[person] for person in people], 20, train, test, classes=population.classes)
    assert (found.a, found.b) == pytest.approx((population.a, population.b), rel=0.01)
    assert found.train_time == pytest.approx(tuple(population.train_time), abs=0.2)
    assert found.test_time == pytest.approx(tuple(population.test_time), abs=0.3)
