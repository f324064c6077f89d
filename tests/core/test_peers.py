"""Peers teach each other: the formula, both orders, one pass each, nothing crosses."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.errors import ConfigError, NotFiniteError, ShapeError
from tutelage.peers import PeerLogits, train_peers
from tutelage.randomness import seeded
from tutelage.soft_targets import LogitMatching, MutualLearning
from tutelage.teachers import Distillation
from tutelage.testing import check_teacher, tiny_batch, tiny_net

BATCHES = [tiny_batch(seed=s) for s in range(4)]


def small(seed=7):
    with seeded(seed):
        return nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 3)).double()


def nets(k=3):
    """Peers of different architectures."""
    return [tiny_net("batchnorm", seed=1), small(), tiny_net("plain", seed=2)][:k]


def by_hand(networks, order, ce_weight=1.0, kd_weight=1.0):
    """Deep mutual learning by plain torch; a copy is looked at where running statistics must not move."""
    optimisers = [torch.optim.SGD(net.train().parameters(), 0.1, momentum=0.9) for net in networks]
    losses = []

    def loss_of(mine, others, y):
        loss = ce_weight * F.cross_entropy(mine, y)
        for other in others:
            log_p, log_q = torch.log_softmax(mine, 1), torch.log_softmax(other.detach(), 1)
            loss = loss + kd_weight * (log_q.exp() * (log_q - log_p)).sum(1).mean() / len(others)
        return loss

    for batch in BATCHES:
        before = [copy.deepcopy(net)(batch.x) for net in networks]
        row = []
        for i, (net, optimiser) in enumerate(zip(networks, optimisers)):
            now = before if order == "simultaneous" else [copy.deepcopy(other)(batch.x) for other in networks]
            loss = loss_of(net(batch.x), [z for j, z in enumerate(now) if j != i], batch.y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            row.append(float(loss.detach()))
        losses.append(row)
    return losses


@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
@pytest.mark.parametrize("k", [2, 3])
def test_equals_plain_loops(order, k):
    networks = nets(k)
    students = [Student(net, SGD(0.1, momentum=0.9), seed=i) for i, net in enumerate(nets(k))]
    steps = list(train_peers(students, BATCHES, loss=MutualLearning(0.7, 1.3), order=order))
    needed = by_hand(networks, order, 0.7, 1.3)
    for row, wanted in zip(steps, needed, strict=True):
        assert [float(step.metrics["loss"]) for step in row] == pytest.approx(wanted, abs=1e-12)
    for student, net in zip(students, networks):
        assert student.step == 4
        for name, value in net.state_dict().items():
            assert torch.allclose(value.double(), student.net.state_dict()[name].double(), atol=1e-12), name


def passes_of(students):
    counts = [0] * len(students)

    def counter(i):
        def count(*_):
            counts[i] += 1

        return count

    for i, student in enumerate(students):
        student.architecture.register_forward_hook(counter(i))
    return counts


def test_each_student_makes_one_pass_a_step():
    students = [Student(net, SGD(0.1)) for net in nets()]
    counts = passes_of(students)
    list(train_peers(students, BATCHES))
    assert counts == [4, 4, 4]


def test_in_sequence_only_what_changed_is_asked_again():
    students = [Student(net, SGD(0.1)) for net in nets()]
    counts = passes_of(students)
    list(train_peers(students, BATCHES[:1], order="sequential"))
    assert counts == [2, 2, 1]


def test_gradients_do_not_cross():
    students = [Student(net, SGD(0.1)) for net in nets(2)]
    batch = BATCHES[0]
    lesson = Distillation(PeerLogits([students[1]]), MutualLearning()).teach(batch, students[0])
    loss = lesson.mark(students[0].logits(batch.x))
    mine, theirs = (list(student.params.values()) for student in students)
    found = torch.autograd.grad(loss, [*mine, *theirs], allow_unused=True)
    assert all(g is not None for g in found[: len(mine)])
    assert all(g is None for g in found[len(mine) :])


def test_looking_at_peers_leaves_no_trace():
    other = Student(tiny_net("batchnorm"), SGD(0.1), seed=5)
    before = {n: v.clone() for n, v in other.state_dict().items()}
    state = torch.get_rng_state()
    PeerLogits([other]).answers_for(BATCHES[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], v) for n, v in other.state_dict().items())


def test_a_run_that_is_restored_goes_on_with_the_same_bytes():
    def made():
        return [Student(tiny_net("dropout", seed=s), SGD(0.1, momentum=0.9), seed=s) for s in range(2)]

    whole, first, second = made(), made(), made()
    list(train_peers(whole, BATCHES))
    list(train_peers(first, BATCHES[:2]))
    for student, restored in zip(first, second):
        restored.load_state_dict(student.state_dict())
    list(train_peers(second, BATCHES[2:]))
    for a, b in zip(whole, second):
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_steps_say_what_happened():
    students = [Student(net, SGD(0.1)) for net in nets(2)]
    (row,) = train_peers(students, BATCHES[:1])
    assert [step.number for step in row] == [0, 0]
    assert row[0].batch is BATCHES[0]
    assert row[0].lesson.target.logits.shape == (12, 1, 3)
    assert row[0].lesson.notes["source"] == "peers"
    assert row[0].lesson.notes["peers"] == 1
    assert torch.equal(row[0].lesson.target.logits[:, 0], row[1].metrics["logits"])


def test_other_losses_and_single_rows():
    students = [Student(net, SGD(0.1)) for net in (small(1), small(2))]
    one = Batch(BATCHES[0].x[:1], BATCHES[0].y[:1], BATCHES[0].index[:1])
    with pytest.raises(ShapeError, match=r"teacher's logits have shape \(12, 1, 3\)"):
        list(train_peers(students, BATCHES, loss=LogitMatching()))
    list(train_peers(students, [one] * 2))
    assert all(bool(p.isfinite().all()) for student in students for p in student.params.values())


def test_it_stops_when_a_loss_is_not_finite():
    students = [Student(net, SGD(1e200)) for net in nets(2)]
    with pytest.raises(
        NotFiniteError, match=r"the loss is .* at step \d+ \(teacher Distillation, learning rate 1e\+200"
    ):
        list(train_peers(students, [BATCHES[0]] * 5))


@pytest.mark.parametrize("count", [0, 1])
def test_it_takes_two(count):
    students = [Student(small(), SGD(0.1)) for _ in range(count)]
    with pytest.raises(ConfigError, match=f"{count} students given, {count} of them different; .* at least 2"):
        train_peers(students, BATCHES)


def test_a_student_is_no_peer_of_itself():
    student = Student(small(), SGD(0.1))
    with pytest.raises(ConfigError, match="2 students given, 1 of them different"):
        train_peers([student, student], BATCHES)


def test_unknown_order():
    students = [Student(net, SGD(0.1)) for net in nets(2)]
    with pytest.raises(ConfigError, match=r'unknown order "sequence"\. Did you mean "sequential"'):
        train_peers(students, BATCHES, order="sequence")


def test_classes_that_differ():
    wide = nn.Linear(6, 5).double()
    with pytest.raises(ShapeError, match="the peers answer with 3, 5 classes"):
        list(train_peers([Student(net, SGD(0.1)) for net in (small(1), small(2), wide)], BATCHES))
    with pytest.raises(ShapeError, match="student answers with 3 classes, but the teacher with 5"):
        list(train_peers([Student(net, SGD(0.1)) for net in (small(), wide)], BATCHES))


def test_the_contract_of_teachers():
    """With peers that stand still, mutual learning is a teacher as any."""
    peers = [Student(tiny_net(kind, seed=8), SGD(0.1)) for kind in ("plain", "dropout")]
    check_teacher(lambda: Distillation(InFull(peers), MutualLearning()))


class InFull:
    """Peers of float64, asked in float32 as well."""

    def __init__(self, peers):
        self.peers = PeerLogits(peers)

    def answers_for(self, batch):
        return self.peers.answers_for(Batch(batch.x.double(), batch.y, batch.index)).to(batch.x.dtype)

    def notes(self, batch):
        return self.peers.notes(batch)
