"""Exports as they are downloaded: single files, and folders in an archive."""

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ...errors import ConfigError, unknown
from ..export_explain_teach import to_explain_teach
from ..export_tables import kept_sessions
from ..exporting import FILES, export_study
from ..study import People, Study

EXPLAIN_TEACH, ALL = "explain_teach.zip", "all.zip"
DOWNLOADS: Mapping[str, str] = MappingProxyType(
    {
        "trials.csv": "Every answer, a row each.",
        "sessions.csv": "Every session, a row each.",
        "experiment.json": "All that is stored, with the configuration.",
        "codebook.md": "What the columns of the tables mean.",
        EXPLAIN_TEACH: "Completed sessions in the layout of explain_teach.",
        ALL: "All of these files.",
    }
)
"""What can be downloaded, and what it is."""
_TYPES = {".csv": "text/csv; charset=utf-8", ".json": "application/json", ".md": "text/markdown; charset=utf-8"}


def media_type(name: str) -> str:
    """Return the type of a download."""
    return _TYPES.get(Path(name).suffix, "application/zip")


def download(study: Study, name: str, *, people: People, withdrawn: bool) -> bytes:
    """Return the bytes of a download.

    Args:
        study: whose.
        name: one of :data:`DOWNLOADS`.
        people: real or simulated ones.
        withdrawn: with what is kept of those who withdrew; the layout of explain_teach never has them.

    Raises:
        ConfigError: for another name, and for the layout of explain_teach if nobody has completed.
    """
    if name not in DOWNLOADS:
        raise ConfigError(unknown("export", name, DOWNLOADS))
    if name in FILES:
        return FILES[name](study, kept_sessions(study, people, withdrawn))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "export"
        if name == ALL:
            export_study(study, folder, people=people, withdrawn=withdrawn)
        else:
            experiment = to_explain_teach(study, people)
            if not experiment.sessions:
                raise ConfigError("explain_teach: nobody has completed, so there is nothing to export.")
            experiment.write(folder)
        return _archive(folder)


def _archive(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    return out.getvalue()
