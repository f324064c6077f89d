"""The parts of a report about teachers that learn from validation rows."""

import numpy as np
import pytest

from tutelage.checkpoint import save_checkpoint
from tutelage.display import conclusions
from tutelage.evaluation import summary
from tutelage.report import write
from tutelage.report.canvas import looks
from tutelage.report.plots import value_curves
from tutelage.runs import RunFolder

from .run_folder import ARMS, EPOCHS, accuracies, build, result, tensors

LINES = ["flip 0.4: looking inside the student: helps (<deep>).", "deep − surface +11.0: helps."]
WARNING = "<deep>, 1 of 3 seeds: the student gives 97 % of the noisy labels."


def diagnosed(path, **changes):
    """A run folder whose records have diagnostics."""
    arms = result(3)["arms"]
    for name, metrics in arms.items():
        metrics |= {"validation_selected_accuracy": summary([0.5, 0.6, 0.7]), "noisy_fit": summary([0.6, 0.61, 0.62])}
        metrics |= {"score_right": summary([0.9] * 3), "gap": summary([0.2] * 3 if name != "uniform" else [0.0] * 3)}
    parts = {"arms": arms, "conclusion": {"lines": LINES, "comparisons": []}, "warnings": [WARNING]}
    build(path, trained=False, **parts | changes)
    folder = RunFolder(path)
    for arm, values in accuracies(3).items():
        records = [
            [
                {
                    "arm": arm, "seed": seed, "epoch": e, "accuracy": value, "weight_right": 1.0, "weight_wrong": 0.5,
                    "auc": 0.5 if arm == "uniform" else 0.5 + 0.04 * e, "noisy_fit": 0.2 + 0.05 * e,
                    "score_right": 0.5 + 0.03 * e, "score_wrong": 0.5 - 0.03 * e,
                }
                for e in range(EPOCHS)
            ]
            for seed, value in enumerate(values)
        ]  # fmt: skip
        folder.write(f"arms/{arm}.json", {"records": records, "seconds": 1.0})
        save_checkpoint(path / f"arms/{arm}.safetensors", tensors(arm, 3), {"arm": arm})
    return path


def test_sections(tmp_path):
    page = write(diagnosed(tmp_path / "run")).read_text()
    for text in (
        "What follows",
        "helps (&lt;deep&gt;)",
        'class="warning"',
        "&lt;deep&gt;, 1 of 3 seeds",
        "Inside the teachers",
        "Validation-selected",
        "training data for teachers that learn",
        "75.0\N{NO-BREAK SPACE}%: a student that goes far above it",
        "AUC over training; after the last epoch: self-paced 0.86, R&amp;D 0.86.",
        "Noisy fit over training, %; at the end: ",
        "mean raw score at the end 0.77 and 0.23",
    ):
        assert text in page, text
    assert "<deep>" not in page
    assert page.index('class="warning"') < page.index("Results") < page.index("What follows")


def test_the_same_bytes(tmp_path):
    path = diagnosed(tmp_path / "run")
    assert write(path).read_bytes() == write(path).read_bytes()


def test_other_runs_have_none_of_it(tmp_path):
    page = write(build(tmp_path / "run")).read_text()
    for text in ("What follows", 'class="warning"', "Inside the teachers", "Validation-selected"):
        assert text not in page


def test_labels_as_they_came(tmp_path):
    page = write(diagnosed(tmp_path / "run", noise={"requested": 0.0, "realised": [0.0] * 3})).read_text()
    assert "Inside the teachers" not in page
    assert "Noisy fit" not in page
    assert "Validation-selected" in page


def test_several_kinds_of_noise(tmp_path):
    out = tmp_path / "run"
    single = result(3)
    kinds = ("pair-flip", "symmetric")
    levels = {
        kind: {"folder": f"noise-{kind}", "noise": single["noise"], "conclusion": {"lines": [f"{kind}: x.", "y."]}}
        for kind in kinds
    }
    levels["symmetric"]["warnings"] = ["slow."]
    arms = {f"{arm} @ {kind}": single["arms"][arm] for kind in kinds for arm in ARMS}
    build(out, trained=False, levels=levels, arms=arms, comparisons=None, noise=None, per_class=None)
    for kind in kinds:
        build(out / f"noise-{kind}")
    page = write(out).read_text()
    for text in ("Pair-flip", "Symmetric", "symmetric: slow.", "pair-flip: x.", "Each kind by itself", "by noise"):
        assert (text in page) == (text != "by noise"), text
    assert (out / "noise-symmetric" / "report.html").is_file()


def test_the_terminal_says_it_as_well():
    found = list(conclusions({"conclusion": {"lines": LINES}, "warnings": [WARNING]}))
    assert found[0] == f"[yellow]warning: {WARNING}[/yellow]"
    assert found[1] == f"[bold]{LINES[0]}[/bold]"
    assert found[2] == f"  {LINES[1]}"
    levels = {"a": {"conclusion": {"lines": ["one"]}}, "b": {"warnings": ["slow"], "conclusion": {"lines": []}}}
    assert list(conclusions({"levels": levels})) == ["[yellow]warning: b: slow[/yellow]", "[bold]one[/bold]"]
    assert list(conclusions({})) == []


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_curves_of_values(epochs):
    curves = {"a": np.full((3, epochs), 0.9), "b": np.random.default_rng(0).random((3, epochs))}
    assert value_curves(curves, looks(["a", "b"]), "AUC", line=0.5).startswith("data:image/svg+xml;base64,")
