"""Teaching sets on disk: round trips, what is refused, and sets from and for others."""

import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from tests.human_data import released
from tutelage import __version__
from tutelage.data.image_lists import ImageList, ListedImage, read_image_list, write_image_list
from tutelage.data.items import Item, file_items
from tutelage.errors import ConfigError, DataError
from tutelage.explain_teach import Experiment
from tutelage.teaching_set_formats import from_image_list, from_strategy, to_experiment, to_image_list
from tutelage.teaching_sets import Picture, Provenance, Shown, TeachingSet

CLASSES = ("grass", "stem")
PATHS = ("images/grass/1.png", "images/stem/2.png", "images/stem/3.png", "explanations/grass/1.png")


@pytest.fixture
def root(tmp_path):
    """Four images, each of its own colour."""
    for i, path in enumerate(PATHS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), i).save(tmp_path / path)
    return tmp_path


@pytest.fixture
def full(root):
    """A set with everything in it."""
    first, second, third, explanation = file_items([root / path for path in PATHS], root)
    grass = Shown.of(
        first, "grass", score=1.5, log_score=0.4, reason="largest score", notes={"kept": {"grass": 3, "stem": 2}},
        explanation=Picture(explanation.path, explanation.sha256), counterfactual=Picture(second.path),
    )  # fmt: skip
    provenance = Provenance(
        "maxgrad", {"space": "functional", "steps": [1, 2]}, "pool", "0a1b", 3, "consistent, 5 folds", "linear"
    )
    items = (grass, Shown.of(second, "stem"))
    return TeachingSet("mine", CLASSES, items, provenance, (Shown.of(third, "stem"),))


def test_a_set_comes_back_as_it_was(full, root):
    full.save(root / "set.json")
    assert TeachingSet.load(root / "set.json") == full
    written = (root / "set.json").read_bytes()
    full.save(root / "set.json")
    assert (root / "set.json").read_bytes() == written
    facts = json.loads(written)
    assert (facts["format"], facts["version"]) == ("tutelage teaching set", 1)
    assert facts["provenance"]["version"] == __version__
    assert facts["items"][1] == {
        "path": PATHS[1], "label": "stem", "sha256": full.items[1].sha256, "score": None, "log_score": None,
        "reason": "", "notes": {}, "explanation": None, "counterfactual": None,
    }  # fmt: skip
    assert full.labels == (0, 1)


def test_the_least_that_a_file_needs(root):
    facts = {
        "format": "tutelage teaching set", "version": 1, "name": "least", "classes": ["grass"],
        "items": [{"path": PATHS[0], "label": "grass"}], "provenance": {"teacher": "me", "version": "0.0"},
    }  # fmt: skip
    (root / "set.json").write_text(json.dumps(facts))
    found = TeachingSet.load(root / "set.json")
    assert found == TeachingSet("least", ("grass",), (Shown(PATHS[0], "grass"),), Provenance("me", version="0.0"))


def test_images_may_lie_elsewhere(full, root):
    (root / "sets").mkdir()
    full.save(root / "sets/set.json")
    assert TeachingSet.load(root / "sets/set.json", root=root) == full
    assert TeachingSet.load(root / "sets/set.json", check_files=False) == full
    told = f"mine: items[0]: {PATHS[0]} is missing; looked for {root}/sets/{PATHS[0]}. Give the root of images."
    with pytest.raises(DataError, match=re.escape(told)):
        TeachingSet.load(root / "sets/set.json")


