"""The stages of a run: networks that were trained before, distillation, judgement, comparisons."""

from collections.abc import Callable
from functools import cached_property

import torch

from ...distilled import DistilledSet
from ...distilled.free_training import RATES, Augment
from ...distilled.pools import NetPool, data_fingerprint, load_pool, pretrained, save_pool
from ...experts import Experts, train_experts
from ...randomness import counter, stream
from ...rules import SGD
from ...siamese import Siamese
from ..pieces import Desk, Done, Left, Stage
from . import comparing
from .distilling import distil, set_of
from .making import siamese_of
from .networks import Networks, Weights
from .options import TRAJECTORIES
from .plan import Plan
from .robust import robustness_rows

AUGMENTED = "augmented "
"""Before the names of arms that were trained freely on augmented images."""
POOL = "pool.safetensors"
_CHUNK = 40
"""Networks of a pool that are trained at a time."""
_TOGETHER = 16
"""Experts that are trained at a time."""


class Work:
    """What is done in a run's folder, stage by stage.

    Args:
        plan: of the run.
        done: what is finished there.
    """

    def __init__(self, plan: Plan, done: Done) -> None:
        self.plan, self.done = plan, done
        self._networks: dict[int, Networks] = {}

    def stages(self) -> list[Stage]:
        """Return all stages in their order."""
        plan, options, seeds = self.plan, self.plan.options, list(self.plan.seeds)
        chunks = list(range(-(-plan.pool_size // _CHUNK)))
        found = [Stage("pool", chunks, 1, self._pool_chunk)] if chunks else []
        if options.method == TRAJECTORIES:
            found.append(Stage("experts", list(range(-(-options.experts // _TOGETHER))), 1, self._expert_chunk))
        found += [
            Stage("distilled", seeds, options.steps, self._distilled),
            Stage("judged", seeds, 1, self._judged),
            *(Stage(name, seeds, 1, self._real_set(name)) for name in plan.baselines),
        ]
        if plan.attack is None and options.free_epochs:
            found.append(Stage("free", seeds, 1, self._free))
        if plan.attack is None and options.full_epochs:
            found.append(Stage("full-data", seeds, 1, self._full))
        if plan.attack is None and options.robustness:
            found.append(Stage("robustness", seeds[:1], 1, self._robustness))
        return found

    @cached_property
    def pool(self) -> Weights | None:
        """Networks that were trained before, on the run's device; None if there are none."""
        plan = self.plan
        if plan.given is not None:
            weights = plan.given.weights
        elif plan.pool_size:
            weights = self._pool_file().weights
        else:
            return None
        return {name: value.to(plan.options.device) for name, value in weights.items()}

    def networks(self, seed: int) -> Networks:
        """Return the networks of a seed."""
        if seed not in self._networks:
            self._networks = {seed: self.plan.networks(seed, self.pool)}  # of one seed at a time
        return self._networks[seed]

    def distilled(self, seed: int) -> DistilledSet:
        """Return the finished set of a seed."""
        return set_of(
            self.done.tensors("distilled", seed),
            self.done.facts("distilled", seed),
            torch.device(self.plan.options.device),
        )

    def real_set(self, name: str, seed: int) -> DistilledSet:
        """Return the first draw of a real set, with its tuned step size."""
        facts = {"epochs": self.plan.options.epochs}
        return set_of(self.done.tensors(name, seed), facts, torch.device(self.plan.options.device))

    def _pool_file(self) -> NetPool:
        """The pool as one file; made of its chunks when the last one is there."""
        path, options = self.done.folder.path / POOL, self.plan.options
        if not path.is_file():
            chunks = [self.done.tensors("pool", k) for k in range(-(-self.plan.pool_size // _CHUNK))]
            weights = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
            about = self.plan.known or self.plan.domain
            seeds = {"initialisation": options.first_seed, "batches": options.first_seed}
            data = data_fingerprint(about.x, about.y)
            save_pool(NetPool(weights, options.net, data, options.pool_epochs, seeds), path)
        return load_pool(path, self.plan.net)

    def _pool_chunk(self, chunk: int, desk: Desk) -> Left:
        plan, options = self.plan, self.plan.options
        about, key = plan.known or plan.domain, stream(options.first_seed, "networks of the pool")
        places = range(chunk * _CHUNK, min(plan.pool_size, (chunk + 1) * _CHUNK))
        starts = plan.initial.draw(plan.net, [counter(key, k) for k in places])
        starts = {name: value.to(options.device) for name, value in starts.items()}
        weights = pretrained(
            plan.net,
            starts,
            about.x,
            about.y,
            options.pool_epochs,
            lr=options.pool_lr,
            halve_every=options.pool_halve or None,
            chunk=_CHUNK,
            freeze_buffers=options.freeze_buffers,
            seed=options.first_seed,
        )
        desk.advance()
        return {}, weights

    @cached_property
    def experts(self) -> Experts | None:
        """Whose trajectories are matched, on the run's device; None for other methods."""
        options = self.plan.options
        if options.method != TRAJECTORIES:
            return None
        chunks = [self.done.tensors("experts", k)["weights"] for k in range(-(-options.experts // _TOGETHER))]
        return Experts(self.plan.net, torch.cat(chunks))

    def _expert_chunk(self, chunk: int, desk: Desk) -> Left:
        plan, options = self.plan, self.plan.options
        domain, key = plan.domain, stream(options.first_seed, "experts")
        places = range(chunk * _TOGETHER, min(options.experts, (chunk + 1) * _TOGETHER))
        starts = plan.initial.draw(plan.net, [counter(key, k) for k in places])
        starts = {name: value.to(options.device) for name, value in starts.items()}
        published = options.schedule == "published"
        experts = train_experts(
            plan.net,
            starts,
            domain.x,
            domain.y,
            epochs=options.expert_epochs,
            rule=SGD(0.01 if published else 0.05),
            batch_size=256 if published else 64,
            augment=_each(siamese_of(options.augmentation, domain)),
            together=_TOGETHER,
            freeze_buffers=options.freeze_buffers,
            seed=counter(key, chunk),
        )
        desk.advance()
        return {}, {"weights": experts.flat}

    def _distilled(self, seed: int, desk: Desk) -> Left:
        return distil(lambda: self.plan.distilling(seed, self.networks(seed), self.experts), desk)

    def _judged(self, seed: int, desk: Desk) -> Left:
        plan = self.plan
        facts = comparing.judged(self.distilled(seed), self.networks(seed), plan.domain, plan.attack)
        desk.advance()
        return facts, {}

    def _real_set(self, name: str) -> Callable[[int, Desk], Left]:
        def work(seed: int, desk: Desk) -> Left:
            plan = self.plan
            left = comparing.taught_alike(name, seed, plan.domain, self.networks(seed), plan.attack, plan.options)
            desk.advance()
            return left

        return work

    def _free(self, seed: int, desk: Desk) -> Left:
        plan, options = self.plan, self.plan.options
        made = comparing.examples([("distilled", self.distilled(seed))])
        real = comparing.examples([(name, self.real_set(name, seed)) for name in plan.baselines])
        nets, rates = self.networks(seed), self._rates(seed)
        found = comparing.trained_freely({**made, **real}, seed, nets, plan.domain, options, rates=rates)
        if "random" in real and len(plan.domain.shape) == 3:
            alike = _each(siamese_of("all", plan.domain))
            both = {AUGMENTED + name: {**made, **real}[name] for name in ("distilled", "random")}
            found |= comparing.trained_freely(both, seed, nets, plan.domain, options, rates=rates, augment=alike)
        desk.advance()
        return found, {}

    def _rates(self, seed: int) -> tuple[float, ...]:
        """Of free training: the usual, and the one that was learned with the set; all sets choose from the same."""
        learned = self.done.facts("distilled", seed)["rate"]
        return RATES if learned is None else (*RATES, float(learned))

    def _full(self, seed: int, desk: Desk) -> Left:
        found = comparing.trained_on_all(seed, self.networks(seed), self.plan.domain, self.plan.options)
        desk.advance()
        return found, {}

    def _robustness(self, seed: int, desk: Desk) -> Left:
        plan = self.plan
        rows = robustness_rows(
            *(self.distilled(seed), self.networks(seed), plan.domain, plan.initial, seed, plan.options),
            rates=self._rates(seed),
        )
        desk.advance()
        return {"rows": rows}, {}


def _each(siamese: Siamese | None) -> Augment | None:
    return None if siamese is None else siamese.each
