"""The page of learners with hypotheses: errors, answers, and what was shown with its explanation."""

import html
import json
import re
import shutil
from functools import cache

import pytest
import torch

from tutelage.checkpoint import load_checkpoint, save_checkpoint
from tutelage.recipes.explain import Config, run
from tutelage.report import explained, explained_images, selected, write
from tutelage.report.reading import read
from tutelage.report.tables import number

OPTIONS = {
    **{"per_class": 30, "only": "3,4,5", "size": 8, "seeds": 3, "hypotheses": "rand", "number": 30, "learners": 20},
    **{"noise": "0,0.3", "explain": "cam", "net": "cnn", "epochs": 8, "teachers": "strict,explain,explain-dense"},
    **{"device": "cpu", "threads": 1},
}


@cache
def finished(base):
    out = base / "explained-page"
    run(Config(**OPTIONS), out)
    write(out)
    return out


@pytest.fixture
def folder(tmp_path_factory):
    return finished(tmp_path_factory.getbasetemp())


def words(path):
    return html.unescape(path.read_text()).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture
def page(folder):
    return words(folder / "report.html")


def part(folder, tmp_path, change, *sections):
    """Sections of the same run with a changed result."""
    shutil.copytree(folder, tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    change(result)
    (tmp_path / "run/result.json").write_text(json.dumps(result))
    run = read(tmp_path / "run")
    return html.unescape("".join(section(run) or "" for section in sections))


def test_every_section_is_there(page):
    headings = [
        *("What follows", "Results", "By the number of rows", "Wrong labels among what is shown"),
        *("What the filter keeps", "What was shown, and why", "Options"),
    ]
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert [name for name in found if name in headings] == headings


def test_the_setting_is_said(page):
    assert "From 72 labelled rows of digits, 3 classes, teachers choose 8 to show" in page
    assert "says nothing of people" in page
    assert "30, learned from each class, and random ones; alpha 0.5" in page
    assert re.search(r"cnn, 8 passes over the pool alone; noise 0: [\d.]+ ± [\d.]+ % of the pool right", page)
    assert "class activation maps of the label that is told" in page


def test_the_page_asks_nothing_of_the_network(folder):
    source = (folder / "report.html").read_text()
    assert "http://" not in re.sub(r"data:[^\"']*", "", source)
    assert "<script" not in source


def test_the_page_is_the_same_every_time(folder):
    before = (folder / "report.html").read_bytes()
    assert write(folder).read_bytes() == before


def rows_of(page):
    """Cells of all rows of the tables by the first one, in order."""
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        found.append([re.sub(r"<[^>]+>", " ", cell).split() for cell in cells])
    return found


def test_the_tables_are_those_of_the_result(page, folder):
    result = json.loads((folder / "result.json").read_text())
    found = [row for row in rows_of(page) if row[0] == ["strict"] and len(row) == 5]
    expected = []
    for level in result["selection"]["levels"].values():
        for metric in ("error", "accuracy"):
            expected.append([level["arms"]["strict"][metric][n]["mean"] for n in ("2", "4", "8")])
    assert [[cell[0] for cell in row[1:4]] for row in found] == [[number(100 * v, 1) for v in row] for row in expected]
    level = result["selection"]["levels"]["0"]
    c = next(c for c in level["error_differences"]["8"] if c["a"] == "strict")
    a, b = (level["arms"][name]["error"]["8"]["mean"] for name in ("strict", "random"))
    assert c["mean_difference"] == pytest.approx(b - a)
    assert found[0][3][3].replace("−", "-") == f"{100 * (a - b):+.1f}"
    assert c["verdict"] in " ".join(found[0][3])


def test_each_shown_row_has_its_explanation(page, folder):
    result = json.loads((folder / "result.json").read_text())
    assert len(re.findall(r'alt="row \d+, told', page)) == 4 * 8 * 2
    assert len(re.findall(r'alt="explanation of row \d+"', page)) == 4 * 8 * 2
    own = result["selection"]["levels"]["0"]["sets"]["explain"]
    for place in range(8):
        told = result["data"]["classes"][own["given"][place]]
        line = (
            f"row {place + 1}, told {told}, undecided {own['undecided'][place]:.2f} bits, error after "
            f"{100 * own['error'][place + 1]:.1f} %, difficulty {own['plainness'][place]:.2f}, score"
        )
        assert line in page


def test_wrong_labels_are_marked(page, folder):
    sets = json.loads((folder / "result.json").read_text())["selection"]["levels"]["0.3"]["sets"]
    wrong = sum(g != t for own in sets.values() for g, t in zip(own["given"], own["true"]))
    assert wrong > 0
    assert page.count(" · wrong label</strong>") == wrong
    assert page.count('class="card wrong"') == wrong


def test_explain_is_never_called_better_than_strict(folder, tmp_path):
    def change(result):
        from tutelage.recipes.explain.concluding import conclusion

        for level in result["selection"]["levels"].values():
            for c in level["from_strict"]["accuracy"]:
                c["verdict"] = "better"
        result["conclusion"]["lines"] = conclusion(result)

    found = part(folder, tmp_path, change, selected.verdict)
    assert "says nothing of other data" in found
    assert "neither for nor against" in found
    assert "better than strict" not in found


def test_without_explanations_and_filter(folder, tmp_path):
    def change(result):
        result["selection"]["filter"] = "none"
        result["config"] |= {"explain": "none", "net": None}
        for level in result["selection"]["levels"].values():
            for own in level["sets"].values():
                own["plainness"] = None

    shutil.copytree(folder, tmp_path / "plain")
    for rate in ("0", "0.3"):
        path = tmp_path / f"plain/arms/noise-{rate}-0.safetensors"
        tensors, facts = load_checkpoint(path)
        save_checkpoint(path, {name: tensors[name] for name in ("shown", "images")}, facts)
    found = part(tmp_path / "plain", tmp_path, change, explained.head, explained.kept, explained_images.chosen)
    assert "What the filter keeps" not in found
    assert "passes over the pool" not in found
    assert "explanation of row" not in found
    assert ", difficulty " not in found
    assert len(re.findall(r'alt="row \d+, told', found)) == 4 * 8 * 2


def test_rows_that_are_no_images_have_no_pictures(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "plain")
    for rate in ("0", "0.3"):
        path = tmp_path / f"plain/arms/noise-{rate}-0.safetensors"
        tensors, facts = load_checkpoint(path)
        save_checkpoint(path, {"shown": tensors["shown"], "images": torch.zeros(len(tensors["shown"]), 4)}, facts)
    found = part(tmp_path / "plain", tmp_path, lambda result: None, explained_images.chosen)
    assert 'alt="row' not in found
    assert "undecided" in found


def test_the_table_of_the_terminal(folder):
    from rich.console import Console

    from tutelage.display import result_table

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result_table(json.loads((folder / "result.json").read_text())))
    shown = console.export_text()
    assert "8 of 72 rows shown" in shown
    assert "explain-dense" in shown
