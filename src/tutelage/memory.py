"""How much memory a call takes at most, and how much there is."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

_Result = TypeVar("_Result")

_UNTOLD = 8 << 30
"""Bytes that are assumed to be free where the system does not tell."""


def peak_bytes(call: Callable[[], _Result], device: torch.device) -> tuple[_Result, int]:
    """Return what a call returns, and the most bytes that it held at a time beyond those before it.

    On a CPU the running sum of all allocations and releases, by PyTorch's profiler: the same at each run, but a few
    times slower than the call alone. On CUDA the allocator's own count.

    Args:
        call: without arguments.
        device: whose memory.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = call()
        return result, torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as found:
        result = call()
    results = found.profiler.kineto_results if found.profiler else None
    assert results is not None
    running = most = 0
    for event in sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        running += event.nbytes()
        most = max(most, running)
    return result, most


class Kept:
    """Tensors that graphs keep, each storage once.

    Args:
        besides: tensors that are there anyway, and do not count.
    """

    def __init__(self, besides: Iterable[Tensor]) -> None:
        self._besides = {tensor.untyped_storage().data_ptr() for tensor in besides}
        self._seen: dict[int, int] = {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Count what graphs keep that are made within."""
        with torch.autograd.graph.saved_tensors_hooks(self.add, lambda tensor: tensor):
            yield

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor, and return it."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._besides:
            self._seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        """How many they take."""
        return sum(self._seen.values())


def free_bytes(device: torch.device) -> int:
    """Return how many bytes can still be had, about; on a CPU within the limit of the container.

    Args:
        device: whose memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    available = _facts(Path("/proc/meminfo")).get("MemAvailable:")
    found = _UNTOLD if available is None else 1024 * available
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        found = min(found, int((group / "memory.max").read_text()) - _facts(group / "memory.stat").get("anon", 0))
    return max(0, found)


def _facts(file: Path) -> dict[str, int]:
    """The numbers of a file whose lines are a name and a number; nothing without it."""
    if not file.is_file():
        return {}
    pairs = (line.split()[:2] for line in file.read_text().splitlines())
    return {name: int(number) for name, number in pairs}
