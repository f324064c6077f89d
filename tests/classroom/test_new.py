"""New experiments from teaching sets: ready to be opened, or nothing is left."""

import tomllib

import pytest

from tests.classroom.experiments import CLASSES, enter, make_experiment, opened, walk
from tutelage.classroom.check import check
from tutelage.classroom.config import Config, read_config
from tutelage.classroom.new import NewArm, new_experiment, to_toml
from tutelage.classroom.replies import End
from tutelage.errors import ConfigError, DataError
from tutelage.explain_teach import Strategy
from tutelage.teaching_set_formats import to_experiment
from tutelage.teaching_sets import TeachingSet

TEXT = 'Take part?\n\nYou may leave at any time. "Ja", ä, \\ and \x7f.'


@pytest.fixture
def source(tmp_path):
    """A folder with images, and with teaching sets in ``arms``."""
    return make_experiment(tmp_path / "source")


def make(folder, source, *names, **how):
    arms = [NewArm(name, source / "arms" / f"{name}.json") for name in names]
    return new_experiment(folder, arms, source / "images", TEXT, title="Learn shapes", planned_n=5, **how)


def test_a_new_experiment_can_be_opened(tmp_path, source):
    config = make(tmp_path / "shapes", source, "forth", "back")
    assert config == read_config(tmp_path / "shapes")
    assert (config.name, config.title, config.planned_n, config.consent.text) == ("shapes", "Learn shapes", 5, TEXT)
    assert (config.num_train, config.num_test) == (6, 9)
    assert [(arm.name, arm.teacher) for arm in config.arms] == [("forth", "fixed"), ("back", "fixed")]
    assert not [problem for problem in check(tmp_path / "shapes") if problem.kind == "error"]
    with opened(tmp_path / "shapes") as room:
        assert room.material.classes == CLASSES
        assert isinstance(walk(room, enter(room))[-1], End)


def test_only_the_images_of_the_sets_are_taken(tmp_path, source):
    (source / "images" / "circle" / "secret.png").write_bytes(b"not to be copied")
    make(tmp_path / "shapes", source, "forth")
    images = tmp_path / "shapes" / "images"
    copied = {path.relative_to(images).as_posix() for path in images.rglob("*.png")}
    found = TeachingSet.load(source / "arms" / "forth.json", check_files=False)
    assert copied == {picture.path for item in (*found.items, *found.test) for picture in item.pictures}


def test_settings_go_before_the_defaults(tmp_path, source):
    settings = {
        "num_train": 4, "num_test": 2, "blind": False, "scale": 1.5, "name": "other",
        "recruitment": {"platform": "prolific", "outcome_codes": {"completed": "C1"}},
        "tutorial": [{"title": "One", "text": "1"}, {"title": "Two", "text": "2"}],
        "catch_trials": ["circle/test0.png"],
    }  # fmt: skip
    config = make(tmp_path / "shapes", source, "forth", settings=settings)
    assert config == read_config(tmp_path / "shapes")
    assert (config.num_train, config.num_test, config.blind, config.scale, config.name) == (4, 2, False, 1.5, "other")
    assert config.recruitment.outcome_codes == {"completed": "C1"}
    assert [page.title for page in config.tutorial] == ["One", "Two"]


def test_pools_of_adaptive_teachers(tmp_path, source):
    arms = [NewArm("one", source / "arms" / "forth.json", "review")]
    config = new_experiment(tmp_path / "shapes", arms, source / "images", "Yes?", title="t", planned_n=1)
    assert config.arms[0].teacher == "review"


