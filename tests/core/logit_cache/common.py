"""Small data and teachers for tests of the logit cache."""

import hashlib

import numpy as np
import torch

from tutelage.data import Pipeline, from_arrays

CLASSES = 5


def source(n=60, *, seed=0, shape=(1, 6, 6)):
    rng = np.random.default_rng(seed)
    return from_arrays(rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % CLASSES, num_classes=CLASSES)


def rows(n=60, index=None, **kwargs):
    return Pipeline.from_source(source(n, **kwargs), index=index).augment()


class Linear:
    """Logits ``scale * (W x)``; counts its calls."""

    def __init__(self, inputs=36, classes=CLASSES, *, seed=0, scale=1.0, name=""):
        self.weight = torch.randn(classes, inputs, generator=torch.Generator().manual_seed(seed)) * scale
        self.name, self.calls = name, 0

    def answers(self, x):
        self.calls += 1
        return x.reshape(len(x), -1).float() @ self.weight.T

    def fingerprint(self):
        weight = hashlib.sha256(self.weight.numpy().tobytes()).hexdigest()
        return {"architecture": f"linear {tuple(self.weight.shape)}", "tensor weight": weight, "name": self.name}

    @property
    def identity(self):
        return hashlib.sha256(repr(sorted(self.fingerprint().items())).encode()).hexdigest()[:16]
