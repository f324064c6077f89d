"""Options of the recipe, and what each profile chooses for those that are not given."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from ..naming import DataOptions
from ..options import pick_device

Chosen: TypeAlias = Any
"""Options of which nothing is left to choose; the type checker cannot know which of them are no longer None."""
Method = Literal["unrolled", "gradient-matching", "siamese", "distribution-matching", "trajectory-matching"]
Objective = Literal["train", "adapt", "poison"]
Init = Literal["fixed", "random", "pretrained", "pretrained-fixed"]


@dataclass(frozen=True)
class Config(DataOptions):
    """Options of the recipe; None means: chosen by the profile, the objective, the method, or for the data."""

    resize: int | None = None
    """Bring images to this many pixels a side; those of --source as well."""
    channels: Literal[1, 3] | None = None
    """Bring images to one channel (their mean), or from one to three; those of --source as well."""
    whitening: Literal["none", "zca"] | None = None
    """What normalised rows become: nothing, or without correlations between pixels (ZCA, of the training rows);
    default: none, published trajectories of colour images zca."""
    schedule: Literal["auto", "digits", "published"] = "auto"
    """What options become that are not given: as in our figures on digits, as in the published code, or auto: published
    for images of at least 28 pixels a side."""
    objective: Objective = "train"
    """What the real rows ask for: their labels (train), those of another domain than the networks know (adapt), or
    their labels with one class taken for another (poison)."""
    init: Init | None = None
    """Which networks are taught: those of stored weights (fixed), fresh ones (random), some that were trained before
    (pretrained) or one of these (pretrained-fixed); default: random, with --objective adapt or poison pretrained."""
    method: Method = "unrolled"
    """How images are learned: by the loss that their lessons lead to, or by matching gradients, gradients under a
    shared augmentation (siamese), mean features, or trajectories of experts."""
    source: str | None = None
    """Domain that the networks know, with --objective adapt: the data itself rotated, shifted or inverted, or another
    data set of the same shape and classes."""
    poison: str | None = None
    """The attack, with --objective poison: a:b, class ids or names, has a taken for b; default: 0:1."""
    test: float | None = None
    """Share held out as test set, if the data has none of its own; default: 0.2782."""
    split_seed: int = 0
    """Seed of that draw; it is the same for all seeds of the run."""
    per_class: int = 1
    """Images a class in a batch."""
    batches: int | None = None
    """Batches, each one gradient step; default: 1, published 10, of grey images and known networks with fixed weights
    1."""
    epochs: int | None = None
    """How often they are gone through; images are shared, step sizes are not; default: 3."""
    images: Literal["noise", "real", "mean"] | None = None
    """What images start as: normal noise, real examples, or class means; default: noise, for siamese, distribution and
    trajectory matching real."""
    learn_labels: bool = False
    """Learn soft labels as well."""
    augmentation: str | None = None
    """Changes that match synthetic and real images alike, of distribution and trajectory matching and siamese: color,
    crop, cutout, flip, scale, rotate, separated by commas; all (of grey images all but flip), or none; default: none,
    siamese and published all."""
    steps: int | None = None
    """Outer steps; default: 500, init fixed and adaptation 400, poison 300, published 400 passes over the rows; of
    other methods 300 to 500, published 1,000 to 20,000."""
    nets: int | None = None
    """Networks an outer step; default: 8, published 4, of the fixed inits and other methods 1, trajectories 4,
    published 1."""
    real_batch: int | None = None
    """Real rows an outer step, drawn with replacement; default: 512, published 1,024; of other methods rows a class,
    default: 64, published 256."""
    step_size: float | None = None
    """Where step sizes start; default: 0.1, adaptation and trajectories 0.05, poison 0.02, published 0.02, colour
    0.001, trajectories 0.01."""
    lr_images: float | None = None
    """Learning rate of images, and of soft labels; default: 0.05, published 0.01, of other methods as published."""
    lr_steps: float | None = None
    """Learning rate of raw step sizes; default: 0.05, init fixed 0.2, published 0.01, of trajectories 0.02, published
    0.1."""
    clip: float | None = None
    """Cut the norm of the outer gradient to this; default: no cut. For many steps, whose gradients leap."""
    truncate: int | None = None
    """Differentiate only the last so many steps; default: all."""
    engine: Literal["auto", "loop", "vmap", "hand", "compile"] = "auto"
    """How several networks are run: one by one, vectorised, a perceptron's layers as one product each, or compiled (a
    C++ compiler is needed, and half a minute)."""
    memory: Literal["auto", "tape", "recompute"] = "auto"
    """Keep the graph of all steps, or compute each again on the way back; auto: the graph while it fits."""
    net: str | None = None
    """Network: mlp-W1-W2, lenet, convnetD, alexcifarnet, ..., or your own as package.module:function; default:
    mlp-128, published lenet, colour alexcifarnet; of other methods convnet2x32, published convnet3."""
    initialisation: str | None = None
    """Initial weights: xavier-normal, xavier-uniform, kaiming-normal, kaiming-uniform, torch, or own, what the network
    does by itself; default: xavier-normal, of other methods torch."""
    freeze_buffers: bool = False
    """Keep running statistics of norms as a fresh network has them; networks that have some are refused otherwise."""
    gain: float = 1.0
    """Factor on initial weights."""
    pool: str | None = None
    """File of networks that were trained before, in place of training them here; the last --held-out of them are not
    distilled with."""
    pool_nets: int | None = None
    """Networks to train before; default: 40, poison 32, published 200, poison 2,000."""
    pool_epochs: int | None = None
    """Passes that these are trained for; default: 25, poison 20, published 40, colour 50."""
    pool_lr: float | None = None
    """Their learning rate at the start; default: 0.001, published 0.0002, colour 0.001."""
    pool_halve: int | None = None
    """Passes after which it falls to a half, again and again; 0: never; default: 0, published 20, colour 7."""
    held_out: int | None = None
    """Networks to judge by, that no outer step sees; default: 200, of those that were trained before 40, poison 32,
    published 200."""
    experts: int | None = None
    """Experts whose trajectories are matched; default: 30, published 100."""
    expert_epochs: int | None = None
    """Passes that these are trained for; default: 20, published 50."""
    inner_steps: int | None = None
    """Steps on the set that lead from an expert's weights to later ones; default: 20."""
    inner_batch: int | None = None
    """Rows of the set in such a step; default: all."""
    span: int | None = None
    """Passes of the expert that these stand for; default: 2, published 3."""
    max_start: int | None = None
    """They begin before this pass of an expert; default: 15, published 25."""
    tesla: bool = False
    """Match trajectories with weights before each step held constant: less memory, approximate."""
    baselines: str | None = None
    """Real sets to compare with, separated by commas: random, class-means, k-means, k-center, herding; none: none;
    default: the first four, without k-means where it is the mean."""
    draws: int = 4
    """Draws of random real examples."""
    free_nets: int | None = None
    """Networks that are trained on each set freely, without its order and step sizes, the first of those that judge;
    default: 10, or as many as there are."""
    free_epochs: int | None = None
    """Passes of that; 0: none; default: 300."""
    full_epochs: int | None = None
    """Passes of training on all real rows; 0: none; default: 60, published 25."""
    robustness: bool = True
    """Judge the set with other step sizes, orders, roundings, networks and inits as well."""
    seeds: int | None = None
    """Number of seeds; each draws its own images, rows and networks, shared by all arms; networks that were trained
    before are the same for all seeds; default: 3, published 1."""
    first_seed: int = 0
    """The first seed."""
    evaluations: int = 30
    """How often the images are kept and tried on training rows during distillation."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: cuda if there is one."""
    threads: int | None = None
    """Threads of a CPU operation; default: PyTorch's choice."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints."""


