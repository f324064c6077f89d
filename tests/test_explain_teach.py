"""Experiments of explain_teach: the released files, round trips, and files that are damaged."""

import json
import re

import pytest

from tests.human_data import EXPERIMENTS, experiment, released, write_small
from tutelage.data.image_lists import read_image_list
from tutelage.errors import DataError
from tutelage.explain_teach import Experiment, Strategy, image_shifts, item_names

ARMS = ("explain_1vall", "random", "random_feedback", "strict_1vall")
RELEASED = {
    "butterflies_crop": (17, 160, 160, 1479, 386, 1),
    "chinese_chars": (22, 162, 161, 559, 143, 3),
    "chinese_chars_crowd": (25, 81, 80, 527, 143, 2),
}
"""experiment_id, records, distinct codes, training and test images, sessions past midnight."""
FILTERED = {
    "butterflies_crop": ("butterflies", [298, 272, 314, 307, 288]),
    "chinese_chars": ("ChineseChars", [192, 184, 183]),
    "chinese_chars_crowd": ("ChineseChars", [175, 173, 179]),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_released_experiments(name, real_data):
    found = released(real_data, name)
    number, records, codes, train, test, past_midnight = RELEASED[name]
    assert (found.name, found.settings.experiment_id, found.settings.scale) == (name, number, 2.0)
    assert (len(found.sessions), len({s.mturk_code for s in found.sessions})) == (records, codes)
    assert (len(found.settings.train_indices), len(found.settings.test_indices)) == (train, test)
    assert set(found.settings.test_sequence) == {-1}
    assert {s.experiment_id for s in found.sessions} == {number}
    for session in found.sessions:
        right = [a == b for a, b in zip(session.response, session.gt_label)]
        assert session.is_train == (1,) * 20 + (0,) * 20
        assert session.score == pytest.approx(100 * sum(right[20:]) / 20)
        sequence = found.strategies[session.strategy]
        assert sequence.im_ids in (None, session.image_id[:20])
        assert (sequence.im_ids is None) == ("random" in session.strategy)
    assert sum(s.seconds()[-1] >= 24 * 3600 for s in found.sessions) == past_midnight


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_images_are_those_of_the_released_lists(name, real_data):
    """The test images are the published list in its order; the training images are what a filter left of theirs."""
    found = released(real_data, name)
    begin, counts = FILTERED[name]
    train, test = (read_image_list(real_data / "maxgrad" / f"{begin}_gt_{role}.txt") for role in ("tr", "te"))
    names = [image.image_url.rpartition("/")[2] for image in found.images]
    tested = [names[i] for i in found.settings.test_indices]
    assert tested == [image.name for image in test.images]
    shown = [names[i] for i in found.settings.train_indices]
    assert shown == [image.name for image in train.images if image.name in set(shown)]
    labels = [found.images[i].class_label for i in found.settings.train_indices]
    assert [labels.count(c) for c in range(len(counts))] == counts
    for i in found.settings.test_indices:
        assert found.images[i].explain_url is None
        assert found.images[i].shown_explanation == found.images[i].image_url


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_released_experiments_come_back_as_they_were(name, real_data, tmp_path):
    found = released(real_data, name)
    found.write(tmp_path / name)
    assert Experiment.read(tmp_path / name) == found
    for file in (real_data / "explain_teach" / name).iterdir():
        assert json.loads((tmp_path / name / file.name).read_text()) == json.loads(file.read_text()), file.name


def test_ids_of_another_list_are_told_by_their_labels(real_data):
    found = released(real_data, "chinese_chars")
    shifts = image_shifts(found)
    assert {arm: (shifts[arm, 1], shifts[arm, 0]) for arm in ARMS} == {
        "random": (None, -1), "random_feedback": (None, -1), "explain_1vall": (0, 0), "strict_1vall": (0, 0),
    }  # fmt: skip
    with pytest.warns(UserWarning, match=re.escape("chinese_chars: image ids of random (teaching), random_f")) as told:
        names = item_names(found)
    assert len(told) == 1
    for session, of in zip(found.sessions, names):
        labels = {image.image_url: image.class_label for image in found.images}
        lost = [name for name in of if name not in labels]
        assert [labels.get(n, g) for n, g in zip(of, session.gt_label)] == list(session.gt_label)
        assert lost == [f"{session.strategy}:{i}" for i in session.image_id[:20]] * ("random" in session.strategy)
    for name in ("butterflies_crop", "chinese_chars_crowd"):
        assert set(image_shifts(released(real_data, name)).values()) == {0}


def test_a_shift_counts_only_if_no_other_one_fits():
    labels = [0, 1, 1, 0, 1]
    wrong = experiment([([1, 2, 3], [0, 1, 1], [1, 1, 1])], labels)
    assert image_shifts(wrong)["random", 1] == -1
    several = experiment([([7], [0], [1])], labels)
    assert image_shifts(several)["random", 1] is None
    fitting = experiment([([0], [0], [1])], labels)
    assert image_shifts(fitting)["random", 1] == 0
    none = experiment([([0, 1, 2], [1, 1, 1], [1, 1, 1])], labels)
    assert image_shifts(none)["random", 1] is None


def test_times_go_on_after_midnight():
    times = ("23:59:58", "00:00:03", "00:00:03", "23:00:00", "00:10:00")
    (session,) = experiment([([0] * 5, [0] * 5, [1] * 5)], [0], times=times).sessions
    assert session.seconds() == (86398, 86403, 86403, 169200, 173400)


def test_extra_fields_are_kept(tmp_path):
    folder = write_small(tmp_path / "small")
    for file, change in (("settings.json", {"own": None}), ("fixed.strat", {"feat_ids": [[-1]], "own": {"a": [1]}})):
        facts = json.loads((folder / file).read_text()) | change
        (folder / file).write_text(json.dumps(facts))
    Experiment.read(folder).write(tmp_path / "again" / "small")
    for file in folder.iterdir():
        assert json.loads((tmp_path / "again/small" / file.name).read_text()) == json.loads(file.read_text())


def test_an_experiment_without_answers(tmp_path):
    folder = write_small(tmp_path / "small")
    (folder / "results.json").unlink()
    found = Experiment.read(folder)
    assert found.sessions == ()
    found.write(tmp_path / "copy")
    assert not (tmp_path / "copy/results.json").exists()
    assert found.strategies["fixed"].explained(1)
    assert not found.strategies["fixed"].explained(0)
    assert found.strategies["random"].explained(7) is False


@pytest.mark.parametrize(
    ("file", "place", "value", "told"),
    [
        ("results.json", [0, "response", 1], "1", "[0].response[1]\": input should be a valid integer; given: '1'"),
        ("results.json", [0, "response", 1], True, "valid integer; given: True"),
        ("results.json", [0, "response", 1], 2, 'small/results.json: key "[0].response": 2 is outside the 2 classes.'),
        ("results.json", [0, "response"], [0], "response has 1 entries, but image_id has 4"),
        ("results.json", [0, "is_train"], [0, 1, 1, 0], "is_train must be ones, then zeros"),
        ("results.json", [0, "time", 2], "25:00:00", "time is '25:00:00', but must be of the form %H:%M:%S"),
        ("results.json", [0, "completion_time"], "today", "completion_time is 'today'"),
        ("results.json", [0, "score"], 101, 'key "[0].score": input should be less than or equal to 100'),
        ("results.json", [0, "mturk_code"], ..., 'results.json: key "[0].mturk_code" is missing.'),
        ("settings.json", ["class_names"], [], 'settings.json: key "class_names": tuple should have at least 1 item'),
        ("settings.json", ["test_indices", 0], 9, 'settings.json: key "test_indices": 9 is outside the 4 images.'),
        ("settings.json", ["scale"], "2", 'key "scale": input should be a valid number'),
        ("teaching_images.json", [1, "class_label"], 2, 'key "class_label": 2 is outside the 2 classes.'),
        ("teaching_images.json", [1, "image_url"], 3, 'key "[1].image_url": input should be a valid string; given: 3'),
        ("fixed.strat", ["im_ids", 0], 4, 'small/fixed.strat: key "im_ids": 4 is outside the 4 images.'),
        ("fixed.strat", ["im_ids"], ..., 'fixed.strat: key "im_ids" is missing; only random sequences have none.'),
        ("fixed.strat", ["num_train"], 3, "im_ids has 2 entries, but num_train is 3"),
        ("fixed.strat", ["display_explain_image"], [1], "display_explain_image has 1 entries, but num_train is 2"),
        ("random.strat", ["display_explain_image"], 2, 'random.strat: key "display_explain_image'),
    ],
)  # fmt: skip
def test_damaged_files_are_told_by_file_and_key(file, place, value, told, tmp_path):
    folder = write_small(tmp_path / "small")
    facts = json.loads((folder / file).read_text())
    inner = facts
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    (folder / file).write_text(json.dumps(facts))
    with pytest.raises(DataError, match=re.escape(told)) as error:
        Experiment.read(folder)
    assert "\n" not in str(error.value)
    assert file in str(error.value)


@pytest.mark.parametrize("name", ["../out", "a/b", ""])
def test_names_of_strategies_are_names_of_files(name):
    strategy = Strategy(num_train=1, display_explain_image=0, im_ids=(0,))
    with pytest.raises(DataError, match=f'small: strategy "{name}" cannot be the name of a file'):
        experiment([], [0], strategies={name: strategy})


def test_folders_that_are_no_experiments(tmp_path):
    with pytest.raises(DataError, match=r"not an experiment of explain_teach: it has no settings.json"):
        Experiment.read(tmp_path)
    folder = write_small(tmp_path / "small")
    (folder / "settings.json").write_text("{")
    with pytest.raises(DataError, match=r"settings.json: invalid JSON"):
        Experiment.read(folder)
    (folder / "settings.json").write_text('{"class_names": ["a", "b"]}')
    with pytest.raises(DataError, match=r'settings.json: key "train_indices" is missing'):
        Experiment.read(folder)
    write_small(folder)
    (folder / "teaching_images.json").unlink()
    with pytest.raises(DataError, match=r"teaching_images.json: cannot be read \(No such file"):
        Experiment.read(folder)
    write_small(folder)
    (folder / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        Experiment.read(folder).write(folder / "file")
