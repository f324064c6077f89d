"""How much memory a call takes at most."""

from collections.abc import Callable
from typing import TypeVar

import torch

_Result = TypeVar("_Result")


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
