"""How a student follows its teacher: how far their answers are apart in the end."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...frozen import Frozen
from ...gap import gap
from ...semi_supervised import confident
from ..distilling import Ended, Networks
from ..distilling.options import Chosen
from ..distilling.stage import Record


class Reordered(nn.Module):
    """A network whose answers (N, C) are brought to another order of classes: class c is its ``class_map[c]``."""

    def __init__(self, net: nn.Module, class_map: Sequence[int]) -> None:
        super().__init__()
        self.net, self._class_map = net, list(class_map)

    def forward(self, x: Tensor) -> Tensor:
        """Return its logits in that order."""
        out = self.net(x)
        logits: Tensor = out[0] if isinstance(out, tuple) else out
        return logits[..., self._class_map]

    def extra_repr(self) -> str:
        """Tell the order: it is part of what the answers depend on."""
        return f"class_map={self._class_map}"


def order_of(options: Chosen) -> list[int] | None:
    """Return the class map that options name."""
    return None if options.class_map is None else [int(c) for c in options.class_map.split(",")]


def together(networks: Networks, teachers: Sequence[str], options: Chosen) -> Frozen:
    """Return the networks of teachers as one that answers; the class map is of that from a file, the first, alone."""
    nets, class_map = [net for name in teachers for net in networks[name]], order_of(options)
    if class_map is not None and len(nets) > 1:
        nets, class_map = [Reordered(nets[0], class_map), *nets[1:]], None
    return Frozen(
        nets,
        average=options.ensemble_average,
        temperature=options.temperature,
        class_map=class_map,
        precision=torch.bfloat16 if options.teacher_precision == "bfloat16" else None,
    )


def following(
    options: Chosen, rows: int, teachers: Sequence[str], temperature: float, least: float = 0.0
) -> Callable[[Ended], Record]:
    """Return what finds, when a student has ended, how far it is from its teacher on the rows that it studied.

    Args:
        options: of the recipe.
        rows: how many there are.
        teachers: names of the stages that left its teachers.
        temperature: at which answers are compared.
        least: confidence below which the teacher's label of a row was left out; above 0: tell the share of the others.
    """

    def found(ended: Ended) -> Record:
        x, _ = ended.setting.clean(ended.setting.order[:rows])
        own, theirs = Frozen(ended.trained), together(ended.networks, teachers, options)
        pieces = torch.split(x, 1024)
        z_s, z_t = (torch.cat([net.answers(piece) for piece in pieces]) for net in (own, theirs))
        diagnosis = gap(z_s, z_t, temperature)
        kept = {"kept_share": float(confident(z_t, least).float().mean())} if least else {}
        return {"agreement": diagnosis.agreement} | ({} if diagnosis.r is None else {"gap": diagnosis.r}) | kept

    return found
