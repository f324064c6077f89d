"""Files of logits under a memory map: complete ones to read, and the part that is being filled."""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, DataError, StaleTarget
from ..soft_targets import TopLogits
from .fingerprint import check_same
from .layout import UNFINISHED, Floats, Layout, footer

_ZEROS = 1 << 20
_PUTS_A_FLUSH = 16


class LogitFile:
    """A complete file of logits. Pickles as its path; processes on a machine share its memory.

    Args:
        path: the file.

    Raises:
        CheckpointError: if it does not exist, is cut, damaged, not complete or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = _mapped(path, "c")  # private pages: torch wants to be able to write
        self.layout = Layout.of(path, self._content)
        self.layout.check_complete(path, self._content)
        self._open()

    def _open(self) -> None:
        layout = self.layout
        self._columns = {name: layout.column(self._content, name) for name in layout.storage.columns(layout.classes)}
        self._probes: Floats = layout.column(self._content, "probes").numpy()
        self._norm: Floats = layout.column(self._content, "norm")[:, 0].float().numpy()
        n = len(layout.index)
        self._first = int(layout.index[0])
        self._gapless = int(layout.index[-1]) - self._first == n - 1

    def entries(self, index: Tensor, view: Tensor | None) -> Tensor:
        """Return where examples (N,) in views (N,) stand, int64 (N,) on the CPU.

        Raises:
            DataError: for an unknown example, or without views where there are several.
            StaleTarget: for a view that the file does not have.
        """
        layout, ids = self.layout, index.cpu().numpy()
        places = ids - self._first if self._gapless else np.searchsorted(layout.index, ids)
        inside = places.clip(0, len(layout.index) - 1)
        strange = layout.index[inside] != ids
        if strange.any():
            raise DataError(
                f"{self.path} has no logits of example {ids[strange][0]}; make it of all rows that are taught."
            )
        if view is None:
            if layout.views > 1:
                raise DataError(
                    f"{self.path} has {layout.views} views of each row, but the batch does not say which it holds; use "
                    f"augment(..., views={layout.views}) for the batches, too."
                )
            return torch.from_numpy(inside)
        views = view.cpu().numpy()
        if views.min() < 0 or views.max() >= layout.views:
            raise StaleTarget(
                f"{self.path} has {layout.views} views of each row, but the batch holds view {views.max()}; declare "
                "as many for the batches as for the cache."
            )
        return torch.from_numpy(inside * layout.views + views)

    def logits(self, entries: Tensor, dtype: torch.dtype) -> Tensor | TopLogits:
        """Return the logits (N, C), or the largest of them, of entries (N,)."""
        rows = {name: column.index_select(0, entries) for name, column in self._columns.items()}
        return self.layout.storage.unpacked(rows, dtype)

    def probes(self, entries: Tensor) -> tuple[Floats, Floats]:
        """Return the probes (N, 4) and the norms (N,) of the inputs of entries (N,)."""
        places = entries.numpy()
        return self._probes.take(places, 0), self._norm.take(places)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "facts": dict(self.layout.facts)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._content = _mapped(self.path, "c")
        self.layout = Layout.of(self.path, self._content)
        check_same(str(self.path), self.layout.facts, state["facts"])
        self._open()


class Part:
    """A file that is being filled, beside its place, by one process at a time; a later one goes on with it.

    A context manager: it holds the lock, and keeps on leaving what is there.

    Args:
        path: the place of the complete file; its folder is made.
        layout: of the file.

    Raises:
        CheckpointError: if another process fills it, it cannot be written, or what is there is for another
            fingerprint, cut or damaged.

    Attributes:
        complete: whether somebody else was faster; then there is nothing to do.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self._part = path.with_name(f"{path.name}.part")
        self._waiting = 0

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_name(f".{self.path.name}.lock").open("w")
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {error.strerror}; give another path.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise CheckpointError(f"{self.path} is being written by another process; wait for it.") from error
        self.complete = self.path.is_file()
        try:
            if not self.complete:
                self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def _begin(self) -> None:
        if not self._part.is_file():
            _create(self._part, self.layout)
        self._content = _mapped(self._part, "r+")
        found = Layout.of(self._part, self._content)
        check_same(str(self._part), found.facts, self.layout.facts)
        names = (*self.layout.storage.columns(self.layout.classes), "probes", "norm")
        self._columns = {name: self.layout.column(self._content, name) for name in names}
        bits = np.unpackbits(self._content[self.layout.filled], bitorder="little")
        self._there = bits[: self.layout.entries].view(np.bool_).reshape(-1, self.layout.views)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep()
        self._lock.close()

    def has(self, rows: slice, view: int) -> bool:
        """Return whether some rows are there in a view."""
        return bool(self._there[rows, view].all())

    def put(self, rows: slice, view: int, columns: Mapping[str, Tensor]) -> None:
        """Store all columns of some rows, (n, numbers) each, in a view."""
        at = slice(rows.start * self.layout.views + view, rows.stop * self.layout.views, self.layout.views)
        for name, values in columns.items():
            self._columns[name][at] = values.view(len(values), -1)
        self._there[rows, view] = True
        self._waiting += 1
        if self._waiting >= _PUTS_A_FLUSH:
            self.keep()

    def keep(self) -> None:
        """Bring what was put to the disk, then the bits that say so."""
        if self._waiting:
            self._content.flush()
            self._content[self.layout.filled] = np.packbits(self._there.reshape(-1), bitorder="little")
            self._content.flush()
            self._waiting = 0

    def finish(self) -> None:
        """Bring the file to its place.

        Raises:
            CheckpointError: if rows are missing, or it cannot be written.
        """
        self.keep()
        if not self._there.all():
            missing = int(self.layout.index[np.flatnonzero(~self._there.all(1))[0]])
            raise CheckpointError(f"{self._part} is not complete: example {missing} is missing.")
        end = np.frombuffer(footer(self._content), dtype=np.uint8)
        self._content[-len(end) :] = end
        self._content.flush()
        try:
            os.replace(self._part, self.path)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {error.strerror}; give another path.") from error


def _mapped(path: Path, mode: str) -> "np.memmap[Any, np.dtype[np.uint8]]":
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.")
    try:
        return np.memmap(path, dtype=np.uint8, mode=mode)  # type: ignore[call-overload, no-any-return]
    except ValueError:
        raise CheckpointError(f"{path} is empty; remove it.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def _create(path: Path, layout: Layout) -> None:
    """Write a file of zeros in full, so that no later write meets a full disk, then rename it."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(layout.beginning())
            while (left := layout.size - len(UNFINISHED) - file.tell()) > 0:
                file.write(bytes(min(left, _ZEROS)))
            file.write(UNFINISHED)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {error.strerror}; give another path.") from error
