"""One setting of the C library's allocator that training on a CPU gains from."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed memory back to the system between steps; return whether it took the setting.

    The activations of a step are freed together, so the heap is trimmed and the next step pays for every page again: a
    tenth of the time of a small convolutional network. The process stays at its peak size instead. The command line
    calls this; a library that is imported must not.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20) and mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))
