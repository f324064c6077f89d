"""Episodes: fresh students until they are good enough, one step of the teacher for each."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.episodes import Episode, episodes
from tutelage.errors import ConfigError, NotFiniteError
from tutelage.evaluation import accuracy
from tutelage.randomness import seeded
from tutelage.teachers import KeepMask


def rows(n, seed):
    """Two clouds that a line parts, but for one in twelve."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, 2, generator=g) + torch.where(y == 1, 1.0, -1.0)[:, None]
    return Batch(x, y, 1000 * seed + torch.arange(n))


def student(episode, lr=0.02):
    with seeded(episode):
        return Student(nn.Linear(2, 2), SGD(lr), seed=episode)


def batches(episode):
    return (rows(8, 100 * episode + t) for t in itertools.count())


HELD_OUT = rows(200, 7)


def run(teacher, count, **options):
    return list(itertools.islice(episodes(teacher, student, batches, HELD_OUT, **({"t_max": 60} | options)), count))


def by_hand(teacher, number, tau, t_max, every=1):
    """One episode as a plain loop; leaves the teacher before its update."""
    pupil, best = student(number), 0.0
    for t, batch in enumerate(itertools.islice(batches(number), t_max)):
        batch = Batch(batch.x, batch.y, batch.index, t / t_max)
        lesson = teacher.teach(batch, pupil)
        teacher.learn(lesson, pupil, None)
        pupil.study(lesson)
        if (t + 1) % every == 0:
            found = accuracy(pupil.predict(HELD_OUT.x), HELD_OUT.y)
            teacher.measured(found)
            best = max(best, found)
            if found >= tau:
                return t + 1, best
    return None, best


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("tau", [0.8, 0.92, 1.0])
def test_episodes_against_a_plain_loop(tau, every):
    ours, plain = KeepMask(2), KeepMask(2)
    for number, episode in enumerate(run(ours, 3, tau=tau, every=every)):
        reached, best = by_hand(plain, number, tau, 60, every)
        metrics = plain.end_episode(reached, 60)
        used = reached or 60
        assert episode[:5] == (number, reached, used, used, best)
        assert episode.metrics == metrics
    for name, value in plain.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name


def test_a_student_is_good_enough_at_some_time():
    found = run(KeepMask(2), 4, tau=0.9, t_max=200)
    assert all(1 <= e.reached < 200 and e.accuracy >= 0.9 for e in found)
    assert len({e.reached for e in found}) > 1
    assert all(e.metrics["return"] == pytest.approx(math.log(200 / e.reached)) for e in found)
    assert all(0.7 < e.kept < 1 for e in found)
    assert isinstance(found[0], Episode)


def test_patience_counts_episodes_that_were_no_better():
    teacher = KeepMask(2)
    found = list(episodes(teacher, lambda e: student(e, lr=0.0), batches, HELD_OUT, t_max=3, tau=1.0, patience=4))
    assert [e.metrics["return"] for e in found] == [0.0] * 5  # the first one is an improvement on none
    assert list(episodes(teacher, student, batches, HELD_OUT, t_max=3, patience=4)) == []
    assert len(run(teacher, 2, patience=None)) == 2


def test_a_run_that_is_stopped_goes_on_with_the_same_bytes():
    whole = KeepMask(2)
    needed = run(whole, 5, tau=0.9)
    teacher = KeepMask(2)
    first = run(teacher, 2, tau=0.9)
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    by_hand(teacher, 2, 2.0, 5)  # the third episode is cut short
    for saved in (state, teacher.state_dict()):
        other = KeepMask(2, seed=9)
        other.load_state_dict(saved)
        assert first + run(other, 3, tau=0.9) == needed
        assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), other.state_dict().values()))


def test_kept_examples_are_gathered():
    teacher, studied = KeepMask(2, bias=0.0, hidden=0), []

    class Pupil(Student):
        def study(self, lesson):
            studied.append(lesson)
            return super().study(lesson)

    def pupil(episode):
        return Pupil(nn.Linear(2, 2), SGD(0.0), seed=episode)

    (found,) = itertools.islice(episodes(teacher, pupil, batches, HELD_OUT, t_max=40, tau=1.0, accumulate=20), 1)
    assert found.batches == 40
    assert found.steps == len(studied)
    assert 3 <= len(studied) <= 16
    assert all(20 <= len(lesson) < 28 and bool((lesson.weight == 1).all()) for lesson in studied)
    total = round(found.kept * 320)
    assert 0 <= total - sum(map(len, studied)) < 20
    rows_seen = torch.cat([lesson.x for lesson in studied])
    stream = torch.cat([b.x for b in itertools.islice(batches(0), 40)])
    places = [int((stream == row).all(1).nonzero()[0]) for row in rows_seen]
    assert places == sorted(set(places))  # in order, none twice


def test_gathering_reaches_the_goal_too():
    found = run(KeepMask(2), 2, tau=0.9, accumulate=12, t_max=200)
    assert all(1 < e.reached == e.batches and e.steps <= e.batches // 2 + 1 for e in found)


def test_a_source_that_ends_ends_the_episode():
    teacher = KeepMask(2)
    short = episodes(teacher, student, lambda e: itertools.islice(batches(e), 2), HELD_OUT, t_max=50, tau=1.0)
    assert next(short)[:3] == (0, None, 2)
    with pytest.raises(ConfigError, match="an episode had no batches; batches must return new ones"):
        next(episodes(teacher, student, lambda e: [], HELD_OUT, t_max=50))


def test_what_is_not_finite_stops():
    for accumulate in (None, 16):
        with pytest.raises(NotFiniteError, match="teacher KeepMask"):
            list(
                episodes(
                    KeepMask(2),
                    partial(student, lr=1e38),
                    batches,
                    HELD_OUT,
                    t_max=50,
                    tau=1.0,
                    patience=1,
                    accumulate=accumulate,
                )
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_max": 0}, "t_max of the episodes is 0; it must be at least 1"),
        ({"every": 0}, "every of the episodes is 0"),
        ({"accumulate": 0}, "accumulate of the episodes is 0"),
        ({"patience": 0}, "patience of the episodes is 0"),
        ({"tau": 0.0}, r"tau is 0\.0; it is an accuracy, in \(0, 1\]"),
        ({"tau": 80}, "tau is 80"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        run(KeepMask(2), 1, **options)
