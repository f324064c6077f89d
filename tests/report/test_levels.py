"""The page over several rates of label noise, and such a run from end to end."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import CheckpointError
from tutelage.evaluation import paired, summary
from tutelage.recipes import mentornet
from tutelage.report import export_suspects, write
from tutelage.runs import RunFolder

from .run_folder import build, result
from .test_report import Reader

VALUES = {
    "0.4": {"uniform": [0.70, 0.72], "self-paced": [0.90, 0.94], "oracle": [0.97, 0.97]},
    "0.2": {"uniform": [0.90, 0.92], "self-paced": [0.80, 0.84], "oracle": [0.98, 0.98]},
}


def levels_result() -> dict[str, Any]:
    noise = {"convention": "uniform", "expected": 0.1, "realised": [0.17, 0.19]}
    parts = {name: part for name, part in result(2).items() if name not in ("noise", "per_class", "seconds")}
    return parts | {
        "order": ["uniform", "self-paced", "oracle"],
        "levels": {rate: {"folder": f"noise-{rate}", "noise": noise | {"requested": float(rate)}} for rate in VALUES},
        "arms": {f"{a} @ {r}": {"accuracy": summary(v)} for r, arms in VALUES.items() for a, v in arms.items()},
        "comparisons": [
            paired(f"{a} @ {r}", f"uniform @ {r}", "accuracy", arms[a], arms["uniform"])
            for r, arms in VALUES.items()
            for a in ("self-paced", "oracle")
        ],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = RunFolder.create(tmp_path / "run", "mentornet", {}, {}, {})
    run.write("result.json", levels_result())
    for rate in VALUES:
        build(run.path / f"noise-{rate}", seeds=2, trained=False)
    return run.path


def test_arms_against_rates(folder: Path) -> None:
    page = write(folder).read_text()
    reader = Reader(page)
    words = re.sub(r"\s+", " ", reader.text)
    assert reader.headings == ["Results", "Against plain training", "Each rate by itself", "Options"]
    assert "Noise 0.2 18.0 % wrong labels Noise 0.4 18.0 % wrong labels" in words  # rates ascend
    assert "oracle 98.0 ± 0.0 97.0 ± 0.0 self-paced 82.0 ± 25.4 92.0 ± 25.4 uniform 91.0 ± 12.7 71.0 ± 12.7" in words
    assert re.findall(r'class="best">(.*?)<', page) == ["92.0 ± 25.4", "91.0 ± 12.7"]  # a row an arm, oracle aside
    assert "3 ways of teaching are compared over 2 seeds." in words
    assert "requested 20.0 %, wrong labels expected 10.0 %" in words
    assert "oracle +7.0 ± 12.7 tie · 2 won" in words
    assert any("Best: noise 0.2: uniform; noise 0.4: self-paced." in (alt or "") for alt in reader.alts)


def test_it_leads_to_the_report_of_each_rate(folder: Path) -> None:
    reader = Reader(write(folder).read_text())
    links = [attributes["href"] for tag, attributes in reader.tags if tag == "a"]
    assert links == ["noise-0.2/report.html", "noise-0.4/report.html"]
    for link in links:
        assert "Against the baselines" in Reader((folder / str(link)).read_text()).headings


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    first = write(folder).read_bytes()
    assert write(folder).read_bytes() == first


def test_published_numbers_of_each_rate_that_has_them(folder: Path) -> None:
    changed = levels_result()
    changed["levels"]["0.4"]["published"] = {"self-paced": {"icml": 0.85, "readme": 0.802}}
    (folder / "result.json").write_text(json.dumps(changed))
    words = re.sub(r"\s+", " ", Reader(write(folder).read_text()).text)
    assert "Ours %, noise 0.4 Paper %, noise 0.4 Second run %, noise 0.4 self-paced 92.0 ± 25.4 85.0 80.2" in words
    assert "Paper %, noise 0.2" not in words


def test_one_seed_and_no_plain_training(folder: Path) -> None:
    changed = levels_result() | {"seeds": [0], "comparisons": []}
    changed["arms"] = {name: {"accuracy": summary([0.5])} for name in changed["arms"] if "uniform" not in name}
    (folder / "result.json").write_text(json.dumps(changed))
    reader = Reader(write(folder).read_text())
    assert "Against plain training" not in reader.headings
    assert "of one seed only" in reader.text
    assert "±" not in reader.text


def test_a_rate_whose_folder_is_gone(folder: Path) -> None:
    (folder / "noise-0.2").rename(folder / "elsewhere")
    with pytest.raises(CheckpointError, match=r"noise-0\.2 is not a run folder"):
        write(folder)


@pytest.mark.slow
def test_from_end_to_end(tmp_path: Path) -> None:
    arms = "uniform,self-paced,mentornet-dd"
    config = mentornet.Config(noise="0.2,0.4", seeds=1, epochs=3, student="mlp-16", teachers=arms)
    result = mentornet.run(config, tmp_path / "run")
    reader = Reader(write(tmp_path / "run").read_text())
    assert "Against plain training" in reader.headings
    level = tmp_path / "run" / "noise-0.4"
    inner = Reader((level / "report.html").read_text())
    assert {"The mentors", "Suspected label errors"} <= set(inner.headings)
    fit, quality = (result["levels"]["0.4"][name] for name in ("mentors", "suspects"))
    assert f"{fit[0]['origin']['mean_absolute_error']:.3f}" in inner.text
    assert f"{quality['mentornet-dd']['auc']['mean']:.3f}" in inner.text
    assert f"{quality['uniform']['precision_at_count']['mean']:.3f}" in inner.text
    page = Reader(export_suspects(level, tmp_path / "list.html").read_text())
    assert "tutelage, mentornet-dd" in page.text
    assert len(page.alts) == 200
