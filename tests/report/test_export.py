"""Lists of suspected label errors as files."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from tutelage.checkpoint import save_checkpoint
from tutelage.errors import CheckpointError, ConfigError, DataError
from tutelage.report import export_suspects

from .run_folder import build
from .test_findings import NAN, write_list
from .test_report import Reader

WEIGHTS = [0.1234567, 0.4999, 0.5, NAN]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = build(tmp_path / "run", trained=False, order=["uniform", "oracle", "self-paced", "R&D"])
    for arm in ("uniform", "oracle", "self-paced"):
        write_list(path, arm, WEIGHTS)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_have_all_columns_and_empty_cells_for_what_is_not_known(run: Path, suffix: str) -> None:
    target = run.parent / f"list{suffix}"
    assert export_suspects(run, target) == target
    read = pyarrow.csv.read_csv if suffix == ".csv" else pyarrow.parquet.read_table
    found = read(target).to_pydict()
    assert list(found) == [
        "index", "given", "suggested", "weight_mean", "weight_last", "loss_mean", "early_loss_mean", "rank", "seen"
    ]  # fmt: skip
    assert found["index"] == [0, 2, 4, 6]
    assert found["weight_mean"] == [pytest.approx(w, rel=1e-6) for w in WEIGHTS[:3]] + [None]


def test_the_page(run: Path) -> None:
    pixels = torch.arange(3 * 64, dtype=torch.uint8).reshape(3, 1, 8, 8)
    images = {"index": torch.tensor([0, 2, 4]), "images": pixels}
    save_checkpoint(run / "suspects" / "self-paced.safetensors", images, {})
    page = export_suspects(run, run.parent / "list.html", "self-paced").read_text()
    reader = Reader(page)
    words = " ".join(reader.text.split())
    assert "by the mean weight after burn-in, of seed 0; all 4." in words
    assert "Rows with a weight below 0.5 are suspected: 2." in words
    assert "1 0 cat → <script>alert(1)</script> suspected 0.123 0.123 0.123 0.123 7" in words
    assert "3 4 dog → cat 0.500" in words
    assert "4 6 cat → <script>alert(1)</script> – – – – 7" in words
    assert page.count('class="suspected"') == 2
    assert reader.alts == [f"image with the label {name}" for name in ("cat", "<script>alert(1)</script>", "dog")]
    for _, attributes in reader.tags:
        assert (attributes.get("src") or "data:").startswith("data:")
    assert "<script" not in page
    assert "truly" not in words


def test_the_page_tells_the_truth_where_it_is_known_and_ends_after_200_rows(run: Path) -> None:
    write_list(run, "uniform", [1.0] * 300, true=np.zeros(300, dtype=np.int64))
    reader = Reader(export_suspects(run, run.parent / "list.html", "uniform").read_text())
    words = " ".join(reader.text.split())
    assert "by the loss in the first tenth of plain training, of seed 0; the first 200 of 300." in words
    assert "200 398 <script>alert(1)</script> → dog truly cat 1.000" in words
    assert "201 400" not in words
    assert "suspected:" not in words
    assert not reader.alts


def test_whose_list_it_is_if_nobody_says(run: Path) -> None:
    def chosen() -> str:
        text = export_suspects(run, run.parent / "list.html").read_text()
        return text[text.index("tutelage, ") + 10 : text.index("</p>")]

    assert chosen() == "self-paced"
    write_list(run, "mentornet-dd", WEIGHTS)
    assert chosen() == "mentornet-dd"
    for arm in ("self-paced", "mentornet-dd"):
        (run / "suspects" / f"{arm}.parquet").unlink()
    assert chosen() == "uniform"
    (run / "suspects" / "uniform.parquet").unlink()
    with pytest.raises(ConfigError, match="has no list of suspected label errors; run it with an arm that weighs"):
        chosen()


def test_what_cannot_be_exported(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"list\.txt: suspected label errors are written as \.csv, \.parquet, \.html"):
        export_suspects(run, run.parent / "list.txt")
    with pytest.raises(ConfigError, match=r'unknown list of suspected label errors "self-pace"\. Did you mean'):
        export_suspects(run, run.parent / "list.csv", "self-pace")
    for suffix in (".csv", ".html"):
        with pytest.raises(DataError, match="cannot be written"):
            export_suspects(run, run.parent / "nowhere" / f"list{suffix}")
    with pytest.raises(CheckpointError, match="is not a run folder"):
        export_suspects(run.parent, run.parent / "list.csv")
    with pytest.raises(CheckpointError, match="is not finished; go on with: tutelage resume"):
        export_suspects(build(run.parent / "other", trained=False, finished=False), run.parent / "list.csv")


def test_several_rates_need_a_choice(tmp_path: Path) -> None:
    levels = {"0.2": {"folder": "noise-0.2", "noise": {}}, "0.4": {"folder": "noise-0.4", "noise": {}}}
    path = build(tmp_path / "run", trained=False, levels=levels)
    with pytest.raises(ConfigError) as caught:
        export_suspects(path, tmp_path / "list.csv")
    folders = f"{path}/noise-0.2, {path}/noise-0.4"
    assert str(caught.value) == f"{path} has several rates of label noise; give the folder of one: {folders}."
