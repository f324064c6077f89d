"""Lists of suspected label errors: reading them, and how well they find the injected ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError
from .canvas import Look
from .markup import Markup, element, paragraph, section, text
from .reading import Array, Run
from .tables import arm_name, cell, heading, mean_and_interval, table

SUSPECTED = 0.5
"""A mean weight below this makes a row suspected."""
PLAIN = "uniform"
"""The list that needs no teacher, by early loss."""
_METRICS = {
    "auc": ("AUC", "of the list"),
    "precision_at_count": ("Precision at the count", "of wrong labels"),
    "precision": ("Precision", "of the suspected"),
    "recall": ("Recall", "of the suspected"),
}


def arms_with_lists(run: Run) -> list[str]:
    """Return the arms that a list is kept of, plain training first, then in the order of the result."""
    found = {path.stem for path in (run.path / "suspects").glob("*.parquet")}
    order = [PLAIN, *run.result.get("order", run.arms)]
    return sorted(found, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))


def read_list(run: Run, arm: str) -> dict[str, Array]:
    """Return the columns of an arm's list, the most suspicious row first.

    Raises:
        CheckpointError: if the file is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    path = run.path / "suspects" / f"{arm}.parquet"
    try:
        found = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise CheckpointError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    return {name: found[name].to_numpy() for name in found.column_names}


def whose(run: Run) -> str:
    """Return in words which seeds a list is of."""
    if run.knows_truth:
        return f"of seed {run.seeds[0]}" if run.seeds else "of the first seed"
    return f"of seed {run.seeds[0]}" if len(run.seeds) == 1 else f"the mean over {len(run.seeds)} seeds"


def suspected(run: Run, looks: Mapping[str, Look]) -> Markup | None:
    """How many rows are suspected, and how well the lists find the injected errors."""
    arms, quality = arms_with_lists(run), run.part("suspects")
    if not arms:
        return None
    metrics = [metric for metric in _METRICS if any(metric in found for found in quality.values())]
    head = [
        heading("List"),
        heading("Rows", whose(run)),
        heading("Suspected", f"weight below {SUSPECTED:g}"),
        *(heading(*_METRICS[metric]) for metric in metrics),
    ]
    rows = [_row(run, arm, quality.get(arm, {}), metrics, looks) for arm in arms]
    files = ", ".join(f"suspects/{arm}.parquet" for arm in arms)
    told = [
        "Each list has the training rows that nobody vouched for, those with the smallest mean weight after burn-in",
        f"first. They lie in the folder of this run: {files}.",
    ]
    if PLAIN in arms:
        told.append(
            "The first one is by the loss in the first tenth of plain training: where it is as good as the others, "
            "for a list alone no teacher is needed."
        )
    return section("Suspected label errors", paragraph(*told), table(head, rows))


def _row(run: Run, arm: str, quality: Mapping[str, Any], metrics: list[str], looks: Mapping[str, Look]) -> Markup:
    weight = read_list(run, arm)["weight_mean"]
    plain = arm == PLAIN
    return element(
        "tr",
        element("th", text("plain training, early loss"), scope="row") if plain else arm_name(arm, looks),
        cell(f"{len(weight):,}"),
        cell("–" if plain else f"{int(np.sum(weight < SUSPECTED)):,}"),
        *(cell(mean_and_interval(quality[m], 1.0, 3) if m in quality else "–") for m in metrics),
    )
