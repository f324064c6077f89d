"""Items and arms from teaching sets, and what does not fit together."""

from dataclasses import replace

import pytest

from tutelage.classroom.config import read_config
from tutelage.classroom.material import load_material
from tutelage.errors import ConfigError, DataError
from tutelage.explain_teach import Experiment, Settings, Strategy, TeachingImage
from tutelage.teaching_sets import Picture, TeachingSet

from .experiments import CLASSES, make_experiment, picture, write_config

FORTH = {"name": "forth", "teaching_set": "arms/forth.json"}


@pytest.fixture
def folder(tmp_path):
    return make_experiment(tmp_path / "e")


def loaded(folder, **changes):
    write_config(folder, **changes)
    return load_material(read_config(folder), folder)


def edit(folder, name, change):
    path = folder / "arms" / f"{name}.json"
    change(TeachingSet.load(path, check_files=False)).save(path)


def change_first(**values):
    return lambda found: replace(found, items=(replace(found.items[0], **values), *found.items[1:]))


def test_an_image_of_two_arms_is_one_item(folder):
    found = loaded(folder)
    assert found.classes == CLASSES
    assert len(found.items) == 18
    shared = set(found.arms["forth"].item_ids) & set(found.arms["back"].item_ids)
    assert sorted(found.items[item].path for item in shared) == [
        "circle/train3.png",
        "cross/train5.png",
        "square/train4.png",
    ]
    assert len(found.test_pool) == 9
    assert {item.split for item in found.items.values()} == {"train", "test"}
    assert all(item.explanation is None for item in found.items.values() if item.split == "test")
    for item in found.items.values():
        assert item.picture("image") == (item.id, item.file)
        assert (item.picture("explanation") is None) == (item.split == "test")


def test_an_item_without_explanation_in_one_arm_keeps_it_in_the_other(folder):
    edit(folder, "back", lambda found: replace(found, items=tuple(replace(i, explanation=None) for i in found.items)))
    found = loaded(folder, arms=[{**FORTH, "name": "back", "teaching_set": "arms/back.json"}, FORTH])
    shared = next(item for item in found.arms["back"].item_ids if item in found.arms["forth"].item_ids)
    assert found.items[shared].explanation is not None
    assert set(found.arms["back"].explained) == {False}
    assert set(found.arms["forth"].explained) == {True}


def test_an_id_is_of_content_and_file_name(folder):
    before = loaded(folder)
    picture(folder, "circle/train0.png", 77)
    edit(folder, "forth", change_first(sha256=None))
    after = loaded(folder)
    assert before.arms["forth"].item_ids[0] != after.arms["forth"].item_ids[0]
    assert before.arms["forth"].item_ids[1:] == after.arms["forth"].item_ids[1:]


def test_a_changed_or_missing_image_is_refused(folder):
    picture(folder, "circle/train0.png", 77)
    with pytest.raises(DataError, match=r"circle/train0.png has changed since its teaching set was made"):
        loaded(folder)
    (folder / "images" / "circle" / "train0.png").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        loaded(folder)
    edit(folder, "forth", change_first(path="square/why.png", sha256=None, label="square"))
    (folder / "images" / "square" / "why.png").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="leads out of"):
        loaded(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("forth", lambda s: replace(s, classes=("square", "circle", "cross")), "all arms need the same"),
        (
            "back",
            lambda s: replace(s, items=tuple(replace(i, label="circle") for i in s.items)),
            "is labelled circle, but",
        ),
        ("back", lambda s: replace(s, items=s.test, test=()), "for the test"),
    ],
)
def test_sets_that_do_not_fit_are_refused(folder, name, change, message):
    edit(folder, name, change)
    with pytest.raises(DataError, match=message):
        loaded(folder)


def test_two_explanations_of_one_image_are_refused(folder):
    def swap(found):
        return replace(
            found, items=tuple(replace(i, explanation=Picture("circle/train0-why.png")) for i in found.items)
        )

    edit(folder, "back", swap)
    with pytest.raises(DataError, match="has two explanations"):
        loaded(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train": 7}, 'arm "forth": arms/forth.json has 6 items, but num_train is 7'),
        ({"num_test": 10}, "num_test is 10, but the teaching sets have 9 test items"),
        ({"num_test": 9, "catch_trials": ["circle/test0.png"]}, "have 8 test items besides catch trials"),
        ({"catch_trials": ["circle/train0.png"]}, 'catch_trials: "circle/train0.png" is no test item'),
        ({"catch_trials": ["circle/test0.png"] * 2}, 'catch_trials: "circle/test0.png" comes twice'),
        (
            {"num_test": 1, "test_items": ["circle/test0.png"], "catch_trials": ["circle/test0.png"]},
            "circle/test0.png is in test_items and in catch_trials",
        ),
        ({"num_test": 1, "test_items": ["nothing.png"]}, 'test_items: "nothing.png" is no test item'),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        loaded(folder, **changes)


def test_a_pool_must_not_hold_an_image_twice(folder):
    edit(folder, "forth", lambda s: replace(s, items=(*s.items, s.items[0]), repeats=True))
    assert len(loaded(folder, arms=[FORTH], num_train=7).arms["forth"].item_ids) == 7
    with pytest.raises(ConfigError, match="holds an image twice; a pool must not"):
        loaded(folder, arms=[{**FORTH, "teacher": "random"}])


def test_sequences_of_explain_teach(folder):
    images = [
        TeachingImage(
            class_label=i % 3,
            image_url=f"{CLASSES[i % 3]}/train{i}.png",
            explain_url=f"{CLASSES[i % 3]}/train{i}-why.png",
        )
        for i in range(6)
    ] + [TeachingImage(class_label=i % 3, image_url=f"{CLASSES[i % 3]}/test{i}.png") for i in range(3)]
    settings = Settings(
        class_names=CLASSES,
        train_indices=tuple(range(6)),
        test_indices=(6, 7, 8),
        test_sequence=(-1, -1, -1),
        experiment_id=1,
        scale=2.0,
    )
    strategies = {
        "explain": Strategy(num_train=4, display_explain_image=(1, 0, 1, 0), im_ids=(3, 1, 0, 5)),
        "random_feedback": Strategy(num_train=4, display_explain_image=1),
    }
    Experiment("et", settings, tuple(images), strategies).write(folder / "et")
    arms = [
        {"name": "explain", "teaching_set": "et/explain.strat"},
        {"name": "drawn", "teaching_set": "et/random_feedback.strat", "teacher": "random"},
    ]
    found = loaded(folder, arms=arms)
    assert [found.items[i].path for i in found.arms["explain"].item_ids] == [images[i].image_url for i in (3, 1, 0, 5)]
    assert found.arms["explain"].explained == (True, False, True, False)
    assert len(found.arms["drawn"].item_ids) == 6
    assert set(found.arms["drawn"].explained) == {True}
    assert len(found.test_pool) == 3
    with pytest.raises(ConfigError, match='is a random sequence; set teacher = "random"'):
        loaded(folder, arms=[{"name": "a", "teaching_set": "et/random_feedback.strat"}])
    with pytest.raises(DataError, match="there is no such file"):
        loaded(folder, arms=[{"name": "a", "teaching_set": "et/none.strat"}])
