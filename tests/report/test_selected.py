"""The page of a selection: what is compared, what the filters keep, what was shown and why; no more than intervals."""

import html
import json
import re
from functools import cache

import pytest
import torch

from tutelage.checkpoint import load_checkpoint, save_checkpoint
from tutelage.recipes.maxgrad import Config, run
from tutelage.report import write
from tutelage.report.reading import read
from tutelage.report.tables import number

OPTIONS = {
    **{"per_class": 40, "size": 8, "seeds": 3, "teachers": "maxgrad,prototypes,prototypes-then-maxgrad", "steps": 60},
    **{"noise": "0,0.3", "device": "cpu", "threads": 1},
}


@cache
def finished(base):
    out = base / "selected"
    run(Config(**OPTIONS), out)
    write(out)
    return out


@pytest.fixture
def folder(tmp_path_factory):
    return finished(tmp_path_factory.getbasetemp())


@pytest.fixture
def page(folder):
    return html.unescape((folder / "report.html").read_text()).replace("\N{NO-BREAK SPACE}", " ")


def changed(folder, tmp_path, change):
    """The page of the same run with a changed result."""
    import shutil

    shutil.copytree(folder, tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    change(result)
    (tmp_path / "run/result.json").write_text(json.dumps(result))
    return html.unescape(write(tmp_path / "run").read_text()).replace("\N{NO-BREAK SPACE}", " ")


def test_every_section_is_there(page):
    headings = [
        *("What follows", "Results", "By the number of rows", "Wrong labels among what is shown"),
        *("What the filters keep", "What was shown, and why", "Options"),
    ]
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert found == headings


def test_the_setting_is_said(page):
    assert "From 160 labelled rows of digits, 5 classes, teachers choose 8 to show" in page
    assert "says nothing of people" in page
    assert "linear, on rows as they are; 60 steps a row at rate 0.2" in page


def test_the_page_asks_nothing_of_the_network(folder):
    source = (folder / "report.html").read_text()
    assert "http://" not in re.sub(r"data:[^\"']*", "", source)
    assert "<script" not in source


def test_the_numbers_of_the_table(folder, page):
    levels = read(folder).part("selection")["levels"]
    for level in levels.values():
        for own in level["arms"].values():
            value = own["accuracy"]["8"]
            assert f"{number(100 * value['mean'], 1)} ± {number(100 * value['ci95'], 1)}" in page
        for c in level["differences"]["8"]:
            told = f"{100 * c['mean_difference']:+.1f} ± {100 * c['ci95']:.1f}".replace("-", "−").replace("+0.0", "0.0")
            assert f"{told} · <b>{c['verdict']}</b>" in page


def test_arms_come_in_the_order_of_the_run(folder, page):
    order = read(folder).result["order"]
    table = page[page.index("<h2>Results") : page.index("<h2>By the number")]
    names = re.findall(r'swatch"[^>]*></span>([^<]+)</th>', table)
    assert names == 2 * order


def test_every_row_that_was_shown_has_a_card(folder, page):
    run_ = read(folder)
    shown = sum(
        len(own["index"]) for level in run_.part("selection")["levels"].values() for own in level["sets"].values()
    )
    assert page.count("<figcaption>") == shown
    assert page.count('class="pixels"') == shown


def test_a_wrong_label_is_marked(folder, page):
    sets = read(folder).part("selection")["levels"]
    wrong = sum(
        g != t for level in sets.values() for own in level["sets"].values() for g, t in zip(own["given"], own["true"])
    )
    assert wrong > 3
    assert page.count('class="card wrong"') == page.count("· wrong label") == page.count("<div>truly ") == wrong


def test_why_a_row_was_shown(folder, page):
    run_ = read(folder)
    own = run_.part("selection")["levels"]["0.3"]["sets"]["maxgrad (no filter)"]
    names = run_.part("data")["classes"]
    for place in range(8):
        answer, margin, score = names[own["answer"][place]], own["margin"][place], own["score"][place]
        assert (
            f"<div>had answered {answer}, margin {number(margin, 1)}</div><div>log psi {number(score, 2)}</div>" in page
        )


def test_images_are_those_of_the_rows(folder):
    tensors, _ = load_checkpoint(folder / "arms/noise-0-0.safetensors")
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images, dtype=torch.float32)
    assert torch.equal(tensors["images"][:, 0], images[tensors["shown"]])


