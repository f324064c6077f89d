"""What a labeller says of each view of some rows, kept for the report."""

import torch

from ...checkpoint import save_checkpoint
from ...data.view_names import named_views, view_name
from ...frozen import Frozen
from ...multi_view import averaged
from ...runs import RunFolder
from ..distilling import Plan
from ..distilling.files import Left
from .labelling import pixels

SHOWN = 8
"""How many rows are kept."""
_AMONG = 1024
FILE = "views.safetensors"


def keep_views(plan: Plan, left: Left, folder: RunFolder) -> None:
    """Write the rows of the first seed on whose views the first labeller disagrees most, if answers to views count.

    ``views.safetensors`` gets ``index``, ``label``, the right one, which the labeller is not told, ``view.K``: images
    (M, C, H, W) as the view leaves them, ``p``: its probabilities (M, K, C), and ``mean``: their mean (M, C).
    """
    setting, options = plan.settings[0], plan.options
    views = named_views(options.views)
    if setting.source.x.ndim != 4 or not any(name.startswith("views-") for name in plan.arms):
        return
    rows = setting.order[options.labels :][:_AMONG]
    x, frozen = pixels(setting, rows), Frozen(left.of("labeller-1")[0])
    p = torch.stack([averaged(lambda shown: frozen.answers(setting.look(shown)), [view], x) for view in views], 1)
    mean = p.mean(1)
    label = mean.argmax(1)
    against = (p.argmax(2) != label[:, None]).sum(1)
    order = (against - mean.amax(1)).argsort(descending=True, stable=True)[:SHOWN].cpu()
    tensors = {
        "index": torch.from_numpy(rows)[order],
        "label": torch.from_numpy(setting.source.y[rows])[order],
        "p": p[order],
        "mean": mean[order],
    }
    tensors |= {f"view.{k}": view.apply(x[order]) for k, view in enumerate(views)}
    facts = {"seed": setting.seed, "views": [view_name(view) for view in views], "among": len(rows)}
    save_checkpoint(folder.path / FILE, {name: tensor.cpu() for name, tensor in tensors.items()}, facts)
