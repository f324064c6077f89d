"""Answers from a file where it is legitimate, from the teacher otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..data import Pipeline
from ..data.cache import folder as cache_folder
from ..errors import CheckpointError, ConfigError, StaleTarget, unknown
from ..lesson import Batch, Mixed
from ..soft_targets import TopLogits
from .file import LogitFile
from .filling import fill
from .fingerprint import check_same, digest, fingerprint
from .inputs import Inputs, NotCacheable
from .layout import Layout
from .locks import set_aside, starts
from .measures import measure_of
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
        mode: ``"auto"``: a file if that is legitimate and there are two epochs or more, else live; another process
            that writes it is waited for. ``"off"``: live. ``"force"``: a file, or an error.
        path: of the file; None: one in the cache folder, named by the fingerprint; with ``"auto"`` one that is found
            not to be what the teacher answers is set aside, and made anew.
        storage: form of the logits; None: all of them in float16, up to 1,000 classes.
        mix: how mixed rows are answered: ``"live"``, or ``"interpolate"``: after mixup by
            ``share z_own + (1 - share) z_partner``, after cutmix live, as where the inputs are whole numbers.
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
        checked = check_teacher(teacher, inputs, where)
        form = Storage.usual(checked.classes) if storage is None else storage
        facts = fingerprint(checked.fingerprint, inputs.facts(), str(form))
    except NotCacheable as error:
        if mode == "force":
            raise ConfigError(f'mode="force", but logits cannot be kept: {error}') from error
        return CachedLogits(teacher, reason=str(error))
    file = cache_folder() / "logits" / f"{digest(facts)[:32]}.logits" if path is None else Path(path)

    def opened() -> tuple[LogitFile, bool]:
        missing = not file.is_file()
        if missing:
            layout = Layout(facts, inputs.index, inputs.views, checked.classes, form, measure_of(inputs))
            fill(file, layout, teacher, inputs, device=where, batch_size=batch_size, wait=mode == "auto")
        found = LogitFile(file)
        check_same(str(file), found.layout.facts, facts)
        return found, missing

    def check(found: LogitFile) -> None:
        check_rows(found, teacher, inputs, where, max(tolerance, _TIMES * checked.off), starts(file))

    found, missing = opened()
    try:
        check(found)
    except (CheckpointError, StaleTarget) as error:
        if missing or mode != "auto" or path is not None:
            raise
        set_aside(file, found.inode, str(error))
        found, missing = opened()
        check(found)
    return CachedLogits(teacher, found, mix=mix, keep_teacher=keep_teacher, reused=not missing)


class CachedLogits:
    """A source of a teacher's logits, made by :func:`cached_logits`. Pickles; the file by its path.

    Args:
        teacher: answers what the file does not.
        file: complete, and verified; None: the teacher answers everything.
        reason: why it does.
        mix: how mixed rows are answered.
        keep_teacher: False: let go of it if there is a file.
        reused: whether the file was there before.

    Attributes:
        file: where the answers come from; None: from the teacher.
        reason: why there is none.
        fingerprint: digest of the file's; empty without one.
    """

    def __init__(
        self,
        teacher: Answering,
        file: LogitFile | None = None,
        *,
        reason: str = "",
        mix: Mix = "live",
        keep_teacher: bool = True,
        reused: bool = False,
    ) -> None:
        self.file, self.reason, self.reused = file, reason, reused
        self._mix = mix
        self._teacher = teacher if keep_teacher or file is None else None
        self._identity = teacher.identity
        self.fingerprint = "" if file is None else digest(file.layout.facts)

    def answers_for(self, batch: Batch) -> Tensor | TopLogits:
        """Return the teacher's logits (N, C) of a batch, or the largest of them, on its device.

        Raises:
            StaleTarget: if an input is not the one that the teacher saw.
            DataError: for an example that the file does not have.
            ConfigError: for a batch that needs the teacher if that is gone.
        """
        if self.file is None or not self._takes(batch.mixed):
            return self._live(batch)
        rows = {"index": batch.index, "view": batch.view, "measured": self.file.layout.measure.measured(batch.x)}
        if batch.mixed is not None:
            rows |= {"partner": batch.mixed.partner, "share": batch.mixed.share, "partner view": batch.mixed.view}
        found = on_host(rows)
        return self._stored(self.file, batch.x, found) if _named(found) else self._live(batch)

    def notes(self, batch: Batch) -> dict[str, Any]:
        """Return where the answers to a batch come from, whose they are, its views, and how many of its rows are
        ``hit``, from the file, or ``live``, from the teacher, of these ``refused`` because they are mixed or have no
        ids.
        """
        facts: dict[str, Any] = {"source": "live", "reason": self.reason}
        if self.file is not None:
            facts = {"source": "cache", "cache": self.fingerprint}
        known = self._takes(batch.mixed) and _named(
            {"index": batch.index} | ({} if batch.mixed is None else {"partner": batch.mixed.partner})
        )
        hit = len(batch) if self.file is not None and known else 0
        live = len(batch) - hit
        counts = {"hit": hit, "live": live, "refused": 0 if self.file is None else live}
        return {**facts, "teacher": self._identity, "views": batch.view, **counts}

    def _takes(self, mixed: Mixed | None) -> bool:
        """Whether the file can answer rows that are mixed like this."""
        if mixed is None or self.file is None:
            return self.file is not None
        return self._mix == "interpolate" and mixed.linear and self.file.layout.measure.linear

    def _live(self, batch: Batch) -> Tensor:
        if self._teacher is None:
            raise ConfigError(
                "the batch is mixed, or some of its rows have no ids, and the teacher was let go: pass "
                'keep_teacher=True, or mix="interpolate" for mixup.'
            )
        return self._teacher.answers(batch.x)

    def _stored(self, file: LogitFile, x: Tensor, rows: Mapping[str, Tensor]) -> Tensor | TopLogits:
        index, view = rows["index"], rows.get("view")
        own = file.entries(index, view)
        stored = file.seen(own)
        dtype = torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.float32
        logits = file.logits(own, dtype)
        if "partner" in rows and isinstance(logits, Tensor):
            other = file.entries(rows["partner"], rows.get("partner view"))
            share = rows["share"].detach().float()[:, None]
            kept = share.numpy()
            stored = tuple(b + kept * (a - b) for a, b in zip(stored, file.seen(other)))
            logits = torch.lerp(file.logits(other, dtype), logits, share.to(dtype))  # type: ignore[arg-type]
        check_fresh(file.layout.measure, rows["measured"].numpy(), stored, index, view)
        if isinstance(logits, Tensor):
            return logits.to(x.device)
        return logits._replace(**{k: getattr(logits, k).to(x.device) for k in ("values", "indices", "tail")})


def on_host(rows: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Return those of some tensors (N, ...) that there are on the CPU, from another device all in one copy."""
    given = {name: tensor for name, tensor in rows.items() if tensor is not None}
    away = {name: tensor for name, tensor in given.items() if tensor.device.type != "cpu"}
    return given | _in_one_copy(away) if away else given


def _in_one_copy(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU; each copy waits for all that the device has to do."""
    content = [tensor.detach().reshape(len(tensor), -1).contiguous().view(torch.uint8) for tensor in rows.values()]
    parts = torch.split(torch.cat(content, 1).cpu(), [part.shape[1] for part in content], 1)
    return {n: part.contiguous().view(t.dtype).view(t.shape) for (n, t), part in zip(rows.items(), parts)}


def _named(rows: Mapping[str, Tensor]) -> bool:
    """Whether all rows have ids, and so have the other rows in them."""
    return all(int(rows[name].min()) >= 0 for name in ("index", "partner") if name in rows)
