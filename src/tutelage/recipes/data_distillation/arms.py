"""Arms of data distillation: who labels the rows without a label, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..used import Table, use

Source = Literal["labels", "one view", "views", "ensemble", "truth"]
"""What is studied: labelled rows alone, or with others whose labels are answers of one network to one view or to
several, or of several networks, or right."""


@dataclass(frozen=True)
class Arm:
    """An arm.

    Attributes:
        about: a line for the result.
        source: of the rows and their labels.
        hard: classes as labels; False: probabilities.
        smoothed: whether the labels are.
    """

    about: str
    source: Source
    hard: bool = True
    smoothed: bool = False

    @property
    def target(self) -> str | None:
        """``hard`` or ``soft`` for labels that a network gave, else None."""
        if self.source in ("labels", "truth"):
            return None
        return "hard" if self.hard else "soft"


_ANSWERS: Mapping[str, tuple[Source, str]] = {
    "one-view": ("one view", "a network's answer"),
    "views": ("views", "a network's mean answer to several views (data distillation)"),
    "ensemble": ("ensemble", "several networks' mean answer (model distillation)"),
}
ARMS: Mapping[str, Arm] = {
    "supervised": Arm("The labelled rows alone.", "labels"),
    "label-smoothing": Arm("The labelled rows alone, their labels smoothed: a control.", "labels", smoothed=True),
    **{
        f"{name}-{target}": Arm(
            f"The labelled rows, and the others labelled by {whose}, as {what}.", source, target == "hard"
        )
        for name, (source, whose) in _ANSWERS.items()
        for target, what in (("hard", "classes"), ("soft", "probabilities"))
    },
    "true-labels": Arm("The labelled rows, and the others with their right labels: what is to be gained.", "truth"),
}
"""By name, in the order of the result."""

USUAL = ("supervised", "label-smoothing", "one-view-hard", "views-hard", "views-soft", "ensemble-hard", "true-labels")
"""The arms of a run if none are named."""
BASELINES = ("supervised", "one-view-hard")
"""What every other arm is compared with, if they are in the run."""

_TOLD = tuple(name for name, arm in ARMS.items() if arm.target is not None)
UNION = (*_TOLD, "true-labels")
"""The arms that study other rows than the labelled ones."""
USED: Table = {
    "views": use(*(name for name in _TOLD if ARMS[name].source == "views")),
    "ensemble": use(*(name for name in _TOLD if ARMS[name].source == "ensemble")),
    "label_smoothing": use("label-smoothing"),
    "labelled_share": use(*UNION),
    **dict.fromkeys(("threshold", "labeller_steps"), use(*_TOLD)),
}
"""When options count that do not always."""
