"""Teachers of people that choose the next item by the person's own answers; none was tried on people here.

Each is a pure function of the answers so far and the key of the decision, so that a session can be replayed. An item is
not shown again while there are others. Labels of the items are taken as right.
"""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from ..codewords import Fit, centred
from ..hypotheses import Hypotheses, Tasks
from ..hypothesis_space import HypothesisSpace
from ..lesson import Batch
from ..mcboost import log_score
from ..randomness import hashed, integer
from .images import encode
from .teaching import Answered, Pool, TeacherMaker

SIDE = 16
"""Of the thumbnails by which items are told apart, in pixels."""
IN_A_ROW, APART = 2, 3
"""Reviews one after the other, at most, and items between two reviews of the same pair of classes, at least."""
_Choice: TypeAlias = tuple[str, Mapping[str, JsonValue]]


def thumbnails(pool: Pool) -> Tensor:
    """Return the items of a pool as pixels (N, 3 * 16 * 16) in [0, 1], float64.

    Raises:
        DataError: if an image cannot be read.
    """
    return torch.stack([_thumbnail(item.file) for item in pool.items])


def _thumbnail(file: Path) -> Tensor:
    from PIL import Image

    with Image.open(BytesIO(encode(file).content)) as image:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, dtype=np.float64) / 255).flatten()


class Strict:
    """Shows the item after which the error that the person is expected to make is least.

    The person's hypotheses h of each one-vs-all task c have weights ``q_c``. An answer r to x tells of them first,
    ``q_c[h] *= P(sign of r in c | h, x)``, and then the feedback does, ``q_c[h] *= Lk``. The item shown is the argmin
    of ``sum_c sum_h q_c[h] err_c[h] Lk``; of equal ones a drawn one.

    Args:
        pool: of the arm.
        hypotheses: that people may have; None: learned from the pool, and random ones.
        seed: of the hypotheses.

    Source: Singla et al., "Near-optimally teaching the crowd to classify", ICML 2014; that the answers are used is an
    addition.
    """

    def __init__(self, pool: Pool, seed: int = 0, *, hypotheses: Hypotheses | None = None) -> None:
        x, y = thumbnails(pool), _labels(pool)
        if hypotheses is None:
            batch = Batch(x, y, torch.arange(len(y)))
            hypotheses = HypothesisSpace(seed=seed)(batch, len(pool.classes))
        self.hypotheses = hypotheses
        self.known: Tasks = hypotheses.tasks(x, y, len(pool.classes))
        self.margins = hypotheses.margins(x)

    def log_posterior(self, history: Sequence[Answered], pool: Pool) -> Tensor:
        """Return the logarithm of the weights after the answers and their feedback, (C, H), not normalised."""
        rows = _rows(history, pool)
        responses = torch.tensor([answer.response for answer in history], dtype=torch.long)
        agree = self._log_agreement(rows, responses, len(pool.classes))
        return self.known.log_posterior(rows) + agree.sum(1)

    def next_item(self, history: Sequence[Answered], pool: Pool, rng: int) -> _Choice:
        """Return the id of the next item, and what is left of the error; see :class:`.teaching.AdaptiveTeacher`."""
        weights = self.log_posterior(history, pool).softmax(1) * self.known.errors
        left = torch.where(self.known.targets.T, self.known.plus @ weights.T, self.known.minus @ weights.T).sum(1)
        row = _best(-left, _free(history, pool), rng)
        return pool.items[row].id, {"expected_error": float(weights.sum(1).mean()), "left": float(left[row])}

    def _log_agreement(self, rows: Tensor, responses: Tensor, classes: int) -> Tensor:
        """``log P`` (C, T, H) of what a response says of each task."""
        tasks = torch.arange(classes) if classes > 2 else torch.ones(1, dtype=torch.long)
        signs = torch.where(responses == tasks[:, None], 1.0, -1.0).double()
        alpha = self.hypotheses.alpha
        return torch.nn.functional.logsigmoid(alpha * signs[:, :, None] * self.margins[rows])


