"""Experiments with people, for tests: the released ones, where they are at hand, and small ones."""

import pytest

from tutelage.explain_teach import Experiment, Session, Settings, Strategy, TeachingImage

EXPERIMENTS = ("butterflies_crop", "chinese_chars", "chinese_chars_crowd")
_read = {}


def released(real_data, name):
    folder = real_data / "explain_teach" / name
    if not (folder / "results.json").is_file():
        pytest.skip(f"{folder} has no answers")
    if name not in _read:
        _read[name] = Experiment.read(folder)
    return _read[name]


def session(images, labels, is_train, responses=None, times=None, **facts):
    told = {
        "completion_time": "2017-11-13 20:14:55",
        "strategy": "random",
        "image_id": tuple(images),
        "response": tuple(labels if responses is None else responses),
        "gt_label": tuple(labels),
        "is_train": tuple(is_train),
        "time": times or tuple(f"10:00:{2 * i:02d}" for i in range(len(images))),
        "score": 0.0,
        "mturk_code": "somebody",
        "experiment_id": 1,
    }
    return Session(**{**told, **facts})


def experiment(sessions, labels, *, times=None, test=(), strategies=None, name="small"):
    """An experiment of two classes; a session is (images, labels, is_train), or one that is made."""
    images = tuple(TeachingImage(class_label=c, image_url=f"images/{'ab'[c]}/{i}.png") for i, c in enumerate(labels))
    teaching = tuple(i for i in range(len(labels)) if i not in test)
    settings = Settings(
        class_names=("a", "b"), train_indices=teaching, test_indices=tuple(test), test_sequence=(-1,) * len(test),
        experiment_id=1, scale=2.0,
    )  # fmt: skip
    made = tuple(s if isinstance(s, Session) else session(*s, times=times) for s in sessions)
    return Experiment(name, settings, images, strategies or {}, made)


def write_small(folder):
    """Write an experiment of four images, two of them for the test, with a fixed and a random sequence."""
    strategies = {
        "fixed": Strategy(num_train=2, display_explain_image=(0, 1), im_ids=(1, 0)),
        "random": Strategy(num_train=2, display_explain_image=0),
    }
    answers = {"gt": (1, 0, 1, 0), "images": (1, 0, 3, 2)}
    people = [
        session(answers["images"], answers["gt"], (1, 1, 0, 0), responses, strategy=arm, mturk_code=code)
        for code, arm, responses in (
            ("=one", "fixed", (1, 0, 1, 1)), ("two", "fixed", (0, 0, 1, 0)), ("two", "fixed", (0, 0, 1, 0)),
            ("three", "random", (0, 0, 0, 1)),
        )
    ]  # fmt: skip
    experiment(people, (0, 1, 0, 1), test=(2, 3), strategies=strategies).write(folder)
    return folder