FLIPPED = "flipped-real"
"""The baseline of an attack: random real examples, those of class a labelled b."""
OWN = "own"
"""The initialisation that a network's constructor makes."""
FIXED = ("fixed", "pretrained-fixed")
TRAINED = ("pretrained", "pretrained-fixed")
TRAJECTORIES = "trajectory-matching"
SIAMESE = ("siamese", "distribution-matching", TRAJECTORIES)
"""Methods that may change synthetic and real images alike."""


def filled(given: Config, shape: tuple[int, ...], rows: int) -> Chosen:
    """Return options with nothing left to choose, on this machine's device.

    Args:
        given: as the user gave them, checked.
        shape: of a row.
        rows: training rows there are.
    """
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    large = len(shape) == 3 and min(shape[1:]) >= 28
    schedule = ("published" if large else "digits") if given.schedule == "auto" else given.schedule
    init = given.init or ("random" if given.objective == "train" else "pretrained")
    usual = _usual(given, init, published=schedule == "published", colour=len(shape) == 3 and shape[0] == 3, rows=rows)
    chosen: dict[str, Any] = {name: value for name, value in usual.items() if getattr(given, name) is None}
    chosen |= {name: _absolute(getattr(given, name)) for name in ("data", "source", "pool")}
    chosen |= {"device": str(pick_device(given.device)), "threads": torch.get_num_threads()}
    if "baselines" in chosen and given.per_class * (given.batches or chosen["batches"]) == 1:
        chosen["baselines"] = "random,class-means,k-center"
    if given.free_nets is None:
        chosen["free_nets"] = min(10, judges(given, chosen, init))
    return replace(given, schedule=schedule, init=init, **chosen)


