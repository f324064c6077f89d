"""Processes that train together, if ``torch.distributed`` runs: nothing else knows of them."""

from collections.abc import Sequence

import torch.distributed
from torch import Tensor


def ranks() -> int:
    """Return how many processes train together: 1 unless ``torch.distributed`` runs."""
    on = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if on else 1


def mean_over_ranks(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Average tensors over the ranks, in place; alone, leave them."""
    if (count := ranks()) > 1:
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)
            tensor.div_(count)
    return tensors
