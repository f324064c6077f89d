"""Ranks average their gradients in one place: two ranks with half a batch each equal one with the whole."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tutelage import SGD, Batch, Student, train
from tutelage.rules import Decay
from tutelage.stacked import StackedStudent
from tutelage.teachers import FixedWeights
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
