"""Chains of teacher assistants on digits: complete provenance, and no worse than direct distillation.

The setting is the recipe's own; the threshold was set before the first run, from another implementation. Seeds are
fresh. By default with fewer seeds, for continuous integration; with TUTELAGE_FULL=1 with all of them.
Not claimed: that assistants help. In these sizes they do not, and labels alone are as good as a teacher.
"""

import os

import numpy as np
import pytest

from tutelage.recipes import assistant

pytestmark = pytest.mark.slow

FULL = os.environ.get("TUTELAGE_FULL") == "1"


@pytest.mark.parametrize("chain", ["256-16-6", "256-64-16-6"] if FULL else ["256-64-16-6"])
def test_a_chain_is_complete_and_close_to_direct_distillation(tmp_path, chain):
    """A9. Measured on seeds 0 to 9: labels alone 92.06, direct 91.83, chains 91.79 (-.04) and 91.66 (-.18). Elsewhere
    92.27, 91.30, -.10 and -.06."""
    seeds = 10 if FULL else 3
    options = assistant.Config(
        chain=chain, plan="none", validation=0.0, seeds=seeds, first_seed=300, device="cpu", threads=1
    )
    result = assistant.run(options, tmp_path / "run")
    assert result["data"]["train_rows"] == 1000
    assert result["data"]["test_rows"] == 797
    direct, behind = result["assistant"]["paths"]
    for path in (direct, behind):
        above = result["assistant"]["teacher"]["fingerprints"]
        for hop in path["hops"]:
            assert hop["teacher_fingerprints"] == above
            above = hop["fingerprints"]
        assert above == [prints["network"] for prints in result["stages"][path["arm"]]["fingerprints"]]
    accuracies = {name: 100 * np.mean(arm["accuracy"]["values"]) for name, arm in result["arms"].items()}
    assert abs(accuracies[behind["arm"]] - accuracies["direct"]) <= 2.0
    assert 88 < accuracies["direct"] < 95
    assert 88 < accuracies["scratch"] < 96
    assert 100 * result["assistant"]["teacher"]["accuracy"]["mean"] > 96
