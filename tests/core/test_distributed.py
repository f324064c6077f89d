"""Ranks average their gradients in one place: two ranks with half a batch each equal one with the whole."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tutelage import SGD, Batch, Student, train
from tutelage.errors import ConfigError
from tutelage.rules import Decay
from tutelage.stacked import StackedStudent
from tutelage.teachers import FixedWeights, MetaPseudoLabels
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import train_stacked

RULE = SGD(0.3, momentum=0.9, weight_decay=Decay(0.1, on="weights", scaled=True))
TEACHER = FixedWeights(torch.linspace(0, 1, 1000))


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = slice(6 * rank, 6 * rank + 6)
    parts = [Batch(b.x[half], b.y[half], b.index[half]) for b in (tiny_batch(seed=s) for s in range(4))]
    student = Student(tiny_net(), RULE)
    list(train(student, TEACHER, parts))
    pair = StackedStudent([Student(tiny_net(seed=s), RULE, seed=s) for s in range(2)])
    list(train_stacked(pair, [TEACHER, TEACHER], [(part, part) for part in parts], [None, None]))
    torch.save(student.state_dict(), f"{folder}/{rank}.pt")
    torch.save(pair.students()[0].state_dict(), f"{folder}/stacked-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path):
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    whole = Student(tiny_net(), RULE)
    list(train(whole, TEACHER, [tiny_batch(seed=s) for s in range(4)]))
    for rank in ("0", "1", "stacked-0", "stacked-1"):
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in whole.state_dict().items():
            assert torch.allclose(state[name].double(), value.double(), atol=1e-12), name


LABELLED = tiny_batch(8, seed=90)
PSEUDO = ("soft-jvp", "soft-fd", "hard-per-sample", "hard-scalar")


def pseudo_labelled(mode, half):
    """A teacher and a student after three steps with the rows of ``half``, labelled and unlabelled."""
    teacher = MetaPseudoLabels(tiny_net(seed=1), SGD(0.1, momentum=0.9), mode, temperature=0.7).double()
    student = Student(tiny_net(seed=2), SGD(0.3))
    few = slice(half.start * 2 // 3, half.stop * 2 // 3)
    labelled = Batch(LABELLED.x[few], LABELLED.y[few], LABELLED.index[few])
    whole = [tiny_batch(seed=s) for s in range(3)]
    list(train(student, teacher, [Batch(b.x[half], b.y[half], b.index[half], labelled=labelled) for b in whole]))
    return {f"teacher.{n}": v for n, v in teacher.state_dict().items()} | student.state_dict()


def pseudo_work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for mode in PSEUDO:
        torch.save(pseudo_labelled(mode, slice(6 * rank, 6 * rank + 6)), f"{folder}/{mode}-{rank}.pt")
    with pytest.raises(ConfigError, match="soft-unroll runs in one process; over several ranks use soft-jvp"):
        pseudo_labelled("soft-unroll", slice(0, 6))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_of_pseudo_labels_equal_one(tmp_path):
    """The student's gradient, its feedback and the teacher's gradient are averaged; credits are local."""
    mp.spawn(pseudo_work, (str(tmp_path),), nprocs=2)
    for mode in PSEUDO:
        whole = pseudo_labelled(mode, slice(0, 12))
        for rank in (0, 1):
            state = torch.load(tmp_path / f"{mode}-{rank}.pt", weights_only=True)
            for name, value in whole.items():
                assert torch.allclose(state[name].double(), value.double(), atol=1e-11), (mode, name)
