"""What follows from the options: data, networks and their roles, before anything is trained or written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ...data import DataSet
from ...distilled import raw_of
from ...distilled.poison import Poison
from ...distilled.pools import NetPool, load_pool
from ...errors import ConfigError, DataError, TutelageError
from ...experts import Experts
from ...importing import told
from ...nets.initial import Initialiser
from ...nets.together import check_stateless
from ...teacher import Teacher
from ...teachers import DatasetDistillation, TrajectoryMatching
from ..distilling.using import refuse_unread
from ..used import check_used
from .distilling import Distilling
from .making import maker, siamese_of
from .networks import Networks, Weights, architecture, initialiser, networks
from .options import FIXED, FLIPPED, TRAINED, TRAJECTORIES, Chosen, Config, filled
from .rows import CHANGES, Domain, domain, poisoned_classes, read
from .used import USED, baselines_of, check, check_together


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before it starts.

    Attributes:
        options: with nothing left to choose.
        domain: training and test rows.
        known: those of the domain that networks know; None: this one.
        net: the architecture.
        initial: how fresh networks are drawn.
        attack: what real labels become; None: what they are.
        given: networks of a file that the user names; None: there is none.
        fingerprints: of the data by role.
    """

    options: Chosen
    domain: Domain
    known: Domain | None
    net: nn.Module
    initial: Initialiser
    attack: Poison | None
    given: NetPool | None
    fingerprints: Mapping[str, str]

    @property
    def seeds(self) -> range:
        """Of the run."""
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    @property
    def ordered(self) -> bool:
        """Whether sets come with an order and step sizes."""
        return bool(self.options.method == "unrolled")

    @property
    def baselines(self) -> tuple[str, ...]:
        """Real sets to compare with."""
        if self.attack is not None:
            return (FLIPPED,)
        return baselines_of(self.options.baselines)

    @property
    def pool_size(self) -> int:
        """How many networks are trained before; 0: none."""
        options = self.options
        if options.init not in TRAINED or self.given is not None:
            return 0
        return 1 if options.init in FIXED else options.pool_nets + options.held_out

    def networks(self, seed: int, pool: Weights | None) -> Networks:
        """Return the networks of a seed, of this pool if they come from one."""
        return networks(seed, self.net, self.initial, pool, self.options)

    def distilling(self, seed: int, nets: Networks, experts: Experts | None) -> Distilling:
        """Return the distillation of a seed at its start."""
        options = self.options
        return Distilling(
            seed,
            maker(seed, self.domain, nets, self.attack, experts, options).to(options.device),
            self.domain,
            self.domain.batch,
            nets,
            steps=options.steps,
            evaluations=options.evaluations,
            keeps=seed == options.first_seed,
        )

    def rehearse(self) -> None:
        """Take an outer step, so that what cannot work is refused before a folder is made.

        Raises:
            ConfigError: if the network cannot take it, or its graph does not fit the memory.
        """
        self._rehearsed()

    def memory(self) -> str:
        """Return ``tape`` if the graph of all steps fits, ``recompute`` if not, by taking an outer step."""
        if self.options.engine == "compile":
            return "tape"
        teacher = self._rehearsed()
        assert isinstance(teacher, (DatasetDistillation, TrajectoryMatching))
        return "recompute" if teacher.hypergradient.stats.reruns else "tape"

    def _rehearsed(self) -> Teacher:
        """A teacher after an outer step with networks that nobody trained."""
        pool = None
        if self.options.init in TRAINED:
            count = 1 if self.options.init in FIXED else self.options.nets + self.options.held_out
            pool = self.initial.draw(self.net, range(count)) if self.given is None else self.given.weights
            pool = {name: value.to(self.options.device) for name, value in pool.items()}
        nets = self.networks(self.options.first_seed, pool)
        try:
            distilling = self.distilling(self.options.first_seed, nets, self._rehearsing())
            distilling.step()
        except TutelageError:
            raise
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"{self.options.net} cannot take an outer step: {told(error)}.") from error
        return distilling.teacher

    def _rehearsing(self) -> Experts | None:
        """Experts that nobody trained."""
        options = self.options
        if options.method != TRAJECTORIES:
            return None
        size = sum(p.numel() for p in self.net.parameters())
        epochs = options.max_start - 1 + options.span
        flat = torch.stack([torch.randn(epochs + 1, size, generator=torch.Generator().manual_seed(0))] * options.nets)
        return Experts(self.net, 0.05 * flat)


