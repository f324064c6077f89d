"""What a run tells besides accuracies: how students follow, and what the teacher's answers are like."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...checkpoint import save_checkpoint
from ...frozen import Frozen
from ...gap import Gap
from ...runs import RunFolder
from ..distilling import Outcome, Plan, Setting
from ..distilling.files import Left
from ..distilling.options import Chosen
from .asking import Teachers
from .following import together

SHOWN = 12
"""How many test rows are kept of each kind."""
CONFUSED = 10
"""How many pairs of classes are told."""


_LIKE_ITS_TEACHER = ("kd", "kd-t1", "logits", "noisy", "dkd", "ensemble")
"""Arms whose students are to answer as their teacher does."""


def advice(arms: Sequence[str], outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return a line for each arm whose student is to answer as its teacher, and cannot."""
    found = []
    for arm in (arm for arm in arms if arm in _LIKE_ITS_TEACHER):
        ends = [end for end in outcomes[arm].ends if "gap" in end]
        if ends:
            means = [sum(end[name] for end in ends) / len(ends) for name in ("gap", "agreement")]
            line = Gap(*means).advice
            found += [] if line is None else [f"{arm}: {line}"]
    return found


def more_rows(plan: Plan, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return a line on what answers carry that come from a teacher which has seen more rows than the students."""
    rows, all_rows = plan.options.train_rows, len(plan.settings[0].order)
    if rows >= all_rows or "teacher" not in outcomes:
        return []
    if plan.options.teacher_weights is not None:
        return [
            f"the students learn from {rows:,} of {all_rows:,} rows; what the teacher has seen, its file does not say."
        ]
    return [
        f"the teacher learned from {all_rows:,} labelled rows, the students from {rows:,} of them: a gain may be for "
        f"the most part what it knows from the other {all_rows - rows:,}, not the way of teaching; with --train-rows "
        f"{all_rows} both learn from the same."
    ]


def told(plan: Plan, outcomes: Mapping[str, Outcome], source: Teachers) -> dict[str, Any]:
    """Return the part ``distillation`` of the result."""
    return {
        "teachers": {
            name: {"accuracies": [end["accuracy"] for end in outcomes[name].ends], "steps": stage.length}
            for name, stage in ((stage.name, stage) for stage in plan.order)
            if name.partition("-")[0] in ("teacher", "generation")
        },
        "student_rows": plan.options.train_rows,
        "caches": source.told(),
    }


def dark_knowledge(plan: Plan, left: Left, arm: str, folder: RunFolder) -> dict[str, Any]:
    """Look at the test rows of the first seed with the eyes of a teacher and its student.

    ``dark_knowledge.safetensors`` gets ``confusion`` (C, C), the teacher's mean probability of class b for rows of
    class a, and of three kinds of rows, ``soft.*`` the right answers that the teacher is least sure of, ``apart.*``
    those on which the two disagree and ``confused.*`` the row of each confused pair whose probability of the other
    class is largest, ``index``, ``image``, ``label``, ``teacher`` and ``student``: probabilities (M, C) at the
    temperature.

    Returns:
        the most confused pairs of classes, and how often the two disagree.
    """
    setting, options = plan.settings[0], plan.options
    stage = next(stage for stage in plan.order if stage.name == arm)
    networks = {name: left.of(name)[0] for name in stage.needs}
    teacher, student = together(networks, stage.needs, options), Frozen(left.of(arm)[0])
    pieces, y = setting.held_out("test")
    z_t, z_s = (torch.cat([net.answers(x) for x in pieces]) for net in (teacher, student))
    p = torch.softmax(z_t.double(), -1)
    confusion = torch.stack(
        [p[y == c].mean(0) if bool((y == c).any()) else p.new_zeros(len(p[0])) for c in range(p.shape[1])]
    )
    apart = (z_t.argmax(-1) != z_s.argmax(-1)).nonzero().squeeze(1)
    right = (z_t.argmax(-1) == y).nonzero().squeeze(1)
    sure = torch.softmax(z_t / options.temperature, -1).amax(-1)
    soft = right[sure[right].argsort(stable=True)[:SHOWN]]
    tensors, pairs = {"confusion": confusion.float()}, _confused(confusion)
    confused = torch.tensor([_most(p, y, pair["class"], pair["taken_for"]) for pair in pairs], dtype=torch.int64)
    for kind, rows in (("soft", soft), ("apart", apart[:SHOWN]), ("confused", confused.to(y.device))):
        tensors |= {f"{kind}.{name}": t for name, t in _rows(setting, rows, y, z_t, z_s, options).items()}
    facts = {"arm": arm, "seed": setting.seed, "temperature": options.temperature}
    save_checkpoint(folder.path / "dark_knowledge.safetensors", tensors, facts)
    return {**facts, "confused": pairs, "disagreements": len(apart), "rows": len(y)}


def _rows(setting: Setting, rows: Tensor, y: Tensor, z_t: Tensor, z_s: Tensor, options: Chosen) -> dict[str, Tensor]:
    own = setting.test_source is not setting.source
    index = rows.cpu() if own else torch.from_numpy(setting.roles.test)[rows.cpu()]
    return {
        "index": index,
        "image": torch.from_numpy(setting.test_source.x[index.numpy()]),
        "label": y[rows],
        "teacher": torch.softmax(z_t[rows] / options.temperature, -1),
        "student": torch.softmax(z_s[rows] / options.temperature, -1),
    }


def _confused(confusion: Tensor) -> list[dict[str, Any]]:
    """The pairs of classes of which the teacher takes the first for the second most."""
    others = confusion.clone().fill_diagonal_(0.0)
    best = others.flatten().argsort(descending=True, stable=True)[:CONFUSED]
    classes = len(confusion)
    pairs = [(int(place) // classes, int(place) % classes) for place in best]
    found = [{"class": a, "taken_for": b, "probability": float(confusion[a, b])} for a, b in pairs if a != b]
    return [pair for pair in found if pair["probability"]]  # a class without test rows is taken for nothing


def _most(p: Tensor, y: Tensor, label: int, other: int) -> int:
    """The row of a class whose probability of another one is largest."""
    rows = (y == label).nonzero().squeeze(1)
    return int(rows[p[rows, other].argmax()])
