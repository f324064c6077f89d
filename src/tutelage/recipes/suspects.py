"""Suspected label errors: the rows that a teacher trusts least, as tables to act on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..checkpoint import save_checkpoint
from ..data import Source
from ..data.columns import write_columns
from ..evaluation import auc, summary
from ..runs import RunFolder
from .outcome import Outcome
from .plan import Plan

Table = dict[str, npt.NDArray[Any]]

SUSPECTED = 0.5
"""A mean weight below this makes a row suspected."""
PLAIN = "uniform"
"""The list that needs no teacher: rows by their mean loss in the first tenth of plain training."""
_COLUMNS = (
    "index", "given", "suggested", "weight_mean", "weight_last", "loss_mean", "early_loss_mean", "rank", "seen", "true",
)  # fmt: skip
_MEANS = ("weight_mean", "weight_last", "loss_mean", "early_loss_mean")
_IMAGES, _IMAGE_BYTES = 200, 4_000_000
"""Most images that are kept of a list, and how large they may be together."""


def keep_suspects(plan: Plan, outcomes: Mapping[str, Outcome], folder: RunFolder) -> dict[str, Any]:
    """Write the lists ``suspects/ARM.parquet``; return how well they find the injected errors.

    Every arm that weighs has a list, the smallest mean weight first, and plain training has one that needs no teacher,
    the largest early loss first. A list has the rows that were trained on with labels that nobody vouched for: of the
    first seed, or the mean over all seeds if the labels are as they came with the data, and thus the same for all. The
    images of its first rows are kept in ``suspects/ARM.safetensors``.

    Returns:
        for each list ``auc`` and ``precision_at_count``, and for those by weight ``precision`` and ``recall`` of the
        rows with a mean weight below .5, over seeds; what is not defined in all seeds is left out. Empty where no
        error was injected.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, outcome in outcomes.items():
        tables = [_table(plan, outcome, s) for s in range(len(plan.settings))]
        plain = name == PLAIN
        if plan.trajectories[name].rows != "train" or not (plain or _weighs(tables)):
            continue
        tables = [_ordered(table, plain=plain) for table in tables]
        if plan.noise:
            found[name] = _over_seeds([_quality(table, plain=plain) for table in tables])
        shown = tables[0] if plan.noise else _ordered(_mean(tables), plain=plain)
        _write(folder, name, shown, plan.settings[0].source)
    return {name: quality for name, quality in found.items() if quality}


def _table(plan: Plan, outcome: Outcome, position: int) -> Table:
    """Return the rows of one seed whose labels nobody vouched for."""
    setting, tensors = plan.settings[position], outcome.tensors
    rows = tensors["rows"][position].numpy()
    untrusted = ~np.isin(rows, setting.roles["trusted"])
    rows = rows[untrusted]

    def of_rows(name: str) -> npt.NDArray[Any]:
        return tensors[name][position].numpy()[untrusted]

    given, seen = setting.noise.noisy[rows], of_rows("seen")
    columns = {
        "index": rows,
        "given": given,
        "suggested": np.where(seen > 0, of_rows("suggested"), given),
        "weight_mean": of_rows("mean_weight"),
        "weight_last": of_rows("last_weight"),
        "loss_mean": of_rows("mean_loss"),
        "early_loss_mean": of_rows("early_loss"),
        "seen": seen,
    }
    return columns | ({"true": setting.noise.clean[rows]} if plan.noise else {})


def _weighs(tables: list[Table]) -> bool:
    weights = np.concatenate([table["weight_mean"] for table in tables])
    known = weights[np.isfinite(weights)]
    return bool(known.size) and bool(known.min() < known.max())


def _ordered(table: Table, *, plain: bool) -> Table:
    """Return the table with the most suspicious rows first, ties by the larger loss, then by index; NaN last."""
    key = -table["early_loss_mean"] if plain else table["weight_mean"]
    order = np.lexsort((table["index"], -table["loss_mean"], key))
    ordered = {name: column[order] for name, column in table.items()}
    return ordered | {"rank": np.arange(1, len(order) + 1)}


def _mean(tables: list[Table]) -> Table:
    """Return the mean over seeds of every row that any of them was trained on; the most frequent suggestion."""
    together = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    index, first, place = np.unique(together["index"], return_index=True, return_inverse=True)
    result = {"index": index, "given": together["given"][first]}
    for name in _MEANS:
        known = np.isfinite(together[name])
        count = np.bincount(place[known], minlength=len(index))
        total = np.bincount(place[known], weights=together[name][known], minlength=len(index))
        result[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    votes = np.zeros((len(index), 1 + int(together["suggested"].max())), dtype=np.int64)
    np.add.at(votes, (place, together["suggested"]), 1)
    seen = np.bincount(place, weights=together["seen"], minlength=len(index)).astype(np.int64)
    return result | {"suggested": votes.argmax(1), "seen": seen}


def _quality(table: Table, *, plain: bool) -> dict[str, float]:
    """Return how well an ordered table finds the wrong labels; nothing if there are none, or only such."""
    wrong = table["given"] != table["true"]
    area = auc(-table["rank"], wrong)
    if area is None:
        return {}
    found = {"auc": area, "precision_at_count": float(wrong[: wrong.sum()].mean())}
    suspected = table["weight_mean"] < SUSPECTED
    if not plain:
        found["recall"] = float(suspected[wrong].mean())
        if suspected.any():
            found["precision"] = float(wrong[suspected].mean())
    return found


def _over_seeds(qualities: list[dict[str, float]]) -> dict[str, Any]:
    shared = [name for name in qualities[0] if all(name in quality for quality in qualities)]
    return {name: summary([quality[name] for quality in qualities]) for name in shared}


def _write(folder: RunFolder, name: str, table: Table, source: Source) -> None:
    path = folder.path / "suspects" / f"{name}.parquet"
    path.parent.mkdir(exist_ok=True)
    write_columns({column: table[column] for column in _COLUMNS if column in table}, path)
    if source.x.ndim == 4:
        index = table["index"][: max(1, min(_IMAGES, _IMAGE_BYTES // source.x[:1].nbytes))]
        images = {"index": index, "images": source.x[index]}
        tensors = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in images.items()}
        save_checkpoint(path.with_suffix(".safetensors"), tensors, {"arm": name})
