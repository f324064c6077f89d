"""Browsers between the start page and consent: what they came with is held in memory, and nowhere else."""

import threading
from collections import OrderedDict

from ..tokens import random_id
from .recruitment import Entry

_MOST = 50_000


class Visits:
    """Entries by the random id of the visit; the oldest are forgotten first. Safe to share among threads."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def enter(self, visit: str, entry: Entry) -> str:
        """Remember with what a browser came, and return the id of its visit.

        Args:
            visit: that the browser has; empty: none.
            entry: what its address said.

        Returns:
            the given visit, or a new one if it is another person's: two tabs of one person share it.
        """
        with self._lock:
            if not visit or self._entries.get(visit, entry) != entry:
                visit = random_id()
            self._entries[visit] = entry
            self._entries.move_to_end(visit)
            while len(self._entries) > _MOST:
                self._entries.popitem(last=False)
        return visit

    def entry(self, visit: str) -> Entry | None:
        """Return with what a browser came; None: nothing is known, as after a restart."""
        with self._lock:
            return self._entries.get(visit)
