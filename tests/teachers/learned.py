"""Small runs for teachers that learn from a validation loss, and their oracle: central differences of real training."""

import contextlib
from dataclasses import replace

import torch

from tests.core.look_ahead import along, flat
from tutelage import SGD, Batch, Student
from tutelage.losses import cross_entropy
from tutelage.schedules import Cosine, StepDecay
from tutelage.testing import tiny_batch, tiny_net

RATES = {"cosine": Cosine(0.5, 12), "steps": StepDecay(0.4, (1, 3), 0.3)}


def student(rate="cosine", kind="plain", dtype=torch.float64, rule=None):
    return Student(tiny_net(kind, dtype=dtype), rule or SGD(RATES[rate], momentum=0.9, weight_decay=0.01), seed=3)


def validation(rows=15, dtype=torch.float64):
    return tiny_batch(rows, seed=99, dtype=dtype)


def batches(count, n=12, total=100, dtype=torch.float64):
    """Batches of a training of ``total`` steps."""
    return [tiny_batch(n, seed=200 + t, progress=t / total, dtype=dtype) for t in range(count)]


def window(given):
    """The first of some batches, with the others ahead of it."""
    return replace(given[0], ahead=tuple(given[1:]))


def copy_of(original):
    twin = Student(original.architecture, original.rule)
    twin.load_state_dict(original.state_dict())
    return twin


def loss_after(teacher, given, start, trusted, training=False):
    """The validation loss of a student that really studies some batches with this teacher, which learns nothing."""
    twin = copy_of(start)
    for batch in given:
        twin.study(teacher.teach(batch, twin))
    return float(cross_entropy(twin.logits(trusted.x, training=training), trusted.y).mean().detach())


@contextlib.contextmanager
def values(parameters, given):
    """Some other values in place of the parameters."""
    old = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, value in zip(parameters, given):
            p.copy_(value)
        yield
        for p, value in zip(parameters, old):
            p.copy_(value)


def error_of_learn(teacher, given, start, trusted, frozen=None, training=False):
    """How far the gradient that ``learn`` leaves is from central differences, relative to its length.

    ``frozen``: a module of the teacher whose inputs during the look-ahead are those of the real training as well.
    """
    parameters = list(teacher.parameters())
    before = [p.detach().clone() for p in parameters]
    batch = window(given)
    with recorded(frozen) as seen:
        teacher.learn(teacher.teach(batch, start), start, trusted)
    found = [p.grad.clone() for p in parameters]
    assert float(flat(found).norm()) > 1e-6

    def loss(moved):
        with values(parameters, moved), replayed(frozen, seen):
            return loss_after(teacher, given, start, trusted, training)

    return along(loss, before, found, directions=4)


@contextlib.contextmanager
def recorded(module):
    """The inputs that a module gets in a block."""
    seen = []
    if module is None:
        yield seen
        return
    hook = module.register_forward_pre_hook(
        lambda _, inputs: seen.append([i.detach() if torch.is_tensor(i) else i for i in inputs])
    )
    yield seen
    hook.remove()


@contextlib.contextmanager
def replayed(module, seen):
    """A block in which a module gets these inputs, one after another, whatever it is given."""
    if module is None:
        yield
        return
    left = list(seen)
    hook = module.register_forward_pre_hook(lambda *_: tuple(left.pop(0)))
    yield
    hook.remove()
    assert not left


def as_batch(x, y, progress=0.0):
    return Batch(x, y, torch.arange(len(y)), progress)