def test_pairs_show_what_stands_beside_a_row(folder, tmp_path):
    """A second image of a card, of the counter class, with words; nothing where there is none."""
    options = OPTIONS | {"seeds": 1, "teachers": "prototypes-then-maxgrad", "noise": "0", "filters": "none"}
    run(Config(**options, pairs=True), tmp_path / "run")
    found = write(tmp_path / "run").read_text()
    run_ = read(tmp_path / "run")
    own = run_.part("selection")["levels"]["0"]["sets"]["prototypes-then-maxgrad (no filter)"]
    names = run_.part("data")["classes"]
    beside = [(k, c) for k, (c, i) in enumerate(zip(own["counter_class"], own["counterfactual"])) if i >= 0]
    assert 0 < len(beside) < len(own["index"])
    assert found.count('class="pixels"') == found.count("<figcaption>") + len(beside)
    for place, label in beside:
        assert f'alt="beside it {names[label]}, of row {place + 1}"' in found
    assert found.count("<div>beside it ") == len(beside)
    assert "MaxGrad ranked pairs" in found
    assert "MaxGrad ranked pairs" not in (folder / "report.html").read_text()


def test_rows_that_are_no_images_have_cards_without(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "run")
    for path in (tmp_path / "run/arms").glob("noise-*-0.safetensors"):
        tensors, facts = load_checkpoint(path)
        save_checkpoint(path, {**tensors, "images": tensors["images"].flatten(1)}, facts)
    found = write(tmp_path / "run").read_text()
    assert 'class="pixels"' not in found
    assert "<figcaption>" in found


def test_the_same_folder_gives_the_same_bytes(folder):
    before = (folder / "report.html").read_bytes()
    write(folder)
    assert (folder / "report.html").read_bytes() == before


def test_a_tie_is_a_tie(folder, tmp_path):
    def tie(result):
        for level in result["selection"]["levels"].values():
            for found in level["differences"].values():
                for c in found:
                    c |= {"verdict": "not shown", "mean_difference": 0.09}

    found = changed(folder, tmp_path, tie)
    table = found[found.index("<h2>Results") : found.index("<h2>By the number")]
    assert "verdict-better" not in table
    assert table.count("<b>not shown</b>") == 2 * 3 * 6


def test_one_seed_has_no_intervals(tmp_path):
    run(Config(**OPTIONS | {"seeds": 1, "teachers": "maxgrad", "noise": "0"}), tmp_path / "run")
    found = write(tmp_path / "run").read_text()
    assert "One seed only" in found
    assert "Wrong labels among" not in found
    assert "numbers only" in found


def test_a_published_schedule_is_said_not_to_fit(folder, tmp_path):
    def paper(result):
        result["config"] |= {"schedule": "paper", "compat": True, "steps": None, "lr": None}

    found = changed(folder, tmp_path, paper)
    assert "as published: it has not fitted what it was shown" in found
    assert "--compat: its schedule, no filter" in found


def test_names_are_escaped(folder, tmp_path):
    def named(result):
        result["data"]["classes"][0] = "<b>3"

    import shutil

    shutil.copytree(folder, tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    named(result)
    (tmp_path / "run/result.json").write_text(json.dumps(result))
    source = write(tmp_path / "run").read_text()
    assert "&lt;b&gt;3" in source
    assert "<b>3" not in source.replace("<b>3 rows", "")


@pytest.mark.parametrize("claim", ["humans learn", "people learn", "beats herding", "CVPR 2021 reports"])
def test_nothing_is_claimed_that_was_not_measured(page, claim):
    assert claim not in page