def prepare(given: Any, *, fresh: bool) -> Plan:
    """Return what follows from the options; ``fresh``: as a user gave them, not as a run folder keeps them.

    Raises:
        TutelageError: for options, data or networks that do not fit each other.
    """
    check(given)
    data, known = read(given)
    options = filled(given, tuple(data.train.x.shape[1:]), len(data.train))
    check_together(options)
    if fresh:
        check_used(given, options, USED, (FLIPPED,) if options.poison else baselines_of(options.baselines))
        _check_given(given, options, data)
    attack = None if options.poison is None else Poison(*poisoned_classes(options.poison, data.train))
    here = domain(data, options)
    siamese_of(options.augmentation, here)
    net, pool = architecture(here, options), None
    _check_net(net, options)
    if options.pool is not None:
        pool = load_pool(options.pool, net)
        _check_pool(pool, options)
    plan = Plan(
        options=options,
        domain=here,
        known=None if known is None else domain(known, options),
        net=net,
        initial=initialiser(here, options),
        attack=attack,
        given=pool,
        fingerprints=_fingerprints(data, known),
    )
    _check_rows(plan)
    if _may_recompute(options) and options.memory == "auto":  # once: a run that goes on must not choose again
        plan = replace(plan, options=replace(options, memory=plan.memory()))
    return plan


def _may_recompute(options: Chosen) -> bool:
    return bool(options.method == "unrolled" or (options.method == TRAJECTORIES and not options.tesla))


def _check_given(given: Config, options: Chosen, data: DataSet) -> None:
    reads = given.source not in (None, *CHANGES)  # --resize counts for the source as well
    refuse_unread(replace(given, resize=None) if reads else given, data)
    if given.free_nets is not None and not (options.free_epochs or options.full_epochs):
        raise ConfigError("--free-nets does nothing with --free-epochs 0 and --full-epochs 0; leave it out.")
    if given.source is not None and given.pool is not None:
        raise ConfigError("give one of --source and --pool: networks are trained on the one, or come from the other.")


def _check_net(net: nn.Module, options: Chosen) -> None:
    try:
        check_stateless(net)
    except ConfigError as error:
        if options.freeze_buffers:
            return
        raise ConfigError(
            f"--net {options.net} has norms with running statistics, which networks that run together cannot keep: "
            "use one with group norms, such as convnet3, or one without norms, such as mlp-128 or lenet, or have them "
            "stay as they are with --freeze-buffers."
        ) from error
    if options.freeze_buffers:
        raise ConfigError(
            f"--freeze-buffers does nothing: --net {options.net} has no running statistics; leave it out."
        )


def _check_pool(pool: NetPool, options: Chosen) -> None:
    needed = 1 if options.init in FIXED else options.nets + options.held_out
    if len(pool) < needed:
        parts = "one is needed" if needed == 1 else f"--nets {options.nets} and --held-out {options.held_out} need more"
        raise ConfigError(
            f"--pool {options.pool} has {len(pool)} networks, but {parts}: lower these, or pre-train more."
        )


def _check_rows(plan: Plan) -> None:
    """Refuse more images than a real set could have, and step sizes that cannot move."""
    options, real = plan.options, plan.domain.real
    each = options.batches * options.per_class
    counts = [int((real.y == c).sum()) for c in range(real.classes)]
    fewest = min(range(real.classes), key=counts.__getitem__)
    of_rows = [name for name in plan.baselines if name != "class-means"]
    if counts[fewest] < each and (of_rows or options.images == "real"):
        who = ", ".join(of_rows) or "--images real"
        raise DataError(
            f"{each} images a class (batches x per-class) are more than the {counts[fewest]} training rows of class "
            f"{plan.domain.source.classes[fewest]}, so that {who} cannot have as many: make fewer, or leave these out "
            "with --baselines."
        )
    if options.step_size is not None:
        raw_of(plan.domain.x.new_tensor([options.step_size]))


def _fingerprints(data: DataSet, known: DataSet | None) -> dict[str, str]:
    found = {"training": data.train.fingerprint()}
    if data.test is not None:
        found["test"] = data.test.fingerprint()
    if known is not None:
        found["source"] = known.train.fingerprint()
    return found
