"""The table of a result in the terminal: whole where there is room, and what goes first where there is none."""

import io
from typing import Any

import pytest
from rich.console import Console

from tutelage.display import console, result_table
from tutelage.evaluation import paired, summary

from .test_levels import levels_result

ORDER = ["uniform", "self-paced", "trusted-only", "early-stopping"]


def one_level(requested: float = 0.4) -> dict[str, Any]:
    values = {name: [0.9 + 0.01 * i, 0.91] for i, name in enumerate(ORDER)}
    more = {name: summary([0.5, 0.5]) for name in ("weight_right", "weight_wrong", "auc")}
    return {
        "data": {"name": "[pets]", "train_rows": 1258, "test_rows": 539},
        "noise": {"requested": requested, "realised": [0.35, 0.37]},
        "seeds": [0, 1],
        "order": ORDER,
        "arms": {name: {"accuracy": summary(v), **more} for name, v in values.items()},
        "comparisons": [
            paired(a, b, "accuracy", values[a], values[b])
            for b in ("uniform", "trusted-only", "early-stopping")
            for a in ORDER
            if a != b
        ],
    }


def shown(result: dict[str, Any], width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(result_table(result))
    return file.getvalue()


def test_all_columns_where_there_is_room() -> None:
    text = shown(one_level(), 100)
    assert "[pets]: 1,258 training rows, 36.0 % wrong labels, 539 test rows, 2 seeds" in text
    for word in ("accuracy", "− uniform", "only", "stopping", "weights", "AUC", "91.5 ±6.4", ".50/.50"):
        assert word in text
    assert "too narrow" not in text
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 50, 60, 70, 80])
def test_the_last_columns_go_first_and_the_accuracy_stays(width: int) -> None:
    text = shown(one_level(), width)
    assert all(len(line) <= width for line in text.splitlines())
    for mean in ("90.5 ±6.4", "91.0 ±0.0", "91.5 ±6.4", "92.0 ±12.7"):
        assert mean in text
    assert "…" not in text
    words = " ".join(text.split())
    assert "too narrow for:" in words or "AUC" in text
    if width == 40:
        assert "too narrow for: − uniform, − trusted only, − early stopping, weights, AUC" in words


def test_nothing_about_right_and_wrong_labels_where_they_are_not_known() -> None:
    text = shown(one_level(0.0), 120)
    assert "labels as they came" in text
    assert "AUC" not in text
    assert "weights" not in text


def test_several_rates_are_columns() -> None:
    text = shown(levels_result(), 100)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "teacher noise 0.4 noise 0.2" in lines
    assert "uniform 71.0 ±12.7 91.0 ±12.7" in lines
    assert "oracle 97.0 ±0.0 98.0 ±0.0" in lines


def test_the_best_arm_of_a_rate_is_bold_but_for_the_oracle() -> None:
    file = io.StringIO()
    Console(file=file, width=100, force_terminal=True, color_system="standard").print(result_table(levels_result()))
    marked = [line for line in file.getvalue().splitlines() if "\x1b[1m" in line.replace("\x1b[1m ", "", 1)]
    assert any("92.0 ±25.4\x1b[0m" in line for line in marked)
    assert any("91.0 ±12.7\x1b[0m" in line for line in marked)
    assert not any("98.0 ±0.0\x1b[0m" in line for line in marked)


def test_output_that_is_no_terminal_is_100_columns_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert console().width == 100
    monkeypatch.setenv("COLUMNS", "140")
    assert console().width == 140