def test_sequences_of_explain_teach(tmp_path, source):
    sets = {"forth": TeachingSet.load(source / "arms" / "forth.json", check_files=False)}
    told = to_experiment(sets, "told", test_items=3)
    strategies = {**told.strategies, "random": Strategy(num_train=4, display_explain_image=1)}
    type(told)(told.name, told.settings, told.images, strategies).write(tmp_path / "told")
    arms = [NewArm(name, tmp_path / "told" / f"{name}.strat") for name in ("forth", "random")]
    config = new_experiment(tmp_path / "shapes", arms, source / "images", "Yes?", title="t", planned_n=1)
    assert [arm.teacher for arm in config.arms] == ["fixed", "random"]
    pool = TeachingSet.load(tmp_path / "shapes" / "arms" / "random.json", root=tmp_path / "shapes" / "images")
    assert len(pool.items) == 6
    assert all(item.explanation is not None for item in pool.items)
    with opened(tmp_path / "shapes") as room:
        assert room.config.num_train == 6
    fixed = [NewArm("random", tmp_path / "told" / "random.strat", "fixed")]
    with pytest.raises(ConfigError, match=r"random.strat is drawn at random; no fixed teacher can show it"):
        new_experiment(tmp_path / "no", fixed, source / "images", "Yes?", title="t", planned_n=1)
    gone = [NewArm("gone", tmp_path / "told" / "gone.strat")]
    with pytest.raises(DataError, match=r"gone.strat: there is no such file"):
        new_experiment(tmp_path / "no", gone, source / "images", "Yes?", title="t", planned_n=1)


@pytest.mark.parametrize(
    ("how", "error", "told"),
    [
        (
            {"settings": {"num_trian": 3}},
            ConfigError,
            r'toml: key "num_trian": extra inputs are not permitted',
        ),
        ({"settings": {"scale": -1.0}}, ConfigError, r'key "scale": input should be greater than 0; given: -1.0'),
        ({"settings": {"num_train": 7}}, ConfigError, r"forth.json has 6 items, but num_train is 7"),
        ({"consent_version": ""}, ConfigError, r'key "consent.version": string should have at least 1 character'),
    ],
)
def test_what_is_wrong_leaves_nothing(how, error, told, tmp_path, source):
    with pytest.raises(error, match=told):
        make(tmp_path / "shapes", source, "forth", **how)
    assert not (tmp_path / "shapes").exists()


def test_a_missing_image_leaves_an_empty_folder_empty(tmp_path, source):
    (tmp_path / "shapes").mkdir()
    (source / "images" / "square" / "train1.png").unlink()
    with pytest.raises(DataError, match=r"square/train1.png: cannot be copied to .*shapes \(No such file"):
        make(tmp_path / "shapes", source, "forth")
    assert list((tmp_path / "shapes").iterdir()) == []


def test_refusals(tmp_path, source):
    with pytest.raises(ConfigError, match=r"source exists; give an empty folder, or a new one"):
        make(source, source, "forth")
    with pytest.raises(ConfigError, match="an experiment needs at least one arm"):
        make(tmp_path / "shapes", source)
    for name in ("a/b", ""):
        arm = NewArm(name, source / "arms" / "forth.json")
        with pytest.raises(ConfigError, match=f'arm "{name}": its name must be one for a file'):
            new_experiment(tmp_path / "no", [arm], source / "images", "Yes?", title="t", planned_n=1)


def test_toml_comes_back():
    facts = {
        "text": 'a "b" \\ \n\t\x7f ü', "number": 3, "real": 0.5, "yes": True, "none": [], "words": ["a", "b"],
        "table": {"a": 1, "odd key": "x", "inner": {"c": [1, 2]}}, "list": [{"a": 1}, {"a": 2, "b": {"c": "d"}}],
    }  # fmt: skip
    assert tomllib.loads(to_toml(facts)) == facts


def test_all_defaults_come_back():
    arm = {"name": "a", "teaching_set": "a.json", "target_n": 3}
    config = Config.model_validate(
        {"name": "n", "title": "t", "planned_n": 1, "consent": {"version": "1", "text": "x"}, "arms": [arm]}
    )
    facts = config.model_dump(mode="json")
    assert Config.model_validate(tomllib.loads(to_toml(facts))) == config
