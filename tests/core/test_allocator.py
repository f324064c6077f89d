import sys

import pytest

from tutelage.allocator import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_glibc_takes_the_setting():
    assert keep_freed_memory() is True


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
