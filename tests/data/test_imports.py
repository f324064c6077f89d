"""Importing the data layer loads no heavy package and touches no global random state."""

import subprocess
import sys

HEAVY = ("sklearn", "pyarrow", "PIL", "grain", "datasets", "kornia", "scipy", "pandas")


def test_importing_data_is_cheap():
    code = f"import sys, tutelage.data; print(*[m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
