"""Ranks average their gradients in one place: two ranks with half a batch each equal one with the whole."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tutelage import SGD, Batch, Student, train
from tutelage.teachers import Uniform
from tutelage.testing import tiny_batch, tiny_net


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    student = Student(tiny_net(), SGD(0.3, momentum=0.9))
    half = slice(6 * rank, 6 * rank + 6)
    batches = [tiny_batch(seed=s) for s in range(4)]
    list(train(student, Uniform(), [Batch(b.x[half], b.y[half], b.index[half]) for b in batches]))
    torch.save(student.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path):
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    whole = Student(tiny_net(), SGD(0.3, momentum=0.9))
    list(train(whole, Uniform(), [tiny_batch(seed=s) for s in range(4)]))
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in whole.state_dict().items():
            assert torch.allclose(state[name].double(), value.double(), atol=1e-12), name
