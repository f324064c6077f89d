"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Tests neither read nor fill the user's cache of decoded images; one folder serves the whole session."""
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def real_data():
    """The folder with the real data sets, or a skip."""
    folder = Path(os.environ.get("TUTELAGE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "cifar10-train.parquet").is_file():
        pytest.skip(f"no real data in {folder}: put cifar10-train.parquet there or set TUTELAGE_DATA")
    return folder
