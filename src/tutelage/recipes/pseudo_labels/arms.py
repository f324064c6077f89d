"""The arms of the ladder: from labels alone to a teacher that learns from its student."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["alone", "offline", "taught"]


@dataclass(frozen=True)
class Arm:
    """One way of learning from few labels.

    Attributes:
        about: a line for readers.
        kind: one network by itself, a student of labels that were made once, or one of a teacher beside it.
        mode: of the teacher, ``soft`` for whichever way to find the exact gradient the options ask for.
        consistent: whether a term of consistency is in the loss of the network, or of the teacher.
        supervised: weight of labelled examples of a network by itself.
        sign: of the meta-gradient; 0: none.
    """

    about: str
    kind: Kind
    mode: Literal["soft", "hard-per-sample", "hard-scalar", "distil"] | None = None
    consistent: bool = False
    supervised: float = 1.0
    sign: int = 0

    @property
    def meta(self) -> bool:
        """Whether there is a meta-gradient."""
        return self.sign != 0


ARMS = {
    "supervised": Arm("The labelled examples alone.", "alone"),
    "offline": Arm(
        "A fresh network on labels that the supervised one gave once, and the labelled examples.", "offline"
    ),
    "uda": Arm(
        "Unsupervised data augmentation: the labelled examples, and the same answer on weak and strong views.",
        "alone",
        consistent=True,
    ),
    "uda-2": Arm(
        "Unsupervised data augmentation with twice the weight on labelled examples.",
        "alone",
        consistent=True,
        supervised=2.0,
    ),
    "distil": Arm(
        "The control: a student learns what the network of uda answers, while that learns; no feedback.",
        "taught",
        "distil",
        consistent=True,
    ),
    "mpl-soft": Arm(
        "Meta pseudo labels, soft: the teacher also descends the student's loss after its next step, exactly.",
        "taught",
        "soft",
        consistent=True,
        sign=1,
    ),
    "mpl-per-sample": Arm(
        "Meta pseudo labels, hard: drawn labels, each with its own credit.",
        "taught",
        "hard-per-sample",
        consistent=True,
        sign=1,
    ),
    "mpl-scalar": Arm(
        "Meta pseudo labels as in the paper: drawn labels, one credit for the batch, less a moving baseline.",
        "taught",
        "hard-scalar",
        consistent=True,
        sign=1,
    ),
    "mpl-wrong-sign": Arm(
        "A control: mpl-soft with the sign of its meta-gradient turned.", "taught", "soft", consistent=True, sign=-1
    ),
}
"""By name, in the order of the ladder."""

BASELINES = ("supervised", "uda", "uda-2", "distil")
"""What every arm is compared with, if they are in the run."""

_TAUGHT = tuple(name for name, arm in ARMS.items() if arm.kind == "taught")
_META = tuple(name for name, arm in ARMS.items() if arm.meta)
_CONSISTENT = tuple(name for name, arm in ARMS.items() if arm.consistent)
_HARD = ("mpl-per-sample", "mpl-scalar")
ONLY = {
    "meta_weight": tuple(name for name in _META if name != "mpl-scalar"),
    **dict.fromkeys(("supervised_weight", "temperature", "label_view", "student_smoothing"), _TAUGHT),
    **dict.fromkeys(("label_threshold", "wait", "ema", "ema_warm", "finetune_steps"), _TAUGHT),
    **dict.fromkeys(("finetune_lr", "finetune_batch", "student_rule", "student_lr", "student_weight_decay"), _TAUGHT),
    "student_view": _TAUGHT,
    **dict.fromkeys(("uda_weight", "uda_temperature", "uda_threshold", "uda_ramp", "mask_on", "mask"), _CONSISTENT),
    "soft": ("mpl-soft", "mpl-wrong-sign"),
    **dict.fromkeys(("scalar_weight", "baseline", "credit", "scale"), ("mpl-scalar",)),
    "sample": _HARD,
    **dict.fromkeys(("offline_labels", "offline_threshold", "balance", "rounds"), ("offline",)),
}
"""Options that only some arms look at."""
