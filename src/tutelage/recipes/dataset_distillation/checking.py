"""A distilled set that a file holds, on data: how it does over fresh networks, beside what the file states."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...data import Normalise, Source
from ...distilled import crowd, predictions
from ...distilled.artefact import Artefact
from ...distilled.poison import Poison
from ...distilled.pools import data_fingerprint
from ...errors import ConfigError, DataError
from ...evaluation import Summary, summary
from ...rules import SGD
from ...starts import Pool
from .networks import Networks
from .options import Config
from .robust import robustness_rows
from .rows import Domain, divided, read, whitened

SAME = 0.002
"""The same networks on the same rows reach the same accuracy up to this: software and machines differ a little."""


@dataclass(frozen=True)
class Rows:
    """Which rows a file is checked on; None: as it says, or for other data than its own the usual."""

    data: str | None = None
    """Data set: digits, mnist, cifar10, cifar100, a file or a folder; default: what the set was judged on."""
    label: str | None = None
    """Label column of Parquet, csv, TFRecord or Hub data."""
    image: str | None = None
    """Image column of Parquet, TFRecord or Hub data."""
    resize: int | None = None
    """Bring images to this many pixels a side."""
    channels: Literal[1, 3] | None = None
    """Bring images to one channel (their mean), or from one to three."""
    test: float | None = None
    """Share held out as test set, if the data has none of its own."""
    split_seed: int | None = None
    """Seed of that draw."""

    def __post_init__(self) -> None:
        if self.resize is not None and self.resize < 1:
            raise ConfigError(f"resize is {self.resize}; images have at least 1 pixel a side.")
        if self.test is not None and not 0 < self.test < 1:
            raise ConfigError(f"test is {self.test}; it is a share between 0 and 1.")


@dataclass(frozen=True)
class Check:
    """What a set reaches here, and what its file states.

    Attributes:
        before: accuracy of the networks before they are taught.
        after: thereafter.
        stated: in the file; None: nothing.
        verdict: how both go together, in words.
        agrees: whether they do; None where they cannot be compared.
        attack: rates before and after, by when and name, each None for a class without rows; None: there is no attack.
    """

    before: Summary
    after: Summary
    stated: Summary | None
    verdict: str
    agrees: bool | None
    attack: Mapping[str, Mapping[str, float | None]] | None


def domain_of(artefact: Artefact, given: Rows, device: str = "cpu") -> Domain:
    """Return training and test rows, normalised as the file says.

    Args:
        artefact: the set.
        given: which rows.
        device: where to.

    Raises:
        ConfigError: if neither says which data.
        DataError: if it cannot be read, or has other classes.
        ShapeError: for rows of another shape.
    """
    own = {} if artefact.evaluation is None else dict(artefact.evaluation.data)
    chosen = {name: value for name, value in asdict(given).items() if value is not None}
    if "data" not in own and "data" not in chosen:
        raise ConfigError("the file does not say what the set was judged on: give test rows with --data.")
    if chosen.get("data", own.get("data")) == own.get("data"):
        chosen = {**own, **chosen}
    known = {f: chosen[f] for f in ("data", "label", "image", "resize", "channels", "split_seed") if f in chosen}
    count = len(artefact.classes)
    options = replace(Config(), **known, classes=chosen.get("classes", count), test=chosen.get("test") or 0.2782)
    try:
        data, _ = read(options)
    except DataError as error:
        if given.data is None:
            raise DataError(
                f"{error} (The file says that the set was judged on it; give other data with --data.)"
            ) from None
        raise
    if data.train.num_classes != count:
        raise DataError(f"{data.train.name} has {data.train.num_classes} classes, but the set is for {count}.")
    rows, held = divided(data, options)

    plain = replace(artefact.inputs, whitening=None)

    def seen(of: Source, index: Any) -> tuple[Tensor, Tensor]:
        x = plain.seen(torch.from_numpy(of.x[index]).to(device), of.scale)
        return x, torch.from_numpy(of.y[index]).to(device)

    test = seen(data.train, held) if data.test is None else seen(data.test, np.arange(len(data.test)))
    scaling = Normalise(artefact.inputs.mean, artefact.inputs.std)
    here = Domain(data.train, scaling, *seen(data.train, rows), *test, data_fingerprint(*test))
    return whitened(here, artefact.inputs.whitening)


def check(
    artefact: Artefact, domain: Domain, nets: int | None = None, *, net: str | None = None, seed: int | None = None
) -> Check:
    """Teach networks by a set, test them, and compare with what the file states.

    Args:
        artefact: the set.
        domain: test rows, as the file normalises them.
        nets: how many; None: those of the file.
        net: another network than the file's, or the one that it names; None: the file's.
        seed: of other networks than the file's.

    Raises:
        ConfigError, ShapeError: as :meth:`tutelage.distilled.artefact.Artefact.evaluate`.
    """
    x, y = domain.test_x, domain.test_y
    module, starts = artefact.starts(nets, net=net, seed=seed)
    starts = {name: value.to(x.device) for name, value in starts.items()}
    frozen = artefact.architecture.freeze_buffers
    untaught = crowd(module.to(x.device), starts, SGD(1.0), freeze_buffers=frozen)
    answers = {"before": predictions(untaught, x), "after": artefact.answers(x, module, starts)}
    right = {when: (told == y.unsqueeze(1)).double().mean(0).tolist() for when, told in answers.items()}
    before, after = summary(right["before"]), summary(right["after"])
    stated = None if artefact.evaluation is None else artefact.evaluation.summary
    verdict, agrees = _compared(artefact, domain, after, net, seed)
    attack = None
    if artefact.attack is not None:
        poison = Poison(*artefact.attack)
        attack = {when: _means(poison.rates(told, y)) for when, told in answers.items()}
    return Check(before, after, stated, verdict, agrees, attack)


def _means(rates: Mapping[str, list[float] | None]) -> dict[str, float | None]:
    return {name: None if values is None else sum(values) / len(values) for name, values in rates.items()}


def _compared(
    artefact: Artefact, domain: Domain, found: Summary, net: str | None, seed: int | None
) -> tuple[str, bool | None]:
    """How an accuracy goes together with the stated one, and whether it does."""
    evaluation = artefact.evaluation
    if evaluation is None:
        return "not compared: the file states no accuracy", None
    if net not in (None, artefact.architecture.name):
        return f"not compared: the file states the accuracy of {artefact.architecture.called}, not of {net}", None
    if domain.fingerprint != evaluation.fingerprint:
        return "not compared: these are other test rows than those of the accuracy that the file states", None
    values, stated = found["values"], evaluation.values
    if artefact.start.stored or seed in (None, artefact.start.seed):
        n = min(len(values), len(stated))
        apart = abs(sum(values[:n]) - sum(stated[:n])) / n
        if apart <= SAME:
            return f"reproduced: the same {_networks(n)} on the same rows", True
        return f"not reproduced: the same {_networks(n)} on the same rows are {100 * apart:.1f} points off", False
    margin, apart = evaluation.margin(len(values)), abs(found["mean"] - evaluation.summary["mean"])
    if margin is None:
        return "not compared: the file states the accuracy of one network, which says nothing of others", None
    agrees = apart <= margin
    where = "within" if agrees else "outside"
    return (
        f"{_networks(len(values))}, others than the file's, {where} the {100 * margin:.1f} points that are expected",
        agrees,
    )


def _networks(count: int) -> str:
    return f"{count} network" + "s" * (count != 1)


def robustness(
    artefact: Artefact,
    domain: Domain,
    nets: int | None = None,
    *,
    net: str | None = None,
    seed: int | None = None,
    free: int = 10,
) -> list[Mapping[str, Any]]:
    """Return the rows of the robustness report, see :func:`tutelage.distilled.robustness.robustness`.

    Args:
        artefact: the set.
        domain: rows, as the file normalises them.
        nets: how many judge; None: those of the file.
        net, seed: see :func:`check`.
        free: how many of them are trained freely.
    """
    module, starts = artefact.starts(nets, net=net, seed=seed)
    device, start = str(domain.x.device), artefact.start
    starts = {name: value.to(device) for name, value in starts.items()}
    module = module.to(device)
    judged = Networks(module, Pool(module, starts), starts, starts, 1, artefact.architecture.freeze_buffers)
    name = net or artefact.architecture.name or ""
    recipe = artefact.free_training
    options = replace(
        Config(),
        init=start.regime,
        net=name,
        held_out=len(next(iter(starts.values()))),
        free_nets=free,
        free_epochs=300 if recipe is None else recipe.epochs,
        device=device,
    )
    made = artefact.distilled
    here = replace(made, **{part: getattr(made, part).to(device) for part in ("images", "labels", "step_sizes")})
    return robustness_rows(here, judged, domain, artefact.students.initialiser(net), artefact.seed, options)
