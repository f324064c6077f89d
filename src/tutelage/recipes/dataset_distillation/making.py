"""The teacher that makes the images of a seed, by the method that the options name."""

from typing import get_args

import torch
from torch import Tensor

from ...distilled import labels_in_turn
from ...distilled.poison import Poison
from ...errors import ConfigError, unknown
from ...experts import Experts
from ...hypergradient import Fitting, Hypergradient, Recompute, Unrolled
from ...randomness import counter, stream
from ...real_sets import class_means
from ...real_sets import random as random_examples
from ...rules import SGD, Adam, Rule
from ...schedules import StepDecay
from ...siamese import OPS, WITHOUT_FLIP, Op, Siamese
from ...teacher import Teacher
from ...teachers import DatasetDistillation, DistributionMatching, GradientMatching, Tesla, TrajectoryMatching
from .networks import Networks
from .options import Chosen
from .rows import Domain

_SURE = 0.9
"""Probability of the true class where soft labels start."""
_BETAS = (0.5, 0.999)


def maker(
    seed: int, domain: Domain, networks: Networks, attack: Poison | None, experts: Experts | None, options: Chosen
) -> Teacher:
    """Return the teacher of a seed, where it starts.

    Args:
        seed: of images, real rows and orders.
        domain: of the real rows.
        networks: that it distils for.
        attack: what real labels become; None: what they are.
        experts: for trajectories to match; None for other methods.
        options: with nothing left to choose.
    """
    images = images_at_start(seed, domain, options).to(options.device)
    labels = labels_at_start(domain, options).to(options.device)
    siamese = siamese_of(options.augmentation, domain)
    momentum = SGD(options.lr_images, momentum=0.5)
    matched = {"starts": networks.starts, "rule": momentum, "real_batch": options.real_batch, "seed": seed}
    match options.method:
        case "gradient-matching" | "siamese":
            return GradientMatching(images, labels, siamese=siamese, **matched)
        case "distribution-matching":
            return DistributionMatching(images, labels, siamese=siamese, **matched)
        case "trajectory-matching":
            assert experts is not None
            return _trajectories(images, labels, experts, siamese, seed, options)
    return _unrolled(images, labels, networks, attack, seed, options)


def _unrolled(
    images: Tensor, labels: Tensor, networks: Networks, attack: Poison | None, seed: int, options: Chosen
) -> Teacher:
    parts = 10 if options.schedule == "published" else 5
    at = tuple(round(options.steps * k / parts) for k in range(1, parts))
    return DatasetDistillation(
        images,
        labels,
        epochs=options.epochs,
        step_size=options.step_size,
        starts=networks.starts,
        nets=networks.nets,
        lr_images=StepDecay(options.lr_images, at, factor=0.5),
        lr_steps=StepDecay(options.lr_steps, at, factor=0.5),
        real_batch=options.real_batch,
        objective=attack,
        hypergradient=_strategy(options),
        engine=options.engine,
        clip=options.clip,
        freeze_buffers=options.freeze_buffers,
        seed=seed,
    )


def _strategy(options: Chosen) -> Hypergradient:
    kinds: dict[str, type[Fitting] | type[Unrolled] | type[Recompute]]
    kinds = {"auto": Fitting, "tape": Unrolled, "recompute": Recompute}
    return kinds[options.memory](truncate=options.truncate)


def _trajectories(
    images: Tensor, labels: Tensor, experts: Experts, siamese: Siamese | None, seed: int, options: Chosen
) -> Teacher:
    def rule(lr: float) -> Rule:
        return SGD(lr, momentum=0.5) if options.schedule == "published" else Adam(lr, betas=_BETAS)

    return TrajectoryMatching(
        images,
        labels,
        experts,
        step_size=options.step_size,
        inner_steps=options.inner_steps,
        epochs=options.span,
        max_start=options.max_start,
        nets=options.nets,
        rule=rule(options.lr_images),
        rate_rule=rule(options.lr_steps),
        siamese=siamese,
        batch=options.inner_batch,
        hypergradient=Tesla() if options.tesla else _strategy(options),
        freeze_buffers=options.freeze_buffers,
        seed=seed,
    )


def siamese_of(text: str | None, domain: Domain) -> Siamese | None:
    """Read changes of images: names, ``all`` (of grey ones all but flip), or ``none``.

    Raises:
        ConfigError: for an unknown one, or rows that are no images.
    """
    if text in (None, "none"):
        return None
    if len(domain.shape) != 3:
        raise ConfigError(
            f"--augmentation {text} needs images (C, H, W), but rows have shape {domain.shape}; use none."
        )
    if text == "all":
        return Siamese(OPS if domain.shape[0] == 3 else WITHOUT_FLIP)
    names = [name.strip() for name in str(text).split(",")]
    for name in names:
        if name not in OPS:
            raise ConfigError(unknown("augmentation", name, [*OPS, "all", "none"]))
    chosen: tuple[Op, ...] = tuple(op for op in get_args(Op) if op in names)
    return Siamese(chosen)


def images_at_start(seed: int, domain: Domain, options: Chosen) -> Tensor:
    """Return the images (S, C m, ...) that a distillation starts from."""
    batches, each = options.batches, options.per_class
    if options.images == "real":
        return random_examples(domain.real, batches, each, counter(stream(seed, "first images")) >> 1)
    if options.images == "mean":
        return class_means(domain.real, batches, each, seed)
    generator = torch.Generator().manual_seed(stream(seed, "first images") >> 1)
    return torch.randn(batches, domain.classes * each, *domain.shape, generator=generator)


def labels_at_start(domain: Domain, options: Chosen) -> Tensor:
    """Return class ids (C m,), or soft labels (S, C m, C) that are mostly sure of them."""
    labels = labels_in_turn(domain.classes, options.per_class)
    if not options.learn_labels:
        return labels
    rest = (1.0 - _SURE) / max(1, domain.classes - 1)
    soft = torch.full((len(labels), domain.classes), rest)
    soft[torch.arange(len(labels)), labels] = _SURE
    return soft.expand(options.batches, *soft.shape).contiguous()
