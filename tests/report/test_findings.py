"""What a run of mentornet adds to the report: lists of label errors, mentors, published numbers, the setting."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.data.columns import write_columns
from tutelage.errors import CheckpointError
from tutelage.evaluation import summary
from tutelage.mentors import Mentor, MentorNetwork, save_mentor, shipped
from tutelage.report import write
from tutelage.report.drawing.numbers import Scale, evaluate

from .run_folder import build, result
from .test_report import Reader

NAN = float("nan")


def write_list(path: Path, arm: str, weights: list[float], **columns: Any) -> None:
    """The list of an arm: indices 0, 2, 4, ... as in the hand-made run."""
    rows = len(weights)
    numbers = np.array(weights, dtype=np.float32)
    table = {
        "index": np.arange(0, 2 * rows, 2),
        "given": np.arange(rows) % 3,
        "suggested": (np.arange(rows) + 1) % 3,
        "weight_mean": numbers,
        "weight_last": numbers,
        "loss_mean": numbers,
        "early_loss_mean": numbers,
        "rank": np.arange(1, rows + 1),
        "seen": np.full(rows, 7),
    }
    (path / "suspects").mkdir(exist_ok=True)
    write_columns(table | columns, path / "suspects" / f"{arm}.parquet")


def mentor_entry(path: Path, seed: int, mentor: Mentor, **changes: Any) -> dict[str, Any]:
    (path / "mentors").mkdir(exist_ok=True)
    file = f"mentors/mentornet-dd-seed{seed}.safetensors"
    save_mentor(mentor, path / file)
    origin = {"source": f"trusted rows of pets, seed {seed}", "mean_absolute_error": 0.1046, "agreement": 0.882}
    return {"seed": seed, "file": file, "origin": origin, "made_for": []} | changes


def page(path: Path, **parts: Any) -> Reader:
    """Build the hand-made run with further parts of the result and return its report."""
    return Reader(write(build(path, trained=False, **parts)).read_text())


def section(reader: Reader, heading: str) -> str:
    words = reader.text
    following = reader.headings[reader.headings.index(heading) + 1]
    return re.sub(r"\s+", " ", words[words.index(heading) : words.rindex(following)])


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A run with three lists."""
    path = build(tmp_path / "run", trained=False, order=["R&D", "uniform", "self-paced"], suspects={})
    write_list(path, "self-paced", [0.1, 0.4999, 0.5, NAN])
    write_list(path, "R&D", [0.2, 0.9])
    write_list(path, "uniform", [1.0, 1.0, 1.0, 1.0])
    return path


def test_the_lists_in_their_order_with_how_many_rows_are_suspected(listed: Path) -> None:
    told = section(Reader(write(listed).read_text()), "Suspected label errors")
    assert "suspects/uniform.parquet, suspects/R&D.parquet, suspects/self-paced.parquet" in told
    assert "for a list alone no teacher is needed" in told
    assert "of seed 0" in told
    rows = told[told.index("weight below 0.5") :]
    assert rows.startswith("weight below 0.5 plain training, early loss 4 – R&D 2 1 self-paced 4 2")


def test_the_quality_of_each_list(tmp_path: Path) -> None:
    quality = {
        "self-paced": {"auc": summary([0.9, 0.92, 0.94]), "precision": summary([0.8, 0.8, 0.8])},
        "uniform": {"auc": summary([0.95, 0.95, 0.95])},
    }
    path = build(tmp_path / "run", trained=False, suspects=quality)
    write_list(path, "self-paced", [0.1])
    write_list(path, "uniform", [1.0])
    told = section(Reader(write(path).read_text()), "Suspected label errors")
    assert "AUC of the list Precision of the suspected plain" in told
    assert told.endswith("early loss 1 – 0.950 ± 0.000 – self-paced 1 1 0.920 ± 0.050 0.800 ± 0.000 ")


def test_a_run_without_lists_has_no_such_section(tmp_path: Path) -> None:
    assert "Suspected label errors" not in page(tmp_path / "run").headings