class MaxGrad:
    """Shows the item that pulls hardest at a student who answers as the person does.

    A linear student is fitted to what the person answered, right or wrong; items are scored by ``log psi`` against
    their true labels. Before the first answer, and between equal items, it draws.

    Args:
        pool: of the arm.
        fit: of the student's codewords.

    Source: Wang, Nagrecha and Vasconcelos, "Gradient-based algorithms for machine teaching", CVPR 2021; that the
    student is fitted to the person's answers is an addition.
    """

    def __init__(self, pool: Pool, *, fit: Fit | None = None) -> None:
        self.rows, self.labels = centred(thumbnails(pool)), _labels(pool)
        self.fit = Fit() if fit is None else fit

    def codewords(self, history: Sequence[Answered], pool: Pool) -> Tensor:
        """Return the codewords (K, d) of a student who was fitted to the answers."""
        start = self.rows.new_zeros(1, len(pool.classes), self.rows.shape[1])
        if not history:
            return start[0]
        responses = torch.tensor([[answer.response for answer in history]])
        return self.fit(self.rows[_rows(history, pool)][None], responses, start)[0]

    def next_item(self, history: Sequence[Answered], pool: Pool, rng: int) -> _Choice:
        """Return the id of the next item, and its score; see :class:`.teaching.AdaptiveTeacher`."""
        words = self.codewords(history, pool)
        scores = log_score(self.rows @ words.T, self.labels, words)
        row = _best(scores, _free(history, pool), rng)
        return pool.items[row].id, {"log_score": float(scores[row])}


class Review:
    """Shows an item of the class that was just missed, or of the one that it was taken for; else a drawn one.

    There are at most two reviews in a row, and at least three items between two of the same pair of classes. Which
    items were reviews follows from the answers alone.
    """

    def next_item(self, history: Sequence[Answered], pool: Pool, rng: int) -> _Choice:
        """Return the id of the next item, and the names of a reviewed pair; see :class:`.teaching.AdaptiveTeacher`."""
        free = _free(history, pool)
        pair = due(history, {item.id: item.label for item in pool.items})
        if pair is not None:
            wanted = free & torch.isin(_labels(pool), torch.tensor(sorted(pair)))
            if bool(wanted.any()):
                row = _best(torch.zeros(len(wanted)), wanted, rng)
                return pool.items[row].id, {"review": [pool.classes[c] for c in sorted(pair)]}
        return pool.items[_best(torch.zeros(len(free)), free, rng)].id, {}


def due(history: Sequence[Answered], labels: Mapping[str, int]) -> frozenset[int] | None:
    """Return the pair of classes that is to be reviewed after these answers; None: none.

    Args:
        history: in order.
        labels: of items, by id.
    """
    reviewed: dict[int, frozenset[int]] = {}
    for place in range(1, len(history) + 1):
        last = history[place - 1]
        pair = frozenset((labels[last.item_id], last.response))
        enough = all(place - back in reviewed for back in range(1, IN_A_ROW + 1))
        lately = any(reviewed.get(place - back) == pair for back in range(1, APART + 1))
        if len(pair) == 2 and not enough and not lately:
            reviewed[place] = pair
    return reviewed.get(len(history))


def _strict(pool: Pool, seed: int) -> Strict:
    return Strict(pool, seed)


def _maxgrad(pool: Pool, seed: int) -> MaxGrad:
    return MaxGrad(pool)


def _review(pool: Pool, seed: int) -> Review:
    return Review()


MAKERS: Mapping[str, TeacherMaker] = MappingProxyType({"strict": _strict, "maxgrad": _maxgrad, "review": _review})
"""Of the adaptive teachers that an experiment can name."""


def _labels(pool: Pool) -> Tensor:
    return torch.tensor([item.label for item in pool.items])


def _rows(history: Iterable[Answered], pool: Pool) -> Tensor:
    places = {item.id: row for row, item in enumerate(pool.items)}
    return torch.tensor([places[answer.item_id] for answer in history], dtype=torch.long)


def _free(history: Sequence[Answered], pool: Pool) -> Tensor:
    """Which items may be shown: those least often shown, but not the last one if there is another."""
    rows = _rows(history, pool)
    often = torch.bincount(rows, minlength=len(pool.items))
    if len(pool.items) > 1 and len(rows):
        often[rows[-1]] = often.max() + 1
    return often == often.min()


def _best(scores: Tensor, free: Tensor, rng: int) -> int:
    """The free row of the largest score; of equal ones a drawn one."""
    candidates = free & (scores == scores[free].max())
    rows = candidates.nonzero().squeeze(1)
    return int(rows[int(integer(hashed(rng, 0), len(rows)))])
