"""The stages of a run: networks if there are some, then each rate of noise, a seed at a time."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...evaluation import accuracy
from ...lesson import Batch
from ..pieces import Desk, Done, Left, Stage, Tensors
from ..selection.rows import Drawn
from ..selection.stages import at, class_counts, facts_of, images_of, noise_stage
from .course import opened, taught
from .explaining import Network, check_learned, trained
from .judging import METRICS, Judge, Record
from .plan import Plan

_DIFFICULTY = "difficulty"


def network_stage(rate: float) -> str:
    """Return the name of the stage in which the networks of a rate of noise are trained."""
    return f"network-{rate:g}"


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
        plan, options = self.plan, self.plan.options
        steps, found = len(plan.arms) * (options.size // options.rows), []
        for rate in plan.levels:
            if options.net is not None:
                seeds = sorted({plan.network_seed(seed, rate) for seed in plan.seeds})
                found.append(Stage(network_stage(rate), seeds, options.epochs, self._trained(rate)))
            found.append(Stage(noise_stage(rate), list(plan.seeds), steps, self._taught(rate)))
        return found

    def _trained(self, rate: float) -> Callable[[int, Desk], Left]:
        def work(seed: int, desk: Desk) -> Left:
            plan, options = self.plan, self.plan.options
            drawn = plan.draw(seed, rate)
            net = trained(plan.network(seed), drawn.pool, epochs=options.epochs, seed=seed, advance=desk.advance)
            with at(rate, seed):
                learned = check_learned(net, drawn.pool, plan.classes)
            facts = {"pool_accuracy": learned, "test_accuracy": accuracy(net.logits(drawn.test_x), drawn.test_y)}
            left = {f"net.{name}": value.detach().cpu() for name, value in net.net.state_dict().items()}
            if options.explain != "none":
                left[_DIFFICULTY] = net.difficulty(drawn.pool, options.explain).cpu()
            return facts, left

        return work

    def _network(self, seed: int, rate: float) -> tuple[Network | None, Tensor | None]:
        """The network that serves a seed, and the difficulties (N,) of its explanations of the pool."""
        plan = self.plan
        if plan.options.net is None:
            return None, None
        tensors = self.done.tensors(network_stage(rate), plan.network_seed(seed, rate))
        net = plan.network(seed)
        net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
        return Network(net), tensors.get(_DIFFICULTY)

    def _taught(self, rate: float) -> Callable[[int, Desk], Left]:
        def work(seed: int, desk: Desk) -> Left:
            plan, options = self.plan, self.plan.options
            drawn, (net, hard) = plan.draw(seed, rate), self._network(seed, rate)
            features = net.features if net and options.features == "net" else None
            with at(rate, seed):
                found = opened(drawn, features, options, plan.classes)
                found.check_size(options.size)
                arms = taught(found, self._by_index(drawn.pool, hard), plan.arms, options, desk.advance)
            records = [
                {"noise": rate, "seed": seed, "arm": name, "shown": t * options.rows, **{m: own[m][t] for m in METRICS}}
                for name, own in arms.items()
                for t in range(options.size // options.rows + 1)
            ]
            desk.record(records)
            facts = {
                "arms": arms,
                "best": Judge(found, 1).best(),
                "hypotheses": len(found.hypotheses),
                **facts_of(drawn, plan.classes),
                "kept_counts": class_counts(drawn.pool, plan.classes, found.kept),
                "records": records,
            }
            return facts, self._images(drawn, net, arms) if seed == plan.seeds[0] else {}

        return work

    def _by_index(self, pool: Batch, hard: Tensor | None) -> Tensor | None:
        """Difficulties of all rows of the data; NaN for those that are not in the pool."""
        if hard is None:
            return None
        found = torch.full((len(self.plan.material.source),), torch.nan, dtype=torch.float64, device=pool.x.device)
        return found.index_copy_(0, pool.index.long(), hard.to(found))

    def _images(self, drawn: Drawn, net: Network | None, arms: Mapping[str, Record]) -> Tensors:
        """The rows that any arm showed, and maps of the given labels."""
        left = images_of(self.plan.material, (row for own in arms.values() for row in own["index"]))
        if net is not None and self.plan.options.explain != "none":
            rows = (drawn.pool.index.cpu()[None] == left["shown"][:, None]).int().argmax(1).to(drawn.pool.x.device)
            maps = net.overlays(drawn.pool.x[rows], drawn.pool.y[rows], self.plan.options.explain)
            left["maps"] = maps.float().cpu()
        return left