def test_a_damaged_list(listed: Path) -> None:
    (listed / "suspects" / "R&D.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CheckpointError, match=r"R&D\.parquet is damaged"):
        write(listed)


def test_the_mentors_and_what_they_learned(tmp_path: Path) -> None:
    clear, flat = shipped("self_paced"), Mentor(MentorNetwork(seed=0))
    entries = [mentor_entry(tmp_path, 3, clear), mentor_entry(tmp_path, 4, flat, made_for=["10 classes, used with 3"])]
    path = build(tmp_path / "run", trained=False, mentors=entries)
    (tmp_path / "mentors").rename(path / "mentors")
    reader = Reader(write(path).read_text())
    told = section(reader, "The mentors")
    drawn = evaluate("mentor", flat, Scale(5.0, (18,), 0.5))
    assert not drawn.clear[0]
    assert "3 0.105 0.882 1.00 0.00 +0.05 trusted rows of pets, seed 3" in told
    assert f"4 0.105 0.882 {drawn.near[0]:.2f} {drawn.far[0]:.2f}" in told
    assert told.count("no clear curriculum") == 2  # once in the note, once for seed 4
    assert "Made for something else: seed 4 for 10 classes, used with 3." in told
    assert any("mentor of seed 3" in (alt or "") for alt in reader.alts)


def test_updates_are_told_one_by_one_and_a_lost_file_leaves_dashes(tmp_path: Path) -> None:
    updates = [
        {"percent": 21, "mean_absolute_error": 0.08, "agreement": 0.9},
        {"percent": 75, "mean_absolute_error": 0.07, "agreement": 0.95},
    ]
    entry = mentor_entry(tmp_path, 0, shipped("focal"), origin={"source": "a run", "updates": updates})
    reader = page(tmp_path / "run", mentors=[entry])
    told = section(reader, "The mentors")
    assert "0 at 21 %: 0.080, at 75 %: 0.070 at 21 %: 0.900, at 75 %: 0.950 – – – a run" in told
    assert not any("mentor of seed" in (alt or "") for alt in reader.alts)


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    known = {"self-paced": {"icml": 0.89, "readme": 0.822}, "uniform": {"icml": None, "readme": 0.796}}
    told = section(page(tmp_path / "run", published=known), "Published numbers")
    assert "Ours %, noise 0.3 Paper %, noise 0.3 Second run %, noise 0.3" in told
    values = result(3)["arms"]["self-paced"]["accuracy"]
    ours = f"{100 * values['mean']:.1f} ± {100 * values['ci95']:.1f}"
    assert f"self-paced {ours} 89.0 82.2 uniform" in told
    assert told.rstrip().endswith("– 79.6")
    assert "R&D" not in told
    assert "with this library's settings" in told


@pytest.mark.parametrize(
    ("compat", "said"),
    [
        ("written", "written: as its commands read; nobody knows which reading made the published tables"),
        ("effective", "effective: percentile 0.7 everywhere, as if its misspelt option was dropped; nobody knows"),
    ],
)
def test_compat_is_said_by_its_name(tmp_path: Path, compat: str, said: str) -> None:
    config = {"student": "resnet101", "rule": None, "compat": compat}
    known = {"uniform": {"icml": None, "readme": 0.796}}
    reader = page(tmp_path / "run", config=config, compat=compat, published=known)
    assert said in reader.text
    assert f"Ours follow the published code as it is {compat}" in reader.text
    assert "paper's setting" not in reader.text
    assert "resnet101, None" not in reader.text


def test_no_compat_is_not_mentioned(tmp_path: Path) -> None:
    assert "Published code" not in page(tmp_path / "run", config={"compat": "none"}, compat="none").text


def test_where_nobody_knows_the_truth_no_label_is_called_right(tmp_path: Path) -> None:
    noise = {"convention": "as given", "requested": 0.0, "expected": 0.02, "realised": [0.02, 0.02, 0.02]}
    arms = result(3)["arms"]
    arms["self-paced"]["auc"] = summary([0.5, 0.5, 0.5])
    path = build(tmp_path / "run", noise=noise, arms=arms)
    write_list(path, "self-paced", [0.1, 0.2])
    reader = Reader(write(path).read_text())
    assert "Do right labels count more?" not in reader.headings
    assert "AUC of weights" not in reader.text
    assert "truly" not in reader.text
    assert "given dog, weight 0.04" in reader.alts
    assert "as given; this run put no wrong labels in" in reader.text
    assert "the mean over 3 seeds" in section(reader, "Suspected label errors")
