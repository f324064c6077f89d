"""Plans: golden draws, a naive oracle, boundaries, states, a reading thread, bad input."""

import bisect
import math
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from tutelage.data import Plans
from tutelage.data.plans import NoPlan
from tutelage.errors import ConfigError
from tutelage.randomness import counter, stream

KEY = stream(0, "plan")
RAMP = torch.arange(10, dtype=torch.float64)


def u(key, *counters):
    return (counter(key, *counters) >> 40) / 2**24


def drawn(boundary, draws, key, order=None, probability=None, replacement=True):
    """What a boundary draws, by the definition."""
    if order is not None:
        return list(order)
    if replacement:
        cumulative, total = [], 0.0
        for p in probability:
            total += p
            cumulative.append(total)
        return [bisect.bisect_right([c / total for c in cumulative], u(key, boundary, t)) for t in range(draws)]
    late = {i: -math.log(1 - u(key, boundary, i)) / p for i, p in enumerate(probability) if p > 0}
    return sorted(late, key=lambda i: (late[i], i))[:draws]


def published(n, every, *plans):
    out = Plans(n, every)
    for plan in plans:
        out.keep() if plan is None else out.publish(**plan)
    return out


def read(plans, start=0, stop=None, key=KEY):
    return plans.index(np.arange(start, plans.limit() if stop is None else stop), key).tolist()


GOLDEN = [
    [9, 9, 8, 5, 6, 9, 9, 8, 4, 9],
    [5, 6, 5, 7, 8, 7, 6, 4, 9, 5],
    [4, 5, 6, 7, 1, 9, 8, 2, 0, 3],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
]


def test_golden_draws():
    plans = published(10, "pass", {"probability": RAMP}, None, {"probability": RAMP + 1, "replacement": False})
    plans.publish(order=torch.arange(9, -1, -1))
    assert plans.limit() == 40
    assert np.array(read(plans)).reshape(4, 10).tolist() == GOLDEN


@st.composite
def programmes(draw):
    """n, draws a boundary, and what is published or kept (None) at each."""
    n, every = draw(st.integers(1, 8)), draw(st.integers(1, 10))
    weights = st.lists(st.sampled_from([0.0, 0.0, 0.1, 1.0, 2.5, 1e-300, 1e12]), min_size=n, max_size=n)
    orders = st.lists(st.integers(0, n - 1), min_size=every, max_size=every)
    plans = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["order", "with", "without", "keep"]))
        if kind == "keep" and plans:
            plans.append(None)
        elif kind == "with" or (kind == "without" and every <= n):
            p = draw(weights.filter(any))
            if kind == "without" and sum(map(bool, p)) < every:
                p = [w + 0.5 for w in p]
            plans.append({"probability": p, "replacement": kind == "with"})
        else:
            plans.append({"order": draw(orders)})
    return n, every, plans


def tensors(plan):
    exact = {"order": torch.int64, "probability": torch.float64}
    return plan and {k: torch.tensor(v, dtype=exact[k]) if k in exact else v for k, v in plan.items()}


@settings(deadline=None, max_examples=200)
@given(programmes(), st.integers(0, 2**64 - 1), st.data())
def test_draws_are_those_of_the_definition(programme, key, data):
    n, every, plans = programme
    mail = published(n, every, *map(tensors, plans))
    expected, present = [], None
    for boundary, plan in enumerate(plans):
        present = plan or present
        expected += drawn(boundary, every, key, **present)
    assert mail.limit() == len(expected) == every * len(plans)
    assert read(mail, key=key) == expected
    some = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=20))  # in any order, with repeats
    assert mail.index(np.array(some, dtype=np.int64), key).tolist() == [expected[i] for i in some]


