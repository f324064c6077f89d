"""Reader: elements that are read by position, from memory or from files."""

from abc import ABC, abstractmethod
from typing import ClassVar

from .elements import Element, IntArray, Signature, stack


class Reader(ABC):
    """A source with random access. The position of an element is its index.

    Readers pickle: what cannot be pickled, such as an open file or a memory map, is opened anew.
    """

    kind: ClassVar[str]
    """For messages and for the state of a pipeline: ``"arrays"``, ``"tfrecord"``, ..."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of elements, at least 1."""

    @abstractmethod
    def read(self, index: IntArray) -> list[Element]:
        """Return the elements at the positions ``index``, int64, shape (n,), in 0..len - 1, in any order, with
        repeats; leaves are numpy arrays (0-d for numbers), ``str`` or ``bytes``, and the caller's to keep.

        Raises:
            DataError: if an element is damaged; the message names file, record or line, and place.
        """

    def gather(self, index: IntArray) -> Element:
        """Return the elements at the positions ``index`` with stacked leaves, (n, ...).

        Raises:
            ShapeError: if they do not stack.
        """
        return stack(self.read(index), index.tolist())

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a SHA-256 in hex that changes when the data change."""

    def signature(self) -> Signature | None:
        """Return dtype and shape of an element's leaves, if known without reading; see
        :func:`tutelage.data.elements.signature`.
        """
        return None
