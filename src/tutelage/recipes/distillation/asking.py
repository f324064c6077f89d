"""Who answers for a teacher: its networks, or a file with what they answered before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...frozen import Frozen, LogitSource
from ...logit_cache import LogitFile, Storage, cached_logits
from ...runs import RunFolder
from ..distilling import Setting
from ..distilling.options import Chosen

_KEPT = "caches.json"
_GENERATIONS = "its teachers are the generations before it, each of which teaches one student"
_INSIDE = "it learns from layers inside the teacher"


def live_arms(names: tuple[str, ...], options: Chosen) -> dict[str, str]:
    """Return the arms whose teachers no file can answer for, and why; none without a cache."""
    if not options.cache or options.cache_mode == "off":
        return {}
    reasons = {**dict.fromkeys(("born-again", "born-again-ensemble"), _GENERATIONS)}
    reasons |= dict.fromkeys(("hints", "attention"), _INSIDE)
    if options.noise_stage != "logits":
        what = "inputs" if options.noise_stage == "inputs" else "hidden units"
        reasons["noisy"] = f"the teacher's {what} are disturbed anew in each step"
    if options.cache_path is not None:
        reasons["ensemble"] = "--cache-path is the file of one teacher"
    return {name: reasons[name] for name in names if name in reasons}


class Teachers:
    """Finds what answers for the teachers of an arm, and tells where it found it.

    Args:
        options: with nothing left to choose.
        rows: how many the student studies.
        epochs: passes over them that are planned.
        live: arms that no file can answer, and why.
    """

    def __init__(self, options: Chosen, rows: int, epochs: float, live: Mapping[str, str]) -> None:
        self._options, self._rows, self._epochs, self.live = options, rows, epochs, live
        self._folder: RunFolder | None = None

    def opened(self, folder: RunFolder) -> None:
        """Tell it the run folder."""
        self._folder = folder

    def asked(self, setting: Setting, frozen: Frozen, teachers: tuple[str, ...]) -> LogitSource:
        """Return what answers.

        Raises:
            CheckpointError: if a file that was named is of another teacher or other rows.
            ConfigError: if there must be a file and cannot be.
        """
        options = self._options
        path = options.cache_path
        if not options.cache or options.cache_mode == "off":
            return frozen
        # nothing is written at a rehearsal, and most teachers are not yet trained then
        if setting.rehearsing and not (path and Path(path).is_file() and options.teacher_weights):
            return frozen
        found = cached_logits(
            frozen,
            setting.rows(setting.order[: self._rows]),
            epochs=self._epochs,
            mode=options.cache_mode,
            path=path,
            storage=Storage(
                options.cache_dtype, options.cache_top_k, tuple(sorted({1.0, 2.0, 4.0, options.temperature}))
            ),
            device=setting.device,
        )
        facts: dict[str, Any] = {"source": "live", "reason": found.reason}
        if found.file is not None:
            facts = {"source": "cache", "file": str(found.file.path), "reused": found.reused}
            facts |= _measures(found.file, found.fingerprint)
        self._tell(f"seed {setting.seed}, {' + '.join(teachers)}", facts)
        return found

    def _tell(self, name: str, facts: dict[str, Any]) -> None:
        """Keep what was found when the run first asked: later arms, and a run that goes on, find the file there."""
        if self._folder is not None and name not in (known := self.told()):
            self._folder.write(_KEPT, {**known, name: facts})

    def told(self) -> dict[str, Any]:
        """Return where the answers for each seed and its teachers came from."""
        if self._folder is None or not self._folder.has(_KEPT):
            return {}
        found: dict[str, Any] = self._folder.read(_KEPT)
        return found

    def lines(self) -> list[str]:
        """Say where the answers came from, in words."""
        told = self.told()
        files = [facts for facts in told.values() if facts["source"] == "cache"]
        before = sum(facts["reused"] for facts in files)
        views = f", to {self._options.cache_views} fixed views of each row" if self._options.cache_views else ""
        line = f"the teachers' answers: {len(files)} from files{views}; {before} of which were there before."
        lines = [line] if files else []
        reasons = dict.fromkeys(facts["reason"] for facts in told.values() if facts["source"] == "live")
        lines += [f"the teachers' answers: live, because {reason.rstrip('.')}." for reason in reasons]
        return [*lines, *(f"{arm} is answered live, because {reason}." for arm, reason in self.live.items())]


def _measures(file: LogitFile, fingerprint: str) -> dict[str, Any]:
    layout = file.layout
    return {
        "fingerprint": fingerprint,
        "bytes": file.path.stat().st_size,
        "rows": len(layout.index),
        "views": layout.views,
        "classes": layout.classes,
        "storage": str(layout.storage),
    }
