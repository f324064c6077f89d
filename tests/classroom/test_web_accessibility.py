"""What can be told of accessibility from pages and style alone; the rest is in test_browser.py."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from tutelage.classroom import service
from tutelage.classroom.config import Config
from tutelage.classroom.web.pages import STATIC

from .experiments import CLASSES, make_experiment, opened
from .web import Browser

CSS = (STATIC / "classroom.css").read_text()
ARMS = [{"name": "one", "teaching_set": "arms/forth.json"}]
PAIRS = [
    ("ink", "paper"), ("ink", "ground"), ("ink", "main-pale"), ("ink", "right-pale"), ("ink", "wrong-pale"),
    ("quiet", "paper"), ("quiet", "ground"), ("quiet", "line"), ("main", "paper"), ("main", "ground"),
    ("right", "paper"), ("right", "right-pale"), ("wrong", "paper"), ("wrong", "wrong-pale"), ("paper", "main"),
    ("paper", "main-deep"),
]  # fmt: skip
"""Text on what is behind it."""


def colours():
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", CSS))


def luminance(colour):
    """Relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_of_contrast():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("text", "behind"), PAIRS, ids="-on-".join)
def test_the_contrast_of_text(text, behind):
    assert contrast(colours()[text], colours()[behind]) >= 4.5


def test_the_contrast_of_focus_and_of_borders():
    known = colours()
    for behind in ("paper", "ground", "main-pale"):
        assert contrast(known["focus"], known[behind]) >= 3
        assert contrast("#8a97a3", known["paper"]) >= 2.9
    assert contrast(known["quiet"], known["paper"]) >= 3


class Outline(HTMLParser):
    """What assistive technology reads of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.labels, self.fields, self.open = [], set(), [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if tag == "label" and "for" in given:
            self.labels.add(given["for"])
        if tag in ("input", "select", "textarea") and given.get("type") != "hidden":
            self.fields.append((given, "label" in self.open))
        if tag not in ("input", "img", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def of(self, tag):
        return [given for name, given in self.tags if name == tag]


def read(html):
    outline = Outline()
    outline.feed(html)
    assert not outline.open
    return outline


@pytest.fixture(scope="module", params=["alternate", "side_by_side", "toggle"])
def pages(request, tmp_path_factory):
    """Every page that a person can come to, by its heading, with all that it holds."""
    folder = make_experiment(tmp_path_factory.mktemp("e"), explanation=request.param, arms=ARMS)
    with opened(folder) as room:
        person = Browser(room)
        found = [person.get("/").text, person.get("/consent").text]
        found += [person.get(path).text for path in ("/declined", "/screened-out", "/withdraw-by-code", "/nowhere")]
        person.get("/consent")
        person.go("consent", accepted="yes")
        while not person.heading.startswith("Thank"):
            found.append(person.html)
            person.step()
        found += [person.html, person.post("/withdraw", {"token": "0"}).text]
        person.get("/s")
        found.append(person.go("withdraw").text)
        service.set_status(room, "closed")
        found.append(Browser(room).get("/").text)
    return found


def test_each_page_says_its_language_and_has_one_heading_and_a_title(pages):
    for page in pages:
        outline = read(page)
        assert outline.of("html") == [{"lang": "en"}]
        assert len(outline.of("h1")) == len(outline.of("main")) == 1
        assert re.search(r"<title>.+</title>", page)
        levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_titles_tell_the_pages_apart(pages):
    titles = [re.search(r"<title>(.+)</title>", page)[1] for page in pages]
    assert len(set(titles)) >= 20


def test_each_field_has_a_label(pages):
    count = 0
    for page in pages:
        outline = read(page)
        for given, inside in outline.fields:
            assert inside or given.get("id") in outline.labels, given
            count += 1
    assert count > 20


def test_ids_are_there_once_and_what_they_are_named_by_exists(pages):
    for page in pages:
        outline = read(page)
        ids = [given["id"] for _, given in outline.tags if "id" in given]
        assert len(ids) == len(set(ids))
        for _, given in outline.tags:
            for name in ("for", "aria-labelledby", "aria-describedby"):
                assert given.get(name, ids[0]) in ids


def test_nothing_is_ticked_and_nothing_jumps_the_order(pages):
    for page in pages:
        for _, given in read(page).tags:
            assert "checked" not in given
            assert "autofocus" not in given
            assert given.get("tabindex", "-1") == "-1"


def test_the_text_for_an_image_never_names_a_class(pages):
    told = [given["alt"] for page in pages for given in read(page).of("img")]
    assert len(told) > 10
    for text in told:
        assert re.fullmatch(r"|Image \d of 7(, with the parts that matter)?", text)
        assert not any(name in text for name in CLASSES)


def test_images_have_their_size_before_they_come(pages):
    for page in pages:
        for given in read(page).of("img"):
            assert int(given["width"]) > 0 < int(given["height"])


def test_each_page_has_a_live_region_and_items_say_what_changed(pages):
    for page in pages:
        status = [given for _, given in read(page).tags if given.get("id") == "status"]
        assert [(given["role"], given["aria-live"]) for given in status] == [("status", "polite")]
    said = re.findall(r'data-announce="(.*?)"', "".join(pages))
    assert len(said) == 4 + 4 + 3
    assert said[0] == "Image 1 of 7. Choose one of 3 answers."
    assert re.fullmatch(r"Right\. This is \w+\.|Not right\. You chose \w+\. This is \w+\.", said[1])


def test_right_and_wrong_are_words_and_signs(pages):
    verdicts = [page for page in pages if 'class="verdict' in page]
    assert len(verdicts) == 4
    for page in verdicts:
        assert re.search(r'<span class="sign" aria-hidden="true">[✓✗]</span> (Right|Not right)</h1>', page)
        assert "✓ right answer" in page
        assert ("✗ your answer" in page) == ("Not right" in page)


def test_all_explanations_can_be_seen_without_javascript(pages):
    for page in pages:
        if 'class="verdict' in page:
            assert len(re.findall(r'src="/i/', page)) == 2
    plain = re.sub(r"\.pair\.stacked[^}]*\}", "", CSS)
    assert not re.search(r"\.(explanation|pair)[^{]*\{[^}]*(display: none|opacity)", plain)


def test_zooming_is_not_forbidden(pages):
    for page in pages:
        assert 'content="width=device-width, initial-scale=1"' in page


def test_motion_is_slower_than_three_flashes_a_second():
    assert next(m.ge for m in Config.model_fields["alternate_ms"].metadata if hasattr(m, "ge")) >= 334
    assert "animation" not in CSS
    assert "transition" not in CSS
