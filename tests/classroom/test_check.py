"""What is told of an experiment before people see it: each mistake one line, and nothing of one that is ready."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.classroom.experiments import CLASSES, make_experiment, write_config
from tutelage.classroom.check import Problem, check
from tutelage.data.items import file_hash
from tutelage.teaching_sets import TeachingSet

READY = {"scale": 4.0, "consent": {"version": "1", "text": "I agree.", "contact": "us@example.org"}}


@pytest.fixture
def folder(tmp_path):
    return make_experiment(tmp_path / "shapes", **READY)


def paint(folder, path, pixels, **how):
    """Replace an image, and say so in the teaching sets."""
    file = folder / "images" / path
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(file, **how)
    renew(folder, path)


def renew(folder, path):
    for name in (folder / "arms").glob("*.json"):
        facts = json.loads(name.read_text())
        for item in (*facts["items"], *facts["test"]):
            for picture in (item, item["explanation"] or {}):
                if picture.get("path") == path:
                    picture["sha256"] = file_hash(folder / "images" / path)
        name.write_text(json.dumps(facts))


def noise(seed, height=12, width=16):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3))


def test_nothing_is_told_of_one_that_is_ready(folder):
    assert check(folder) == ()


def test_there_is_nothing(tmp_path):
    config, key = check(tmp_path / "gone")
    assert config.kind == key.kind == "error"
    assert "experiment.toml: cannot be read" in config.line
    assert "private/key: cannot be read" in key.line


def test_a_wrong_key_of_the_configuration(folder):
    write_config(folder, **READY, num_trian=3)
    (problem,) = check(folder)
    assert problem.kind == "error"
    assert problem.line == f'{folder / "experiment.toml"}: key "num_trian": extra inputs are not permitted; given: 3.'


def test_a_key_that_others_may_read(folder):
    (folder / "private" / "key").chmod(0o644)
    (problem,) = check(folder)
    assert "others may read it (mode 644)" in problem.line


def test_a_missing_image(folder):
    (folder / "images" / "square" / "train1.png").unlink()
    (problem,) = check(folder)
    assert problem.kind == "error"
    assert "square/train1.png" in problem.line


def test_an_image_that_changed(folder):
    Image.fromarray(noise(99).astype(np.uint8)).save(folder / "images" / "square" / "train1.png")
    (problem,) = check(folder)
    assert "square/train1.png has changed since its teaching set was made" in problem.line


def test_a_file_that_is_no_image(folder):
    (folder / "images" / "square" / "train1.png").write_bytes(b"no image")
    renew(folder, "square/train1.png")
    (problem,) = check(folder)
    assert problem.kind == "error"
    assert "square/train1.png: not an image that can be read" in problem.line


def test_images_that_cannot_be_seen(folder):
    paint(folder, "circle/train0.png", np.full((12, 16, 3), 128))
    assert check(folder) == (
        Problem("warning", "circle/train0.png: nearly one colour (spread of brightness 0.0 of 255); is it right?"),
    )
    write_config(folder, **{**READY, "scale": 2.0})
    lines = [problem.line for problem in check(folder)]
    assert "square/test1.png: shown 32 x 24 pixels; at least 48 each are needed: raise scale." in lines
    write_config(folder, **{**READY, "scale": 20.0})
    paint(folder, "circle/train0.png", noise(3, 12, 101))
    lines = [problem.line for problem in check(folder)]
    assert "circle/train0.png: shown 2020 x 240 pixels; screens show 2000 or less: lower scale." in lines


def test_an_explanation_of_another_size(folder):
    paint(folder, "circle/train0-why.png", noise(3, 12, 17))
    (problem,) = check(folder)
    assert problem.line.startswith("circle/train0-why.png: of another size than circle/train0.png")


def test_images_that_show_the_same(folder):
    """Not the same file, which the sets refuse themselves, but the same pixels."""
    paint(folder, "circle/train0.png", noise(3), format="BMP")
    paint(folder, "circle/test0.png", noise(3))
    (problem,) = check(folder)
    same = "show the same, but one teaches and one tests; remove one."
    assert problem == ("error", f"circle/test0.png and circle/train0.png {same}")
    paint(folder, "circle/test0.png", noise(4))
    paint(folder, "square/train1.png", noise(3))
    (problem,) = check(folder)
    same = "show the same, but have two labels; remove one."
    assert problem == ("error", f"square/train1.png and circle/train0.png {same}")
    paint(folder, "square/train1.png", noise(5))
    paint(folder, "circle/train3.png", noise(3))
    (problem,) = check(folder)
    assert problem == ("warning", "circle/train3.png and circle/train0.png show the same.")


def test_a_class_that_its_size_tells(folder):
    for split, count in (("train", 9), ("test", 9)):
        for i in range(2, count, 3):
            paint(folder, f"cross/{split}{i}.png", noise(i + 100 * (split == "test"), 14, 16))
            if split == "train":
                paint(folder, f"cross/{split}{i}-why.png", noise(i, 14, 16))
    (problem,) = check(folder)
    assert problem.line == 'the class "cross" can be told by the size of its images alone; make them the same for all.'


def test_a_class_that_its_kind_tells(folder):
    for split, count in (("train", 9), ("test", 9)):
        for i in range(0, count, 3):
            paint(folder, f"circle/{split}{i}.png", noise(i + 100 * (split == "test")), format="JPEG")
    (problem,) = check(folder)
    assert problem.line.startswith('the class "circle" can be told by the kind of its files, lossy or not alone')


def test_arms_and_tests_without_a_class(folder):
    path = folder / "arms" / "forth.json"
    facts = json.loads(path.read_text())
    facts["items"] = [item for item in facts["items"] if item["label"] != "cross"]
    path.write_text(json.dumps(facts))
    assert [problem.line for problem in check(folder)] == ['arm "forth": it teaches no item of the class "cross".']
    write_config(folder, **READY, test_items=["circle/test0.png", "circle/test3.png", "square/test1.png"])
    assert 'the test has no item of the class "cross".' in [problem.line for problem in check(folder)]


def test_settings_that_cannot_be_meant(folder):
    arms = [
        {"name": "a", "teaching_set": "arms/plain.json"},
        {"name": "b", "teaching_set": "arms/forth.json", "teacher": "strict"},
    ]
    found = TeachingSet.load(folder / "arms" / "forth.json", root=folder / "images")
    facts = json.loads((folder / "arms" / "forth.json").read_text())
    for item in facts["items"]:
        item["explanation"] = None
    (folder / "arms" / "plain.json").write_text(json.dumps(facts))
    settings = {**READY, "arms": arms, "num_train": 6, "recruitment": {"platform": "prolific"}}
    settings["consent"] = {"version": "1", "text": "I agree."}
    write_config(folder, **settings)
    assert len(found.items) == 6
    assert check(folder) == (
        ("error", 'key "recruitment.outcome_codes.completed" is missing: Prolific needs a code to come back.'),
        ("warning", 'key "consent.contact" is empty: people do not learn whom to write to.'),
        ("warning", 'arm "a": show_explanation is true, but no item has an explanation.'),
        ("warning", 'arm "b": its pool has num_train items, so that its teacher has no choice.'),
    )
    assert len(CLASSES) == 3


def test_every_problem_is_one_line(folder):
    write_config(folder, **{**READY, "scale": 2.0})
    paint(folder, "circle/train0.png", np.zeros((12, 16, 3)))
    (folder / "private" / "key").unlink()
    found = check(folder)
    assert len(found) > 10
    assert all("\n" not in problem.line for problem in found)
    assert [problem.kind for problem in found] == sorted(problem.kind for problem in found)
