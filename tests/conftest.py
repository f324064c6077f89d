"""Fixtures that all tests share."""

import os
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile(
    "same everywhere", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same everywhere")  # neither chance nor a busy processor decides


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """What a test draws from PyTorch's own generator does not depend on the tests that ran before it."""
    torch.manual_seed(zlib.crc32(item.nodeid.encode()))


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
