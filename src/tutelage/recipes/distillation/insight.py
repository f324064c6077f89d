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


_EXACT = 2
"""The temperature up to which the largest logits and the sum of the others give nearly the gradient of all."""
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


def left_out(plan: Plan, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return lines on what options leave of the teacher's answers: too little to learn from, or to be exact."""
    options, found = plan.options, []
    if "hard-labels" in plan.arms and options.hard_threshold:
        none = [end["seed"] for end in outcomes["hard-labels"].ends if not end["kept_share"]]
        if none:
            found.append(
                f"hard-labels: --hard-threshold {options.hard_threshold:g} leaves out all {options.train_rows:,} rows "
                f"with seed {', '.join(map(str, none))}, so that nothing was learned; give less."
            )
    kept, soft = options.cache_top_k, [arm for arm in plan.arms if arm in ("kd", "ensemble")]
    if kept is not None and kept < plan.settings[0].classes and options.temperature > _EXACT and soft:
        found.append(
            f"{', '.join(soft)}: the largest {kept} of {plan.settings[0].classes} logits are kept, and the others "
            f"count as one class; that gives nearly the gradient of all of them up to temperature {_EXACT}, less so at "
            f"{options.temperature:g}."
        )
    return found


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
        "live": dict(source.live),
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
    index = rows.cpu() if setting.has_own_test else torch.from_numpy(setting.roles.test)[rows.cpu()]
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
