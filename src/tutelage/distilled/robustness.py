"""How much can change before a distilled set teaches worse: its lessons, its images, or the networks."""

from collections.abc import Iterable, Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn

from ..errors import NotFiniteError
from .judging import Judge, Verdict
from .lessons import DistilledSet
from .perturbed import Scale, perturbations
from .variants import KINDS, Variant


class Row(TypedDict):
    """A row of the report; plain JSON.

    Attributes:
        name: what was changed.
        mean: accuracy in [0, 1]; None if the change makes no sense for the set, or networks diverge.
        std: over networks (n - 1); None for one network.
        values: one a network; where orders are drawn, one an order and network.
        drop: mean of the unchanged set minus this one.
        note: why there is no value, or how it was reached.
    """

    name: str
    mean: float | None
    std: float | None
    values: list[float] | None
    drop: float | None
    note: str


def robustness(
    distilled: DistilledSet,
    net: nn.Module,
    weights: Mapping[str, Tensor],
    judge: Judge,
    *,
    variants: Iterable[Variant] = (),
    freely: Judge | None = None,
    normalisation: tuple[Scale, Scale] | None = None,
    reasons: Mapping[str, str] | None = None,
    orders: int = 5,
    seed: int = 0,
) -> list[Row]:
    """Return the rows of the robustness report; all are there, those that make no sense with a reason.

    Args:
        distilled: the set.
        net: the architecture that it was made for.
        weights: where its networks start, held out, by name, each (K, ...).
        judge: teaches and tests them: ``ByLessons``, or ``ByFreeTraining`` for a set without step sizes.
        variants: other networks, from :mod:`tutelage.distilled.variants`.
        freely: trains freely on the set: the network, and those of another architecture.
        normalisation: mean and standard deviation of pixels, for images that a screen can show.
        reasons: why there is no variant, by kind.
        orders: of steps and of images, how many are drawn.
        seed: of these.

    Raises:
        NotFiniteError: if networks diverge by the set as it is; by a changed one that is a row's note.
    """
    unchanged = judge(distilled, net, weights)
    base = float(unchanged.accuracies.mean())
    rows = [_row("none", base, unchanged)]

    def judged(name: str, by: Judge, of: Iterable[DistilledSet], net: nn.Module, weights: Mapping[str, Tensor]) -> Row:
        try:
            return _row(name, base, *[by(form, net, weights) for form in of])
        except NotFiniteError as error:
            return _absent(name, f"networks diverge: {error}")

    for name, changed in perturbations(distilled, normalisation, orders=orders, seed=seed).items():
        if isinstance(changed, str):
            rows.append(_absent(name, changed))
        else:
            rows.append(judged(name, judge, changed, net, weights))
    variants = list(variants)
    for kind in KINDS:
        given = [variant for variant in variants if variant.kind == kind]
        rows += [judged(f"{kind}: {v.name}", judge, [distilled], v.net, v.weights) for v in given]
        if not given:
            rows.append(_absent(kind, (reasons or {}).get(kind, "no such networks were given")))
    if freely is None:
        return [*rows, _absent("free training", "it was not asked for")]
    rows.append(judged("free training", freely, [distilled], net, weights))
    others = [variant for variant in variants if variant.kind == "architecture"]
    return rows + [judged(f"free training: {v.name}", freely, [distilled], v.net, v.weights) for v in others]


def _row(name: str, base: float, *verdicts: Verdict) -> Row:
    values = torch.cat([verdict.accuracies for verdict in verdicts])
    mean = float(values.mean())
    std = float(values.std()) if len(values) > 1 else None
    return Row(name=name, mean=mean, std=std, values=values.tolist(), drop=base - mean, note=verdicts[0].note)


def _absent(name: str, reason: str) -> Row:
    return Row(name=name, mean=None, std=None, values=None, drop=None, note=reason)