def judges(given: Config, chosen: Mapping[str, Any], init: str) -> int:
    """Return how many networks judge."""
    of_fixed = given.nets or chosen["nets"] if init in FIXED else 0
    return int(of_fixed or given.held_out or chosen["held_out"])


def _absolute(path: str | None) -> str | None:
    return str(Path(path).resolve()) if path is not None and Path(path).exists() else path


def _usual(given: Config, init: str, *, published: bool, colour: bool, rows: int) -> dict[str, Any]:
    poison, adapt = given.objective == "poison", given.objective == "adapt"
    common: dict[str, Any] = {
        "test": 0.2782,
        "poison": "0:1" if poison else None,
        "whitening": "zca" if published and colour and given.method == TRAJECTORIES else "none",
        "batches": 10 if published and (init not in FIXED or (colour and init == "fixed")) else 1,
        "epochs": 3,
        "images": "noise",
        "free_epochs": 300,
        "full_epochs": 25 if published else 60,
        "baselines": "random,class-means,k-means,k-center",
        "seeds": 1 if published else 3,
    }
    if given.method != "unrolled":
        return common | _matching(given, published=published)
    if published:
        return common | _published(given, init, colour, rows)
    return common | {
        "steps": 300 if poison else 400 if adapt or init in FIXED else 500,
        "nets": 1 if init in FIXED else 8,
        "real_batch": 512,
        "step_size": 0.02 if poison else 0.05 if adapt else 0.1,
        "lr_images": 0.05,
        "lr_steps": 0.2 if init == "fixed" else 0.05,
        "net": "mlp-128",
        "initialisation": "xavier-normal",
        "pool_nets": 1 if init in FIXED else 32 if poison else 40,
        "pool_epochs": 20 if poison else 25,
        "pool_lr": 1e-3,
        "pool_halve": 0,
        "held_out": 1 if init in FIXED else {"train": 200, "adapt": 40, "poison": 32}[given.objective],
    }


def _published(given: Config, init: str, colour: bool, rows: int) -> dict[str, Any]:
    """Wang et al. 2018, as their code has it."""
    return {
        "steps": 400 * -(-rows // 1024),
        "nets": 1 if init in FIXED else 4,
        "real_batch": 1024,
        "step_size": 0.001 if colour else 0.02,
        "lr_images": 0.02 if given.objective == "poison" else 0.01,
        "lr_steps": 0.02 if given.objective == "poison" else 0.01,
        "net": "alexcifarnet" if colour else "lenet",
        "initialisation": "xavier-normal",
        "pool_nets": 1 if init in FIXED else 2000 if given.objective == "poison" else 200,
        "pool_epochs": 50 if colour else 40,
        "pool_lr": 1e-3 if colour else 2e-4,
        "pool_halve": 7 if colour else 20,
        "held_out": 1 if init in FIXED else 200,
    }


def _matching(given: Config, *, published: bool) -> dict[str, Any]:
    """The later methods, in our size for two cores or as published."""
    method, trajectory = given.method, given.method == TRAJECTORIES
    steps = {"distribution-matching": (500, 20_000), TRAJECTORIES: (400, 5000)}.get(method, (300, 1000))
    lr_images = {"distribution-matching": 10.0 if given.per_class >= 100 else 1.0, TRAJECTORIES: 0.02}.get(method, 0.1)
    values = {
        "epochs": 1,
        "batches": 1,
        "images": "noise" if method == "gradient-matching" else "real",
        "augmentation": "all" if method == "siamese" or (published and method != "gradient-matching") else "none",
        "steps": steps[published],
        "nets": 4 if trajectory and not published else 1,
        "real_batch": 256 if published else 64,
        "step_size": 0.01 if published else 0.05,
        "lr_images": 1000.0 if trajectory and published else lr_images,
        "lr_steps": 0.1 if published else 0.02,  # of rho what 1e-5 is of eta, where that starts
        "net": "convnet3" if published else "mlp-128" if trajectory else "convnet2x32",
        "initialisation": "torch",
        "held_out": 200,
    }
    experts = {
        "experts": 100 if published else 30,
        "expert_epochs": 50 if published else 20,
        "inner_steps": 20,
        "span": 3 if published else 2,
        "max_start": 25 if published else 15,
    }
    return values | (experts if trajectory else {})
