"""Fingerprints: of networks, and of the batches that they are trained on."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...frozen import Frozen
from ...lesson import Batch


def fingerprint(nets: Sequence[nn.Module]) -> str:
    """Return one digest of the architectures and all values of networks, as teachers and caches tell it."""
    return Frozen(nets).identity


def fingerprint_of_batches(stream: Callable[[int], Batch], steps: int) -> str:
    """Return a SHA-256 over the number of steps, and rows and inputs of the first and the last one."""
    digest = hashlib.sha256(str(steps).encode())
    for step in (0, steps - 1):
        batch = stream(step)
        digest.update(_bytes(batch.index))
        digest.update(_bytes(batch.x))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
