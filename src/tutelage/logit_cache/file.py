"""Complete files of logits, read under a memory map."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.elements import Array
from ..errors import CheckpointError, DataError, StaleTarget
from ..soft_targets import TopLogits
from .fingerprint import check_same
from .layout import Layout


class LogitFile:
    """A complete file of logits. Pickles as its path; processes on a machine share its memory.

    Args:
        path: the file.

    Raises:
        CheckpointError: if it does not exist, is cut, damaged, not complete or of another version.

    Attributes:
        layout: what it holds.
        inode: by which it is known if another one takes its place.
    """

    def __init__(self, path: Path) -> None:
        self._map(path)
        self.layout.check_complete(path, self._content)
        self._open()

    def _map(self, path: Path) -> None:
        self.path = path
        self.inode = path.stat().st_ino if path.is_file() else 0
        self._content = mapped(path, "c")  # private pages: torch wants to be able to write
        self.layout = Layout.of(path, self._content)

    def _open(self) -> None:
        layout = self.layout
        self._columns = {name: layout.column(self._content, name) for name in layout.storage.columns(layout.classes)}
        seen = [layout.column(self._content, name) for name in layout.measure.columns]
        self._seen = [(column.float() if column.dtype == torch.bfloat16 else column).numpy() for column in seen]
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
        if self._gapless:
            inside = ids - self._first
            strange = (inside < 0) | (inside >= len(layout.index))
        else:
            inside = np.minimum(np.searchsorted(layout.index, ids), len(layout.index) - 1)
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

    def seen(self, entries: Tensor) -> tuple[Array, ...]:
        """Return what is kept of the inputs of entries (N,), (N, numbers) of each column of the measure."""
        places = entries.numpy()
        return tuple(column.take(places, 0) for column in self._seen)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "facts": dict(self.layout.facts)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._map(state["path"])
        check_same(str(self.path), self.layout.facts, state["facts"])
        self._open()


def mapped(path: Path, mode: str) -> "np.memmap[Any, np.dtype[np.uint8]]":
    """Return the bytes of a file under a memory map.

    Raises:
        CheckpointError: if it cannot be read.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.")
    try:
        return np.memmap(path, dtype=np.uint8, mode=mode)  # type: ignore[call-overload, no-any-return]
    except ValueError:
        raise CheckpointError(f"{path} is empty; remove it.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
