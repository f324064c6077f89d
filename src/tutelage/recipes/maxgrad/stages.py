"""The stages of a run: a trunk if the student has one, then each rate of noise, a seed at a time."""

from collections.abc import Callable, Mapping
from functools import cached_property

from torch import nn

from ..pieces import Desk, Done, Left, Record, Stage, Tensors
from ..selection.filters import emptied_in_words
from ..selection.nets import trained_before
from ..selection.stages import at, facts_of, images_of, noise_stage
from .course import taught_alike
from .plan import Plan
from .students import taught, whole_pool
from .used import REMEDY

TRUNK = "trunk"


class Work:
    """What is done in a run's folder.

    Args:
        plan: of the run.
        done: what is finished there.
    """

    def __init__(self, plan: Plan, done: Done) -> None:
        self.plan, self.done = plan, done

    def stages(self) -> list[Stage]:
        """Return all stages in their order."""
        plan = self.plan
        found = [Stage(TRUNK, [plan.seeds[0]], 1, self._trained)] if plan.options.before else []
        steps = len(plan.arms) * (plan.options.size // plan.options.rows)
        return found + [Stage(noise_stage(rate), list(plan.seeds), steps, self._taught(rate)) for rate in plan.levels]

    @cached_property
    def trunk(self) -> nn.Module | None:
        """The network below the codewords; None: the student is linear."""
        net = self.plan.trunk()
        if net is not None and self.plan.options.before:
            net.load_state_dict(self.done.tensors(TRUNK, self.plan.seeds[0]))
        return net

    def _trained(self, seed: int, desk: Desk) -> Left:
        net, (x, y) = self.plan.trunk(), self.plan.others
        assert net is not None
        net = trained_before(net, x, y, epochs=self.plan.options.before, seed=seed)
        desk.advance()
        return {"rows": len(x)}, {name: value.detach().cpu() for name, value in net.state_dict().items()}

    def _taught(self, rate: float) -> Callable[[int, Desk], Left]:
        def work(seed: int, desk: Desk) -> Left:
            plan, options = self.plan, self.plan.options
            drawn = plan.draw(seed, rate)
            found = taught(drawn, options, plan.classes, self.trunk)
            with at(rate, seed), emptied_in_words(plan.material.classes, REMEDY):
                arms = taught_alike(found, plan.arms, options, desk.advance)
            records = [
                {"noise": rate, "seed": seed, "arm": name, "shown": (t + 1) * options.rows, "accuracy": value}
                for name, own in arms.items()
                for t, value in enumerate(own["accuracy"])
            ]
            desk.record(records)
            facts = {
                "arms": arms,
                "whole_pool": whole_pool(found, options),
                **facts_of(drawn, plan.classes),
                "records": records,
            }
            return facts, _images(plan, arms) if seed == plan.seeds[0] else {}

        return work


def _images(plan: Plan, arms: Mapping[str, Record]) -> Tensors:
    """The rows that any arm showed, and those beside them."""
    rows = (row for own in arms.values() for row in own["index"] + own.get("counterfactual", []) if row >= 0)
    return images_of(plan.material, rows)
