"""A small run folder, made by hand: what a recipe would leave behind."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.checkpoint import save_checkpoint
from tutelage.evaluation import paired, summary
from tutelage.runs import RunFolder

CLASSES = ["cat", "<script>alert(1)</script>", "dog"]
ARMS = ("uniform", "self-paced", "R&D")
EPOCHS, ROWS = 10, 40


def accuracies(seeds: int) -> dict[str, list[float]]:
    """self-paced is clearly better than uniform; R&D wins two seeds out of three by luck."""
    return {
        "uniform": [0.60, 0.61, 0.62][:seeds],
        "self-paced": [0.80, 0.81, 0.83][:seeds],
        "R&D": [0.66, 0.58, 0.63][:seeds],
    }


def _records(arm: str, seed: int, last: float) -> list[dict[str, Any]]:
    weighs = arm != "uniform"
    return [
        {
            "arm": arm,
            "seed": seed,
            "epoch": epoch,
            "accuracy": last * (epoch + 1) / EPOCHS,
            "weight_right": 0.9 if weighs else 1.0,
            "weight_wrong": 0.9 - 0.08 * epoch if weighs else 1.0,
        }
        for epoch in range(EPOCHS)
    ]


def tensors(arm: str, seeds: int, shape: tuple[int, ...] = (2, 1, 8, 8)) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    loss = generator.exponential(1.0, (EPOCHS, ROWS))
    loss[0, :5] = np.nan
    weight = np.ones_like(loss) if arm == "uniform" else (loss <= 0.7).astype(float)
    weight[np.isnan(loss)] = np.nan
    index = np.arange(0, 2 * ROWS, 2)
    true = np.arange(ROWS) % len(CLASSES)
    given = np.where(np.arange(ROWS) < 10, (true + 1) % len(CLASSES), true)
    mean_weight = np.full((seeds, ROWS), 0.5)
    mean_weight[0, :2] = 0.02, 0.04
    arrays = {
        "weight": weight.astype(np.float16),
        "loss": loss.astype(np.float16),
        "index": index,
        "given": given,
        "true": true,
        "rows": np.stack([index] * seeds),
        "mean_weight": mean_weight.astype(np.float32),
        "suspects": index[[0, 1]],
        "images": generator.integers(0, 17, shape).astype(np.uint8),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def result(seeds: int) -> dict[str, Any]:
    values = accuracies(seeds)
    return {
        "recipe": "curricula",
        "seeds": list(range(seeds)),
        "config": {"student": "mlp", "rule": "adam", "teachers": ",".join(ARMS)},
        "data": {
            "name": "<pets>",
            "classes": CLASSES,
            "train_rows": ROWS,
            "trusted_rows": 4,
            "test_rows": 30,
            "shape": [1, 8, 8],
        },
        "noise": {
            "convention": "uniform",
            "requested": 0.3,
            "expected": 0.2,
            "realised": [0.25] * seeds,
        },
        "training": {"epochs": EPOCHS, "batch_size": 8},
        "arms": {
            arm: {
                "accuracy": summary(v),
                "best_epoch_accuracy": summary(v),
                "epoch": summary([EPOCHS - 1.0] * seeds),
            }
            for arm, v in values.items()
        },
        "per_class": {arm: {name: summary(v) for name in CLASSES[:2]} for arm, v in values.items()},
        "comparisons": [
            paired(arm, "uniform", "accuracy", values[arm], values["uniform"]) for arm in ("self-paced", "R&D")
        ],
        "environment": {"device": "cpu", "device_name": "x86_64", "system": "Linux", "threads": 1, "torch": "2"},
        "seconds": dict.fromkeys(ARMS, 1.0),
    }


def build(
    path: Path,
    *,
    seeds: int = 3,
    finished: bool = True,
    trained: bool = True,
    epochs: int = EPOCHS,
    shape: tuple[int, ...] = (2, 1, 8, 8),
    **changes: Any,
) -> Path:
    """Make a run folder; ``changes`` replace parts of its result, None removes one.

    With ``trained`` false no arm was trained by itself, so that there are no curves to draw.
    """
    folder = RunFolder.create(path, "curricula", {}, {}, {})
    for arm, values in accuracies(seeds).items() if trained else ():
        records = [_records(arm, seed, value)[:epochs] for seed, value in enumerate(values)]
        arrays = tensors(arm, seeds, shape)
        arrays |= {name: arrays[name][:epochs].clone() for name in ("weight", "loss")}
        folder.write(f"arms/{arm}.json", {"records": records, "seconds": 1.0})
        save_checkpoint(path / f"arms/{arm}.safetensors", arrays, {"arm": arm})
    if finished:
        parts = result(seeds) | changes
        folder.write("result.json", {name: part for name, part in parts.items() if part is not None})
    return path
