"""Labels that trained networks give to rows without one, and batches of both kinds of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ...data import View
from ...data.sources import IntArray
from ...frozen import Frozen
from ...lesson import Batch
from ...multi_view import averaged
from ...teachers import OfflinePseudoLabels
from ..distilling import Ended, Networks, Setting, Stream
from ..distilling.stage import Record

_AT_ONCE = 1024


class Labelled(NamedTuple):
    """Rows that networks labelled.

    Attributes:
        rows: positions of those that are sure enough, (n,); there may be none.
        p: their probabilities, (n, C).
        total: how many rows there were.
        surest: the largest confidence among all of them.
    """

    rows: IntArray
    p: Tensor
    total: int
    surest: float


@dataclass(frozen=True, eq=False)
class SelfLabels:
    """Labels all rows but the first ones by the answers of earlier stages, once for each seed.

    Attributes:
        needs: names of the stages whose networks answer.
        views: over which their answers are averaged.
        labelled: how many rows have labels of their own.
        hard: classes as labels.
        threshold: least confidence of a label that is used.
    """

    needs: tuple[str, ...]
    views: Sequence[View]
    labelled: int
    hard: bool
    threshold: float
    _found: dict[tuple[int, bool], Labelled] = field(default_factory=dict)

    def of(self, setting: Setting, networks: Networks) -> Labelled:
        """Return the rows that the networks of a seed labelled."""
        key = (setting.seed, setting.rehearsing)
        if key not in self._found:
            self._found[key] = self._answers(setting, [net for name in self.needs for net in networks[name]])
        return self._found[key]

    def _answers(self, setting: Setting, nets: list[nn.Module]) -> Labelled:
        rows = setting.order[self.labelled :]
        if setting.rehearsing:  # networks that nobody trained are not sure of anything, and a few rows tell enough
            rows = rows[:16]
        frozen = Frozen(nets)
        pieces = [
            averaged(lambda shown: frozen.answers(setting.look(shown)), self.views, pixels(setting, piece))
            for piece in _pieces(rows)
        ]
        p = torch.cat(pieces)
        confidence = p.amax(1)
        keep = confidence >= (0.0 if setting.rehearsing else self.threshold)
        return Labelled(rows[keep.cpu().numpy()], p[keep], len(rows), float(confidence.max()))

    def teacher(self, setting: Setting, networks: Networks) -> OfflinePseudoLabels:
        """Return the teacher of the union: labelled rows as they are labelled, the others as the networks say."""
        found = self.of(setting, networks)
        known = setting.order[: self.labelled]
        y = torch.from_numpy(setting.source.y[known]).to(found.p.device)
        answers = one_hot(found.p.argmax(1), setting.classes).to(found.p) if self.hard else found.p
        p = torch.cat([one_hot(y, setting.classes).to(answers), answers])
        index = torch.cat([torch.from_numpy(known), torch.from_numpy(found.rows)]).to(p.device)
        return OfflinePseudoLabels(p.clamp_min(torch.finfo(p.dtype).tiny).log(), index, hard=self.hard)

    def facts(self, ended: Ended) -> Record:
        """Return which share of the rows was labelled, and how many of the labels are right: of all, and by confidence,
        in ten bins from 0 to 1; where no row was sure enough, the largest confidence."""
        found = self.of(ended.setting, ended.networks)
        if not len(found.rows):
            return {"kept_share": 0.0, "surest": found.surest}
        y = torch.from_numpy(ended.setting.source.y[found.rows]).to(found.p.device)
        right, confidence = found.p.argmax(1) == y, found.p.amax(1)
        return {
            "label_accuracy": float(right.double().mean()),
            "kept_share": len(found.rows) / found.total,
            "label_confidence": float(confidence.double().mean()),
            "right_by_confidence": _tenths(confidence[right]),
            "wrong_by_confidence": _tenths(confidence[~right]),
        }


def union(
    setting: Setting,
    labelled: IntArray,
    others: IntArray,
    sizes: tuple[int, int],
    steps: int,
    *,
    replacement: bool,
    true: bool = False,
) -> Stream:
    """Return batches of labelled rows followed by others, so many of each.

    Args:
        setting: the seed.
        labelled: rows with labels.
        others: rows whose labels are not looked at: y is -1; if there is none, batches are of labelled rows alone.
        sizes: how many of each kind.
        steps: in all.
        replacement: draw each by itself, not pass by pass.
        true: give the other rows their right labels, to see what these are worth.
    """
    if not len(others):
        return setting.stream("labelled", labelled, sum(sizes), steps, replacement=replacement)
    own = setting.stream("labelled", labelled, sizes[0], steps, replacement=replacement)
    more = setting.stream("unlabelled", others, sizes[1], steps, replacement=replacement)

    def batch(step: int) -> Batch:
        a, b = own(step), more(step)
        if not true:
            b = replace(b, y=torch.full_like(b.y, -1))
        x, y, index = (torch.cat([getattr(a, name), getattr(b, name)]) for name in ("x", "y", "index"))
        return Batch(x, y, index, a.progress)

    return batch


def quality(name: str, ends: Sequence[Record], rows: int) -> list[str]:
    """Return a line on how many of an arm's labels are right, over the seeds in which it has any.

    Args:
        name: of the arm.
        ends: of its seeds, with what :meth:`SelfLabels.facts` found out.
        rows: how many had no label.
    """
    right = [end["label_accuracy"] for end in ends if "label_accuracy" in end]
    if not right:
        return []
    kept = 100 * sum(end["kept_share"] for end in ends) / len(ends)
    where = "" if len(right) == len(ends) else f" in {len(right)} of {len(ends)} seeds"
    share = 100 * sum(right) / len(right)
    return [f"{name}: {share:.2f} % of its labels are right{where}, with {kept:.0f} % of {rows:,} rows."]


def silence(name: str, ends: Sequence[Record], threshold: float) -> list[str]:
    """Return a line on the seeds in which no label of an arm was sure enough; arguments as of :func:`quality`."""
    found = [end for end in ends if "surest" in end]
    if not found:
        return []
    seeds, surest = ", ".join(str(end["seed"]) for end in found), max(end["surest"] for end in found)
    return [
        f"{name}: with seed{'s' * (len(found) > 1)} {seeds} no label is as sure as --threshold {threshold:g} (the "
        f"surest: {surest:.4f}); there the student learned from the labelled rows alone, as supervised does."
    ]


def _tenths(values: Tensor) -> list[int]:
    """Counts of values in [0, 1] by tenth."""
    return torch.bincount((10 * values).long().clamp(0, 9), minlength=10).tolist()


def _pieces(rows: IntArray) -> list[IntArray]:
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


def pixels(setting: Setting, rows: IntArray) -> Tensor:
    """Rows as they are in the source, as numbers that views can mix."""
    x = torch.from_numpy(setting.source.x[rows]).to(setting.device)
    return x if x.is_floating_point() else x.to(torch.float32)