def test_elements_of_probability_zero_are_never_drawn():
    p = torch.tensor([0.0, 1.0, 0.0, 0.0, 1e-30, 1.0, 0.0])
    with_replacement = read(published(7, 3000, {"probability": p}))
    assert set(with_replacement) == {1, 5}
    for boundary in range(50):
        mail = published(7, 3, *[{"probability": p, "replacement": False}] * (boundary + 1))
        assert sorted(read(mail, 3 * boundary)) == [1, 4, 5]


def test_a_draw_on_an_edge_goes_to_the_element_behind_it():
    edge = u(KEY, 0, 0)
    assert read(published(2, 1, {"probability": torch.tensor([edge, 1 - edge], dtype=torch.float64)})) == [1]


def test_shares_are_as_published():
    p = torch.tensor([1.0, 2.0, 3.0, 4.0])
    counts = np.bincount(read(published(4, 40_000, {"probability": p})))
    assert np.abs(counts - 4000 * np.arange(1, 5)).max() < 5 * 100  # 5 standard deviations
    mail = published(4, 2, {"probability": p, "replacement": False}, *[None] * 3999)
    pairs = np.array(read(mail)).reshape(-1, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    for first in range(4):
        for second in {0, 1, 2, 3} - {first}:
            share = (first + 1) / 10 * (second + 1) / (9 - first)
            assert abs((pairs == (first, second)).all(1).mean() - share) < 5 * math.sqrt(share / 4000)


def test_equals_come_by_index():
    n = 200_000  # 2^24 values of u: many are equal
    order = np.array(read(published(n, "pass", {"probability": torch.ones(n), "replacement": False})))
    assert (np.sort(order) == np.arange(n)).all()
    values = np.array([u(KEY, 0, i) for i in order[:2000].tolist()])
    assert (np.diff(values) >= 0).all()
    some = np.array(read(published(n, 1000, {"probability": torch.ones(n), "replacement": False})))
    assert (some == order[:1000]).all()  # by a partition, not a sort of all


def test_a_boundary_ends_the_reading_until_it_is_planned():
    mail = Plans(10, every=4)
    assert mail.limit() == 0
    with pytest.raises(NoPlan, match=r"^plan: no plan for boundary 0; call publish\(\.\.\.\) or keep\(\) before it\.$"):
        read(mail, 0, 1)
    mail.publish(order=torch.tensor([3, 3, 1, 0]))
    mail.keep()
    mail.keep()
    assert mail.limit() == 12
    assert read(mail) == [3, 3, 1, 0] * 3
    with pytest.raises(
        ConfigError, match=r"plan: no plan for boundary 3; call publish\(\.\.\.\) or keep\(\) before it\."
    ):
        read(mail, 11, 13)
    mail.publish(order=torch.tensor([9, 8, 7, 6]))
    assert read(mail, 11, 13) == [0, 9]


def test_kept_plans_draw_anew_and_keys_differ():
    mail = published(1000, 50, {"probability": torch.ones(1000)}, None)
    assert read(mail, 0, 50) != read(mail, 50, 100)
    assert read(mail) != read(mail, key=KEY + 1)
    assert read(mail) == read(mail)
    mail = published(1000, 50, {"probability": torch.ones(1000), "replacement": False})
    assert read(mail) != read(mail, key=KEY + 1)


def test_what_is_published_may_change_afterwards():
    order, probability = torch.tensor([1, 0]), torch.ones(2, dtype=torch.float64)
    mail = published(2, 2, {"order": order}, {"probability": probability, "replacement": False})
    before = read(mail)
    order.zero_()
    probability.zero_()
    assert read(mail) == before
    state = mail.state_dict()
    state["plan.0"].zero_()
    assert read(mail) == before


def test_any_dtype_will_do_and_gradients_are_no_matter():
    p = torch.tensor([1.0, 0.0, 3.0], requires_grad=True)
    expected = read(published(3, 20, {"probability": p}))
    for other in (p.bfloat16(), p.long(), p.half(), np.array([1, 0, 3])):
        assert read(published(3, 20, {"probability": other})) == expected
    assert read(published(3, 2, {"order": torch.tensor([2, 0], dtype=torch.int32)})) == [2, 0]


def test_plans_long_read_are_dropped_and_the_rest_stays():
    mail = Plans(3, every=2)
    for boundary in range(40):
        mail.publish(order=torch.full((2,), boundary % 3))
    assert read(mail) == [b % 3 for b in range(40) for _ in range(2)]  # published ahead: all are there
    mail.publish(order=torch.zeros(2, dtype=torch.int64))
    assert read(mail, 62) == [b % 3 for b in range(31, 40) for _ in range(2)] + [0, 0]
    message = (
        r"plan: the plan of boundary 30 is gone, the oldest one left is of boundary 31; a new run needs new Plans\."
    )
    with pytest.raises(ConfigError, match=message) as caught:
        read(mail, 61, 62)
    assert not isinstance(caught.value, NoPlan)
    assert len(mail.state_dict()["first"]) == 10


def test_a_plan_kept_for_long_is_there_while_it_is_read():
    mail = published(3, 2, {"order": torch.tensor([0, 1])}, *[None] * 30)
    read(mail)
    mail.publish(order=torch.tensor([2, 2]))
    assert read(mail, 60) == [0, 1, 2, 2]


@settings(deadline=None, max_examples=100)
@given(programmes(), st.integers(0, 6))
def test_going_on_from_a_state_is_as_going_on(programme, cut):
    n, every, plans = programme
    mail, fresh = published(n, every, *map(tensors, plans[:cut])), Plans(n, every)
    read(mail)
    fresh.load_state_dict(load(save(mail.state_dict())))  # nothing but tensors
    copied = pickle.loads(pickle.dumps(mail))  # noqa: S301
    for plan in plans[cut:]:
        for m in (mail, fresh, copied):
            m.keep() if plan is None else m.publish(**tensors(plan))
    assert mail.digest() == fresh.digest() == copied.digest()
    assert read(mail) == read(fresh) == read(copied)


def test_a_state_replaces_what_was_read():
    state = published(9, 3, {"probability": torch.ones(9), "replacement": False}).state_dict()
    mail = published(9, 3, {"probability": torch.arange(9.0), "replacement": False}, *[None] * 30)
    read(mail, 0, 3)
    read(mail, 90)
    mail.load_state_dict(state)
    first = read(mail)
    mail.publish(order=torch.tensor([0, 1, 2]))
    assert read(mail) == [*drawn(0, 3, KEY, probability=[1.0] * 9, replacement=False), 0, 1, 2]
    assert first == read(mail, 0, 3)


def test_digest():
    base = [{"probability": torch.ones(4)}, None, {"order": torch.tensor([0, 1])}]
    others = [
        base[:2],
        [*base, None],
        [base[0], base[2], None],
        [{"probability": torch.ones(4), "replacement": False}, *base[1:]],
        [{"probability": torch.tensor([1.0, 1, 1, 1 + 1e-6])}, *base[1:]],
        [*base[:2], {"order": torch.tensor([1, 0])}],
        [],
    ]
    digests = [published(4, 2, *plans).digest() for plans in [base, *others]]
    assert [d["version"] for d in digests] == [2, 1, 2, 2, 2, 2, 2, 0]
    assert len({d["sha256"] for d in digests}) == len(digests)
    assert Plans(4, 2).digest() != Plans(4, 3).digest()
    again = published(4, 2, *base)
    read(again)
    assert again.digest() == digests[0]
    assert len(again.digest()["sha256"]) == 64


def test_a_thread_may_read_while_another_publishes():
    boundaries, every, n = 300, 7, 50
    weights = torch.rand(boundaries, n, generator=torch.Generator().manual_seed(0)) + 0.01
    mail, found, failed = Plans(n, every), [], []

    def reader():
        at = 0
        try:
            while at < boundaries * every:
                stop = min(at + 10, mail.limit())
                if stop > at:
                    found.extend(read(mail, at, stop))
                    at = stop
        except Exception as error:  # noqa: BLE001 - shown below
            failed.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for boundary in range(boundaries):
        mail.publish(probability=weights[boundary], replacement=bool(boundary % 2))
    thread.join(timeout=600)
    assert not failed
    alone = Plans(n, every)
    expected = []
    for boundary in range(boundaries):
        alone.publish(probability=weights[boundary], replacement=bool(boundary % 2))
        expected += read(alone, every * boundary)
    assert found == expected


def test_nothing_changes_the_global_random_state():
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    read(published(4, 4, {"probability": torch.ones(4)}, {"probability": torch.ones(4), "replacement": False}))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()  # noqa: NPY002


ONES = torch.ones(4)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p: Plans(0), r"plan: n is 0; it must be at least 1\."),
        (lambda p: Plans(4, every=0), r'plan: every is 0; it must be at least 1, or "pass"\.'),
        (lambda p: Plans(4, every="epoch"), r"plan: every is 'epoch'; it must be at least 1, or \"pass\"\."),
        (lambda p: Plans(4, every=2.5), r"plan: every is 2\.5; it must be"),
        (lambda p: Plans(4).keep(), r"plan: there is none to keep; call publish\(\.\.\.\) first\."),
        (lambda p: p.publish(), r"plan: publish takes either order=\.\.\. or probability=\.\.\.\."),
        (lambda p: p.publish(order=ONES, probability=ONES), r"plan: publish takes either"),
        (lambda p: p.publish(order=ONES[:3]), r"plan: order is float32 \(3,\); it must be int64 \(3,\)\."),
        (lambda p: p.publish(order=torch.tensor([0, 1])), r"plan: order is int64 \(2,\); it must be int64 \(3,\)\."),
        (lambda p: p.publish(order=torch.tensor([0, 4, 1])), r"plan: order names element 4; valid are 0\.\.3\."),
        (lambda p: p.publish(order=torch.tensor([0, -1, 1])), r"plan: order names element -1; valid are 0\.\.3\."),
        (lambda p: p.publish(probability=ONES[:3]), r"plan: probability has shape \(3,\); it must be \(4,\)\."),
        (
            lambda p: p.publish(probability=torch.tensor([1, 1, float("nan"), 1])),
            r"plan: probability\[2\] is nan; it must be finite and >= 0\.",
        ),
        (lambda p: p.publish(probability=torch.tensor([1, float("inf"), 0, 0])), r"probability\[1\] is inf; it"),
        (lambda p: p.publish(probability=torch.tensor([1.0, -0.5, 0, 0])), r"probability\[1\] is -0\.5; it"),
        (
            lambda p: p.publish(probability=ONES * 0),
            r"plan: probability sums to 0\.0; the sum must be positive and finite\.",
        ),
        (lambda p: p.publish(probability=ONES.double() * 1e308), r"plan: probability sums to inf; the sum"),
        (
            lambda p: p.publish(probability=torch.tensor([1.0, 0, 0, 2.0]), replacement=False),
            r"plan: 3 draws without replacement need as many elements of positive probability, but there are 2; draw "
            r"fewer with every=\.\.\., or use replacement=True\.",
        ),
        (
            lambda p: p.load_state_dict(Plans(4, 2).state_dict()),
            r"plan: the state has \[n, every\] \[4, 2\]; it does not fit plans that have \[4, 3\]\.",
        ),
        (lambda p: p.load_state_dict({}), r"plan: this is no state of Plans \(KeyError\('sizes'\)\)\."),
        (
            lambda p: p.load_state_dict(p.state_dict() | {"plan.0": torch.tensor([0, 1, 9])}),
            r"plan: order names element 9",
        ),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(act, message):
    mail = published(4, 3, {"order": torch.tensor([0, 1, 2])})
    before = mail.digest()
    with pytest.raises(ConfigError, match=message):
        act(mail)
    assert mail.digest() == before
    assert read(mail) == [0, 1, 2]
