"""What a run leaves to be used elsewhere: each seed's set as one file that says of itself all that is needed."""

from typing import Any

from ...distilled import DistilledSet
from ...distilled.artefact import Artefact
from ...distilled.facts import Architecture, Evaluation, FreeRecipe, Start
from ...distilled.files import save
from ...distilled.free_training import RATES
from ...distilled.inputs import Inputs
from ..pieces import Done
from .making import siamese_of
from .networks import Networks, Weights, size, some
from .options import FIXED, TRAINED
from .plan import Plan

OBJECTIVES = {"train": "training", "adapt": "adaptation", "poison": "poisoning"}
_DATA = ("data", "label", "image", "classes", "resize", "channels", "test", "split_seed", "source")
_MOST_BYTES = 16 << 20
"""Trained networks are stored with a set, so that it can be judged, up to this size; those of fixed inits always."""


def save_set(plan: Plan, done: Done, distilled: DistilledSet, networks: Networks, seed: int) -> None:
    """Write ``distilled-SEED.safetensors``, which ``tutelage distilled`` reads.

    Args:
        plan: of the run.
        done: its finished stages.
        distilled: the set.
        networks: that judged it.
        seed: of the distillation.
    """
    options, domain = plan.options, plan.domain
    siamese = siamese_of(options.augmentation, domain)
    start = _start(plan, networks, seed)
    artefact = Artefact(
        distilled,
        classes=tuple(domain.source.classes),
        inputs=Inputs(domain.shape, domain.source.scale, domain.scaling.mean, domain.scaling.std, domain.whitening),
        architecture=Architecture.of(plan.net, options.net, freeze_buffers=options.freeze_buffers),
        start=start,
        objective=OBJECTIVES[options.objective],
        attack=None if plan.attack is None else (plan.attack.a, plan.attack.b),
        method=options.method,
        augmentation=() if siamese is None else siamese.ops,
        free_training=_free_training(plan, done, seed),
        evaluation=_evaluation(plan, done, seed, start.stored),
        truncate=options.truncate,
        seed=seed,
        log=done.facts("distilled", seed)["records"],
    )
    save(artefact, done.folder.path / f"distilled-{seed}.safetensors")


def _start(plan: Plan, networks: Networks, seed: int) -> Start:
    options = plan.options
    weights: Weights = {}
    if options.init in FIXED:
        weights = networks.judges
    elif options.init in TRAINED:
        each = sum(p.numel() * p.element_size() for p in plan.net.parameters())
        weights = some(networks.judges, 0, min(size(networks.judges), _MOST_BYTES // each))
    return Start(options.init, options.initialisation, options.gain, seed, weights)


def _free_training(plan: Plan, done: Done, seed: int) -> FreeRecipe | None:
    options = plan.options
    if done.has("free", seed):
        return FreeRecipe(done.facts("free", seed)["distilled"]["rate"], options.free_epochs)
    if plan.ordered:
        return None
    return FreeRecipe(done.facts("distilled", seed)["rate"] or RATES[0])


def _evaluation(plan: Plan, done: Done, seed: int, stored: int) -> Evaluation | None:
    """The accuracy over the networks that judged it; of stored ones, as many as are stored."""
    judged, before = done.facts("judged", seed), []
    if plan.attack is not None:
        values, before = (judged["attack"][when]["overall"] for when in ("after", "before"))
    elif plan.ordered:
        values, before = judged["along"]["after"], judged["along"]["before"]
    elif done.has("free", seed):
        values = done.facts("free", seed)["distilled"]["accuracies"]
    else:
        return None
    count = stored or len(values)
    data: dict[str, Any] = {name: getattr(plan.options, name) for name in _DATA}
    return Evaluation(
        tuple(values[:count]), len(plan.domain.test_y), plan.domain.fingerprint, data, tuple(before[:count])
    )