@pytest.mark.parametrize(
    ("path", "where"), [(PATHS[0], "items[0]"), (PATHS[2], "test[0]"), (PATHS[3], "items[0]")], ids=str
)
def test_an_image_that_changed_is_told(path, where, full, root):
    full.save(root / "set.json")
    Image.new("L", (2, 2), 99).save(root / path)
    with pytest.raises(DataError, match=re.escape(f"mine: {where}: {root / path} has changed since the set was made")):
        TeachingSet.load(root / "set.json")
    (root / path).unlink()
    with pytest.raises(DataError, match=re.escape(f"mine: {where}: {path} is missing")):
        TeachingSet.load(root / "set.json")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (["format"], "other", 'not a teaching set: it does not say "format": "tutelage teaching set"'),
        (["version"], 2, "teaching set of version 2, but this tutelage reads version 1"),
        (["version"], True, "teaching set of version True"),
        (["version"], ..., "teaching set of version None"),
        (["name"], 3, 'key "name": input should be a valid string; given: 3'),
        (["classes"], [], 'key "classes": tuple should have at least 1 item'),
        (["classes"], ["grass", "grass"], "a class name comes twice among grass, grass"),
        (["classes"], ["grass"], 'mine: items[1]: label "stem" is not among the classes grass'),
        (["items"], [], 'key "items": tuple should have at least 1 item'),
        (["items", 0, "label"], ..., 'key "items[0].label" is missing'),
        (["items", 0, "score"], "1", 'key "items[0].score": input should be a valid number'),
        (["items", 0, "score"], float("inf"), 'key "items[0].score": input should be a finite number'),
        (["items", 0, "sha256"], "0a", 'key "items[0].sha256": string should match pattern'),
        (["items", 0, "bogus"], 1, 'key "items[0].bogus": unexpected keyword argument'),
        (["items", 0, "explanation", "path"], "/etc/passwd", 'items[0]: path "/etc/passwd" must be relative'),
        (["items", 0, "path"], "images/../../1.png", "must be relative, with /, and stay below the root of images"),
        (["items", 1, "path"], PATHS[0], f"{PATHS[0]} is shown twice, as items[0] and as items[1]; set repeats"),
        (["test", 0, "path"], PATHS[1], f"{PATHS[1]} is shown, as items[1], and in the test, as test[0]"),
        (["provenance", "teacher"], ..., 'key "provenance.teacher" is missing'),
        (["provenance", "seed"], 1.5, 'key "provenance.seed": input should be a valid integer'),
    ],
)  # fmt: skip
def test_files_that_are_refused(place, value, told, full, root):
    full.save(root / "set.json")
    facts = json.loads((root / "set.json").read_text())
    inner = facts
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    (root / "set.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=re.escape(told)) as error:
        TeachingSet.load(root / "set.json")
    assert str(error.value).startswith(f"{root / 'set.json'}: ")
    assert "\n" not in str(error.value)


def test_files_that_are_no_sets(root):
    for content, told in ((b"{", "it is no JSON"), (b"[]", "it does not say"), (b"\xff\xfe", "it is no JSON")):
        (root / "set.json").write_bytes(content)
        with pytest.raises(DataError, match=told):
            TeachingSet.load(root / "set.json")
    with pytest.raises(DataError, match=r"gone.json: cannot be read \(No such file"):
        TeachingSet.load(root / "gone.json")


def test_items_are_known_by_their_content(full):
    renamed = replace(full.items[0], path="images/grass/renamed.png")
    with pytest.raises(DataError, match=r"renamed.png is shown twice, as items\[0\] and as items\[2\]"):
        replace(full, items=(*full.items, renamed))
    assert len(replace(full, items=(*full.items, renamed), repeats=True).items) == 3
    with pytest.raises(DataError, match=r"renamed.png is shown, as items\[0\], and in the test, as test\[0\]"):
        replace(full, test=(renamed,))
    with pytest.raises(DataError, match=r"is in the test twice, as test\[0\] and as test\[1\]"):
        replace(full, test=full.test * 2, repeats=True)
    with pytest.raises(DataError, match="needs at least one class and one item"):
        replace(full, items=())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"score": float("nan")}, r'key "items\[0\].score": input should be a finite number'),
        ({"log_score": float("-inf")}, r'key "items\[0\].log_score": input should be a finite number'),
        ({"notes": {"seen": object()}}, "cannot be kept"),
        ({"sha256": "A" * 64}, r'key "items\[0\].sha256"'),
        ({"reason": 3}, r'key "items\[0\].reason": input should be a valid string'),
    ],
)
def test_values_that_cannot_be_kept(change, told, full, root):
    items = (replace(full.items[0], **change), full.items[1])
    with pytest.raises(DataError, match=told):
        replace(full, items=items).save(root / "set.json")
    assert not (root / "set.json").exists()


def test_an_item_of_a_pool_becomes_one_that_is_shown():
    item = Item("a/b.png", "0" * 64)
    assert Shown.of(item, "b", score=2.0) == Shown("a/b.png", "b", "0" * 64, 2.0)


# from and for others


def test_a_published_list_and_back(real_data, tmp_path):
    path = real_data / "maxgrad" / "butterflies_Lt_gt_tr.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    listed, test = read_image_list(path), read_image_list(path.with_name("butterflies_gt_te.txt"))
    made = from_image_list(listed, teacher="maxgrad", test=test)
    assert (len(made.items), len(made.test), made.provenance.teacher) == (20, 386, "maxgrad")
    made.save(tmp_path / "set.json")
    again = TeachingSet.load(tmp_path / "set.json", check_files=False)
    write_image_list(to_image_list(again).images, tmp_path / "list.txt")
    assert (tmp_path / "list.txt").read_bytes() == path.read_bytes()


