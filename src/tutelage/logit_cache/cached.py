"""Answers from a file where it is legitimate, from the teacher otherwise."""

from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..data import Pipeline
from ..data.cache import folder as cache_folder
from ..errors import ConfigError, unknown
from ..lesson import Batch
from ..soft_targets import TopLogits
from .file import LogitFile
from .filling import fill
from .fingerprint import check_same, digest, fingerprint
from .inputs import Inputs, NotCacheable
from .layout import Layout
from .probes import Answering, check_fresh, check_inputs, check_rows, check_teacher, own_randomness
from .storage import Storage

Mode: TypeAlias = Literal["auto", "off", "force"]
Mix: TypeAlias = Literal["live", "interpolate"]

_WORTH = 2
_TIMES = 2


@own_randomness(0)  # reading other people's data leaves no trace
def cached_logits(
    teacher: Answering,
    rows: Pipeline,
    *,
    epochs: float,
    mode: Mode = "auto",
    path: str | Path | None = None,
    storage: Storage | None = None,
    mix: Mix = "live",
    keep_teacher: bool = True,
    version: str = "",
    device: torch.device | str = "cpu",
    tolerance: float = 1e-4,
    batch_size: int = 256,
) -> "CachedLogits":
    """Return a source of a teacher's logits: a verified file, made now if there is none, or the teacher itself.

    Args:
        teacher: frozen, such as ``Frozen(net)``.
        rows: what it sees, as pairs (x, y) before they are put in batches, with the same augmentation as in training;
            a random one needs a bank of views, ``augment(..., views=V)``.
        epochs: passes over the rows that are planned.
        mode: ``"auto"``: a file if that is legitimate and there are two epochs or more, else live; ``"off"``: live;
            ``"force"``: a file, or an error.
        path: of the file; None: one in the cache folder, named by the fingerprint.
        storage: form of the logits; None: all of them in float16, up to 1,000 classes.
        mix: how mixed rows are answered: ``"live"``, or ``"interpolate"``: after mixup by
            ``share z_own + (1 - share) z_partner``, after cutmix live.
        keep_teacher: for batches that a file cannot answer; False: they are an error, and a verified file lets go of
            the teacher.
        version: of the data; counts where they are too large to be read as a whole.
        device: of the teacher.
        tolerance: how far recomputed logits may be off beyond rounding, as a share of ``max(1, |z|)``; twice what the
            size of a batch was seen to change, if that is more.
        batch_size: rows at a time when the file is filled.

    Raises:
        ConfigError: for an unknown mode, options that do not go together, or, with ``"force"``, where a file is not
            legitimate.
        CheckpointError: if the file is for another fingerprint (with what differs), cut, damaged, being written by
            another process, or not what the teacher answers.
        DataError: for logits that are not finite, or too large for the storage.
    """
    for name, given, known in (("mode", mode, get_args(Mode)), ("mix", mix, get_args(Mix))):
        if given not in known:
            raise ConfigError(unknown(name, str(given), known))
    if mix == "interpolate" and storage is not None and storage.top is not None:
        raise ConfigError('mix="interpolate" needs all logits; the largest few of two rows cannot be mixed.')
    if mode == "off":
        return CachedLogits(teacher, reason="the cache is off")
    if mode == "auto" and epochs < _WORTH:
        return CachedLogits(teacher, reason=f"a cache pays from {_WORTH} epochs on, not for {epochs:g}")
    where = torch.device(device)
    try:
        inputs = Inputs(rows, version)
        check_inputs(inputs)
        classes, off = check_teacher(teacher, inputs, where)
        form = Storage.usual(classes) if storage is None else storage
        facts = fingerprint(teacher.fingerprint(), inputs.facts(), str(form))
    except NotCacheable as error:
        if mode == "force":
            raise ConfigError(f'mode="force", but logits cannot be kept: {error}') from error
        return CachedLogits(teacher, reason=str(error))
    file = cache_folder() / "logits" / f"{digest(facts)[:32]}.logits" if path is None else Path(path)
    if not file.is_file():
        layout = Layout(facts, inputs.index, inputs.views, classes, form)
        fill(file, layout, teacher, inputs, device=where, batch_size=batch_size)
    found = LogitFile(file)
    check_same(str(file), found.layout.facts, facts)
    check_rows(found, teacher, inputs, where, max(tolerance, _TIMES * off))
    return CachedLogits(teacher, found, mix=mix, keep_teacher=keep_teacher)


