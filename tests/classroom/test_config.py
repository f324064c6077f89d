"""The configuration: its defaults, and one line for each mistake."""

import json

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.config import CONFIG_FILE, DATABASE_VARIABLE, read_config
from tutelage.errors import ConfigError

from .experiments import enter, make_experiment, rows, settings, toml, write_config

LEAST = {
    "name": "n",
    "title": "t",
    "planned_n": 40,
    "consent": {"version": "1", "text": "x"},
    "arms": [{"name": "a", "teaching_set": "a.json"}],
}


def written(folder, values):
    (folder / CONFIG_FILE).write_text("\n".join(f"{key} = {toml(value)}" for key, value in values.items()))
    return folder


def test_the_defaults(tmp_path):
    config = read_config(written(tmp_path, LEAST))
    assert (config.num_train, config.num_test, config.scale, config.length) == (20, 20, 2.0, 40)
    assert (config.feedback_ms, config.alternate_ms, config.explanation) == (2000, 500, "alternate")
    assert (config.test_items, config.button_order, config.show_score) == ("random", "participant", True)
    assert (config.blind, config.resume, config.max_gap_minutes) == (True, "resume", 30)
    assert (config.abandon_after_minutes, config.on_withdraw, config.retention_days) == (60, "delete", 60)
    assert (config.adaptive_limit_ms, config.catch_trials) == (200, ())
    assert (config.response_times.fast_ms, config.response_times.slow_ms) == (300, 120_000)
    assert (config.recruitment.platform, len(config.tutorial)) == ("direct", 4)
    assert config.arms[0].teacher == "fixed"
    assert config.arms[0].show_explanation


ARM = {"name": "a", "teaching_set": "a.json"}
MISTAKES = [
    ({"planned_n": None}, 'key "planned_n" is missing'),
    ({"colour": "red"}, "key \"colour\": extra inputs are not permitted; given: 'red'"),
    ({"num_train": 0}, 'key "num_train": input should be greater than or equal to 1; given: 0'),
    ({"num_train": "20"}, "key \"num_train\": input should be a valid integer; given: '20'"),
    ({"scale": -1.0}, 'key "scale": input should be greater than 0; given: -1.0'),
    ({"resume": "never"}, "key \"resume\": input should be 'resume', 'restart' or 'block'; given: 'never'"),
    ({"alternate_ms": 100}, 'key "alternate_ms": input should be greater than or equal to 334; given: 100'),
    ({"arms": []}, 'key "arms": tuple should have at least 1 item'),
    ({"arms": [{"name": "a"}]}, 'key "arms[0].teaching_set" is missing'),
    ({"arms": [{**ARM, "teacher": "best"}]}, 'key "arms[0].teacher": input should be'),
    ({"arms": [ARM, ARM]}, 'two arms have the name "a"; give each its own'),
    ({"arms": [{**ARM, "active": False}]}, "no arm is active; at least one must be"),
    ({"test_items": ["x.png"]}, "test_items has 1 images, but num_test is 20"),
    ({"consent": {"version": "1"}}, 'key "consent.text" is missing'),
    ({"recruitment": {"platform": "post"}}, 'key "recruitment.platform": input should be'),
    ({"recruitment": {"outcome_codes": {"bored": "X"}}}, 'key "recruitment.outcome_codes.bored'),
    ({"seed": 2**31}, 'key "seed": input should be less than 2147483648'),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_mistake_is_one_line(tmp_path, changes, message):
    values = {key: value for key, value in {**LEAST, **changes}.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        read_config(written(tmp_path, values))
    told = str(error.value)
    assert told.startswith(f"{tmp_path / CONFIG_FILE}: ")
    assert message in told
    assert "\n" not in told


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read .*tutelage classroom new"):
        read_config(tmp_path)
    (tmp_path / CONFIG_FILE).write_text("name = \n")
    with pytest.raises(ConfigError, match="not TOML"):
        read_config(tmp_path)
    (tmp_path / CONFIG_FILE).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not TOML"):
        read_config(tmp_path)


def test_the_hash_is_of_what_counts(tmp_path):
    first = read_config(written(tmp_path, LEAST))
    assert read_config(written(tmp_path, dict(reversed(LEAST.items())))).hash == first.hash
    assert read_config(written(tmp_path, {**LEAST, "num_train": 20})).hash == first.hash
    assert read_config(written(tmp_path, {**LEAST, "num_train": 21})).hash != first.hash
    secret = read_config(written(tmp_path, {**LEAST, "database": "postgresql://me:secret@host/db"}))
    assert secret.hash == first.hash
    assert "secret" not in secret.as_json()
    assert json.loads(first.as_json())["arms"][0]["name"] == "a"


def test_the_environment_may_name_the_database(tmp_path, monkeypatch):
    written(tmp_path, LEAST)
    assert read_config(tmp_path).database == "classroom.sqlite"
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql:///x")
    assert read_config(tmp_path).database == "postgresql:///x"


def test_a_configuration_stands_once_people_have_taken_part(tmp_path):
    folder = make_experiment(tmp_path / "e")
    with service.open_room(folder) as room:
        service.set_status(room, "open")
        first = rows(room, tables.experiment)[0]
    write_config(folder, num_train=5)
    with service.open_room(folder) as room:
        changed = rows(room, tables.experiment)[0]
        assert changed.config_hash == room.config.hash != first.config_hash
        assert (changed.id, changed.status) == (first.id, "open")
        enter(room)
    with service.open_room(folder) as room:
        assert len(rows(room, tables.participant)) == 1
    write_config(folder, num_train=4)
    with pytest.raises(ConfigError, match="is not what it was when the first person took part"):
        service.open_room(folder)
    write_config(folder, num_train=5)
    changed_set = (folder / "arms" / "forth.json").read_text().replace("circle/train0.png", "circle/train3.png")
    assert "train0" in (folder / "arms" / "forth.json").read_text()
    (folder / "arms" / "forth.json").write_text(changed_set.replace('"repeats": false', '"repeats": true'))
    with pytest.raises(Exception, match="has changed since its teaching set was made"):
        service.open_room(folder)


def test_the_helper_of_these_tests_writes_what_it_says(tmp_path):
    folder = make_experiment(tmp_path / "e")
    assert [arm.name for arm in read_config(folder).arms] == [arm["name"] for arm in settings()["arms"]]
