"""What the tests share."""

import json

import torch

from tutelage.data import Pipeline

from .chains import always, disturb
from .oracle import plain


def values(pipe, epoch=0):
    return [plain(element) for element in pipe.epoch(epoch)]


def indices(pipe, epoch=0):
    return [plain(record.index) for record in pipe.records(epoch)]


def both_forms(pipe):
    """The operators on a source of known length, and on the same one as a stream."""
    return [pipe(Pipeline.range), pipe(lambda n: Pipeline.range(n).filter(always))]


def counted(x):
    """The pipeline of 10 x, ..., 11 x."""
    return Pipeline.from_tensor_slices(torch.arange(10 * int(x), 11 * int(x) + 1))


def resumed(make, cuts, disturbed=True):
    """All that is received over restarts after ``cuts`` elements; ``make()`` gives a fresh iterator."""
    received, state = [], None
    for cut in (*cuts, None):
        with make() as it:
            if state is not None:
                it.load_state_dict(json.loads(json.dumps(state)))
            for item in it:
                received.append(item)
                if disturbed:
                    disturb()
                if cut is not None and len(received) >= cut:
                    break
            if cut is not None and len(received) < cut:
                return received
            state = it.state_dict()
    return received