def test_a_list_with_its_images(root):
    listed = ImageList.of("list", [ListedImage("./x/stem/3.png", 1, 0), ListedImage("./x/grass/1.png", 0, 1)], CLASSES)
    made = from_image_list(listed, teacher="me", folder=root)
    assert [item.path for item in made.items] == [PATHS[2], PATHS[0]]
    assert [Item(item.path, item.sha256) for item in made.items] == list(
        file_items([root / PATHS[2], root / PATHS[0]], root)
    )
    made.check_files(root)
    images = to_image_list(made, "./datasets").images
    assert images[0] == ListedImage(f"./datasets/{PATHS[2]}", 1, 0)
    with pytest.raises(DataError, match="other has other classes than list: grass"):
        from_image_list(listed, teacher="me", test=ImageList.of("other", [ListedImage("x/grass/1.png", 0, 0)]))


def test_labels_of_lists_are_ranks_in_alphabetical_order():
    items = (Shown("images/stem/1.png", "stem"), Shown("images/grass/1.png", "grass"))
    turned = TeachingSet("turned", ("stem", "grass"), items, Provenance("me"))
    assert [image.label for image in to_image_list(turned).images] == [1, 0]
    misplaced = replace(turned, items=(Shown("images/moss/1.png", "stem"),))
    with pytest.raises(DataError, match="label 1 is stem, but the image lies in moss"):
        to_image_list(misplaced)
    assert [image.label for image in to_image_list(misplaced, told=True).images] == [1]


@pytest.mark.parametrize("arm", ["explain_1vall", "strict_1vall"])
def test_sequences_of_explain_teach_and_back(arm, real_data, tmp_path):
    experiment = released(real_data, "chinese_chars")
    made = from_strategy(experiment, arm)
    sequence = experiment.strategies[arm]
    assert [item.path for item in made.items] == [experiment.images[i].image_url for i in sequence.im_ids]
    assert made.labels == tuple(experiment.images[i].class_label for i in sequence.im_ids)
    assert [item.explanation is not None for item in made.items] == [arm == "explain_1vall"] * 20
    assert len(made.test) == 143
    to_experiment({arm: made}, "again").write(tmp_path / "again")
    again = from_strategy(Experiment.read(tmp_path / "again"), arm)
    assert (again.items, again.test, again.classes) == (made.items, made.test, made.classes)


def test_an_experiment_compares_sets(full, root):
    plain = replace(full, items=(full.items[1], replace(full.items[0], explanation=None)))
    made = to_experiment({"full": full, "plain": plain}, "both", experiment_id=7, test_items=5)
    assert (made.settings.class_names, made.settings.experiment_id, made.settings.scale) == (CLASSES, 7, 2.0)
    assert (made.settings.train_indices, made.settings.test_indices) == ((0, 1), (2,))
    assert made.settings.test_sequence == (-1,)
    assert [image.image_url for image in made.images] == list(PATHS[:3])
    assert [image.explain_url for image in made.images] == [PATHS[3], None, None]
    assert (made.strategies["full"].im_ids, made.strategies["plain"].im_ids) == ((0, 1), (1, 0))
    assert made.strategies["full"].display_explain_image == (1, 0)
    assert made.strategies["plain"].display_explain_image == (0, 0)
    again = from_strategy(made, "full", folder=root)
    assert again.items[0].sha256 == full.items[0].sha256
    assert again.items[0].explanation == full.items[0].explanation


def test_conversions_that_cannot_be(full, real_data):
    other = replace(full, classes=("grass", "stem", "mound"))
    with pytest.raises(ConfigError, match="b has the classes grass, stem, mound; another set grass, stem"):
        to_experiment({"a": full, "b": other}, "both")
    with pytest.raises(ConfigError, match='random_1: a strategy with "random" in its name is drawn anew'):
        to_experiment({"random_1": full}, "one")
    with pytest.raises(ConfigError, match="give at least one teaching set"):
        to_experiment({}, "none")
    crossed = replace(full, items=full.test, test=full.items[:1])
    with pytest.raises(DataError, match=r"1.png is shown by one set and in the test of another"):
        to_experiment({"a": full, "b": crossed}, "both")
    explained = replace(full, items=(replace(full.items[0], explanation=Picture("explanations/other.png")),))
    with pytest.raises(DataError, match=r"has two explanations: explanations/grass/1.png and explanations/other.png"):
        to_experiment({"a": full, "b": explained}, "both")
    labelled = replace(full, items=(replace(full.items[0], label="stem"),))
    with pytest.raises(DataError, match="has two labels: grass and stem"):
        to_experiment({"a": full, "b": labelled}, "both")
    experiment = released(real_data, "chinese_chars")
    with pytest.raises(ConfigError, match="random is drawn at random for each person"):
        from_strategy(experiment, "random")
    with pytest.raises(ConfigError, match=r'unknown strategy "strict"\. Did you mean "strict_1vall"'):
        from_strategy(experiment, "strict")
