"""How a student follows its teacher: how far their answers are apart in the end."""

from collections.abc import Callable, Sequence

import torch

from ...frozen import Frozen
from ...gap import gap
from ..distilling import Ended, Networks
from ..distilling.options import Chosen
from ..distilling.stage import Record


def together(networks: Networks, teachers: Sequence[str], options: Chosen) -> Frozen:
    """Return the networks of teachers as one that answers."""
    nets = [net for name in teachers for net in networks[name]]
    return Frozen(
        nets,
        average=options.ensemble_average,
        temperature=options.temperature,
        class_map=None if options.class_map is None else [int(c) for c in options.class_map.split(",")],
        precision=torch.bfloat16 if options.teacher_precision == "bfloat16" else None,
    )


def following(options: Chosen, rows: int, teachers: Sequence[str], temperature: float) -> Callable[[Ended], Record]:
    """Return what finds, when a student has ended, how far it is from its teacher on the rows that it studied."""

    def found(ended: Ended) -> Record:
        x, _ = ended.setting.clean(ended.setting.order[:rows])
        own, theirs = Frozen(ended.trained), together(ended.networks, teachers, options)
        pieces = torch.split(x, 1024)
        z_s, z_t = (torch.cat([net.answers(piece) for piece in pieces]) for net in (own, theirs))
        diagnosis = gap(z_s, z_t, temperature)
        return {"agreement": diagnosis.agreement} | ({} if diagnosis.r is None else {"gap": diagnosis.r})

    return found
