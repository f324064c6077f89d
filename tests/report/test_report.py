"""The page: what is in it, what is not, and that nothing in it asks for a network."""

import html.parser
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.errors import CheckpointError
from tutelage.report import write

from .run_folder import build, result

MakeRun = Callable[..., Path]

SECTIONS = [
    "Results",
    "Against the baselines",
    "Learning curves",
    "The curriculum made plain",
    "Do right labels count more?",
    "What each teacher trusts least",
    "Accuracy by class",
    "Options",
]


class Reader(html.parser.HTMLParser):
    """Collects what the tests look at, and complains about tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words).replace("\N{NO-BREAK SPACE}", " ")

    @property
    def alts(self) -> list[str | None]:
        return [attributes.get("alt") for tag, attributes in self.tags if tag == "img"]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return lambda **options: build(tmp_path / "run", **options)


def read(path: Path) -> Reader:
    return Reader(write(path).read_text())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(build(tmp_path_factory.mktemp("report") / "run")).read_text()


@pytest.fixture(scope="module")
def reader(page: str) -> Reader:
    return Reader(page)


def test_all_sections_in_order(reader: Reader) -> None:
    assert reader.headings == SECTIONS


def test_numbers_are_those_of_the_result(reader: Reader) -> None:
    for metrics in result(3)["arms"].values():
        accuracy = metrics["accuracy"]
        assert f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['ci95']:.1f}" in reader.text
    difference = result(3)["comparisons"][0]
    assert f"+{100 * difference['mean_difference']:.1f} ± {100 * difference['ci95']:.1f}" in reader.text
    assert "requested 30.0 %, wrong labels expected 20.0 %, realised 25.0 %" in reader.text
    assert "10 (last)" in reader.text


def test_an_interval_with_0_is_a_tie_whoever_won_more_seeds(page: str, reader: Reader) -> None:
    assert "uniform in accuracy: beaten by self-paced; tied with R&D." in re.sub(r"\s+", " ", reader.text)
    assert re.search(r'verdict-tie">\+1\.3 ± .*?<b>tie</b> · 2 won, 0 tied, 1 lost', page)
    assert re.search(r'verdict-better">\+20\.3 ± .*?<b>better</b> · 3 won', page)


def test_nothing_asks_for_the_network_and_nothing_runs(page: str, reader: Reader) -> None:
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page
    assert "http:" not in page
    assert "https:" not in page


def test_names_are_escaped(page: str, reader: Reader) -> None:
    assert "<script" not in page
    assert "<pets>" not in page
    assert "<script>alert(1)</script>" in reader.text
    assert "curricula on <pets>" in reader.text


def test_pictures_have_alternatives_and_tables_have_scopes(reader: Reader) -> None:
    assert all(reader.alts)
    assert "Test accuracy: self-paced 81.3 %, R&D 62.3 %, uniform 61.0 %." in reader.alts
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in reader.tags if tag == "th")


def test_suspects_have_their_labels_and_weight(reader: Reader) -> None:
    assert "wrong label: given <script>alert(1)</script>, truly cat, weight 0.02" in reader.alts
    assert "wrong label: given dog, truly <script>alert(1)</script>, weight 0.04" in reader.alts
    assert "2 of these 2 labels are wrong; of all labels, 25.0 % are." in reader.text


def test_constant_weights_have_no_surface(reader: Reader) -> None:
    surfaces = [alt for alt in reader.alts if alt and "as a surface" in alt]
    assert [alt.split(":")[0] for alt in surfaces] == ["self-paced", "R&D"]


def test_the_same_folder_gives_the_same_bytes(page: str, tmp_path: Path) -> None:
    assert write(build(tmp_path / "elsewhere")).read_text() == page


def test_the_users_plot_settings_have_no_part_in_it(page: str, tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "red", "svg.hashsalt": "other", "font.size": 30}):
        assert write(build(tmp_path / "run")).read_text() == page
        assert matplotlib.rcParams["font.size"] == 30


def test_one_seed_has_no_interval_and_no_verdict(make_run: MakeRun) -> None:
    reader = read(make_run(seeds=1))
    assert reader.headings == SECTIONS
    assert "One seed only" in reader.text
    assert "There is one seed, so there is no band." in reader.text
    assert "uniform in accuracy: one seed only, so no verdict." in re.sub(r"\s+", " ", reader.text)
    assert "±" not in reader.text.split("Against the baselines")[0]


def test_two_seeds_show_the_range(make_run: MakeRun) -> None:
    assert "The band is the range of the 2 seeds, too few for an interval." in read(make_run(seeds=2)).text


def test_sections_without_data_are_left_out(make_run: MakeRun) -> None:
    rest = make_run(
        arms={"a": {"test_loss": {"mean": 0.25, "std": None, "ci95": None, "values": [0.25]}}},
        data={"name": "prose"},
        comparisons=[],
        noise=None,
        per_class=None,
        training=None,
        seconds=None,
        environment=None,
        about={"a": "a line about it"},
    )
    reader = read(rest)
    assert reader.headings == ["Results", "Options"]
    assert "test loss" in reader.text
    assert "0.250" in reader.text
    assert "a line about it" in reader.text


def test_one_epoch_has_maps_but_no_surfaces(make_run: MakeRun) -> None:
    alts = [alt or "" for alt in read(make_run(seeds=1, epochs=1)).alts]
    assert any("as a heat map" in alt for alt in alts)
    assert not any("as a surface" in alt for alt in alts)


def test_data_that_are_no_images_have_no_gallery(make_run: MakeRun) -> None:
    assert "What each teacher trusts least" not in read(make_run(seeds=1, shape=(2, 64))).headings


def test_many_classes_start_closed_and_very_many_are_left_out(make_run: MakeRun) -> None:
    data = result(1)["data"]
    path = make_run(seeds=1, trained=False, data=data | {"classes": [str(i) for i in range(100)]})
    assert "All 100 classes" in read(path).text
    (path / "result.json").write_text(
        json.dumps(result(1) | {"data": data | {"classes": [str(i) for i in range(101)]}})
    )
    assert "Accuracy by class" not in read(path).headings


def test_an_unfinished_run_says_how_to_go_on(make_run: MakeRun) -> None:
    path = make_run(finished=False)
    with pytest.raises(CheckpointError) as caught:
        write(path)
    assert str(caught.value) == f"{path} is not finished; go on with: tutelage resume {path}"
    assert not (path / "report.html").exists()


def test_other_folders_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run folder"):
        write(tmp_path)
    with pytest.raises(CheckpointError, match=r"result\.json is damaged: it has no arms"):
        write(make_run(arms=None))