class CachedLogits:
    """A source of a teacher's logits, made by :func:`cached_logits`. Pickles; the file by its path.

    Args:
        teacher: answers what the file does not.
        file: complete, and verified; None: the teacher answers everything.
        reason: why it does.
        mix: how mixed rows are answered.
        keep_teacher: False: let go of it if there is a file.

    Attributes:
        file: where the answers come from; None: from the teacher.
        reason: why there is none.
    """

    def __init__(
        self,
        teacher: Answering,
        file: LogitFile | None = None,
        *,
        reason: str = "",
        mix: Mix = "live",
        keep_teacher: bool = True,
    ) -> None:
        self.file, self.reason = file, reason
        self._mix = mix
        self._teacher = teacher if keep_teacher or file is None else None
        self._identity = teacher.identity
        self._name = "" if file is None else digest(file.layout.facts)
        self._rows = {"hit": 0, "live": 0, "refused": 0}
        self._view: Tensor | None = None

    def answers_for(self, batch: Batch) -> Tensor | TopLogits:
        """Return the teacher's logits (N, C) of a batch, or the largest of them, on its device.

        Raises:
            StaleTarget: if an input is not the one that the teacher saw.
            DataError: for an example that the file does not have.
            ConfigError: for a batch that needs the teacher if that is gone.
        """
        self._view = batch.view
        if self.file is None:
            self._rows["live"] += len(batch)
            return self._live(batch)
        if self._answerable(batch):
            self._rows["hit"] += len(batch)
            return self._stored(self.file, batch)
        self._rows["refused"] += len(batch)
        self._rows["live"] += len(batch)
        return self._live(batch)

    def notes(self) -> dict[str, Any]:
        """Return where the answers come from, whose they are, the views of the last batch, and how many rows there were
        so far: ``hit`` from the file, ``live`` from the teacher, of these ``refused`` because they were mixed or had
        no ids.
        """
        facts = (
            {"source": "live", "reason": self.reason} if self.file is None else {"source": "cache", "cache": self._name}
        )
        return {**facts, "teacher": self._identity, "views": self._view, **self._rows}

    def _answerable(self, batch: Batch) -> bool:
        if bool((batch.index < 0).any()):
            return False
        mixed = batch.mixed
        if mixed is None:
            return True
        return self._mix == "interpolate" and mixed.linear and bool((mixed.partner >= 0).all())

    def _live(self, batch: Batch) -> Tensor:
        if self._teacher is None:
            raise ConfigError(
                "the batch is mixed, or some of its rows have no ids, and the teacher was let go: pass "
                'keep_teacher=True, or mix="interpolate" for mixup.'
            )
        return self._teacher.answers(batch.x)

    def _stored(self, file: LogitFile, batch: Batch) -> Tensor | TopLogits:
        own = file.entries(batch.index, batch.view)
        stored, norm = file.probes(own)
        x, mixed = batch.x, batch.mixed
        dtype = torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.float32
        logits = file.logits(own, dtype)
        if mixed is not None and isinstance(logits, Tensor):
            other = file.entries(mixed.partner, mixed.view)
            share = mixed.share.detach().cpu().float()[:, None]
            kept, (probes, norms) = share.numpy(), file.probes(other)
            stored, norm = probes + kept * (stored - probes), norms + kept[:, 0] * (norm - norms)
            logits = torch.lerp(file.logits(other, dtype), logits, share.to(dtype))  # type: ignore[arg-type]
        check_fresh(x, stored, norm, batch.index, batch.view)
        if isinstance(logits, Tensor):
            return logits.to(x.device)
        return logits._replace(**{k: getattr(logits, k).to(x.device) for k in ("values", "indices", "tail")})
