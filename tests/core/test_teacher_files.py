"""Teacher files: the same bytes, the same teacher, and one line for what is none."""

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tutelage import SGD, Student, __version__, train
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.rules import Adam
from tutelage.teacher_files import KINDS, load_teacher, save_teacher, teacher_facts
from tutelage.teachers import DeepInteractions, DynamicLoss, KeepMask, MetaWeightNet, Uniform
from tutelage.testing import tiny_batch, tiny_net

ORIGIN = {"data": "digits", "noise": "pair-flip 0.4", "seed": 3, "metrics": {"accuracy": 0.94}}
KEY = "tutelage teacher"
FORMS = {
    "deep": lambda **o: DeepInteractions("deep", **({"features": 8, "classes": 3} | o)),
    "bilinear": lambda **o: DeepInteractions("bilinear", features=8, classes=3, width=5, **o),
    "surface": lambda **o: DeepInteractions("surface", classes=3, normalise="mean", seed=4, **o),
    "layers": lambda **o: DeepInteractions("deep", features=8, classes=3, layers=("2",), window="back", **o),
    "meta-weight-net": lambda **o: MetaWeightNet(hidden=(7, 5), **o),
    "keep-mask": lambda **o: KeepMask(3, hidden=4, state=("loss", "label"), lr=0.1, **o),
    "dynamic-loss": lambda **o: DynamicLoss(3, form="paper", slots=2, steps=2, every=2, **o),
}


def student(seed=3, classes=3, width=8):
    if (classes, width) == (3, 8):
        return Student(tiny_net(), SGD(0.1, momentum=0.9), seed=seed)
    net = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, classes))
    return Student(net.double(), SGD(0.1), seed=seed)


def go_on(teacher, pupil, first, last):
    for _ in train(pupil, teacher, [tiny_batch(seed=k) for k in range(first, last)], tiny_batch(seed=99)):
        pass


def learned(form, **options):
    """A teacher that has learned a little."""
    teacher = FORMS[form](**options).double()
    go_on(teacher, student(), 0, 7)
    if form == "keep-mask":
        teacher.rewarded(1.25)
        go_on(teacher, student(), 7, 9)
    return teacher


def parts(path):
    """Tensors and facts of a file."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[KEY])  # noqa: SIM118


@pytest.mark.parametrize("form", FORMS)
def test_a_file_gives_the_same_teacher_and_the_same_bytes(tmp_path, form):
    one = learned(form)
    save_teacher(one, tmp_path / "a", ORIGIN)
    other = load_teacher(tmp_path / "a")
    assert type(other) is type(one)
    assert other.arguments == one.arguments
    for (name, p), (same, q) in zip(one.named_parameters(), other.named_parameters()):
        assert name == same
        assert torch.equal(p, q)
        assert q.requires_grad
    first, second = (t.teach(tiny_batch(seed=50), student()) for t in (FORMS[form]().double(), other))
    lesson = load_teacher(tmp_path / "a").teach(tiny_batch(seed=50), student())
    for part in ("weight", "target"):
        assert torch.equal(getattr(second, part), getattr(lesson, part))
    assert not (torch.equal(first.weight, lesson.weight) and torch.equal(first.target, lesson.target))
    save_teacher(other, tmp_path / "b", ORIGIN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert {f.name for f in tmp_path.iterdir()} == {"a", "b"}
    go_on(other, student(), 9, 16)
    if form != "keep-mask":  # it is not frozen
        assert not all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters()))


@pytest.mark.parametrize("form", FORMS)
def test_what_a_run_leaves_behind_is_not_in_the_file(tmp_path, form):
    teacher = learned(form)
    save_teacher(teacher, tmp_path / "a", ORIGIN)
    tensors, _ = parts(tmp_path / "a")
    own = {"episode", "baseline", "best_return", "stale"} if form == "keep-mask" else set()
    assert tensors.keys() == {name for name, _ in teacher.named_parameters()} | own
    teacher.look_ahead.freeze() if form != "keep-mask" else teacher.freeze()
    save_teacher(teacher, tmp_path / "b", ORIGIN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_counters_of_a_keep_mask_go_on(tmp_path):
    save_teacher(learned("keep-mask"), tmp_path / "a", ORIGIN)
    teacher = load_teacher(tmp_path / "a")
    assert (int(teacher.episode), float(teacher.baseline), float(teacher.best_return)) == (1, 1.25, 1.25)
    assert int(teacher.gathered.lessons) == 0
    save_teacher(KeepMask(3), tmp_path / "new", {})
    assert float(load_teacher(tmp_path / "new").best_return) == -math.inf


def test_the_header_can_be_read_without_tutelage(tmp_path):
    save_teacher(learned("keep-mask"), tmp_path / "a", ORIGIN)
    _, facts = parts(tmp_path / "a")
    arguments = {"classes": 3, "hidden": 4, "bias": 2.0, "lr": 0.1, "decay": 0.8, "seed": 0, "state": ["loss", "label"]}
    origin = ORIGIN | {"tutelage": __version__}
    assert facts == {"format": 1, "teacher": "keep-mask", "arguments": arguments, "origin": origin}
    assert teacher_facts(tmp_path / "a") == {"teacher": "keep-mask", "arguments": arguments, "origin": origin}
    assert list(KINDS) == ["deep-interactions", "meta-weight-net", "keep-mask", "dynamic-loss"]


def test_changes(tmp_path):
    save_teacher(learned("deep"), tmp_path / "a", ORIGIN)
    other = load_teacher(tmp_path / "a", steps=2, every=1, rule=Adam(0.5))
    assert (other.look_ahead.steps, other.look_ahead.every, other.ahead) == (2, 1, 1)
    assert other.look_ahead.optimiser.rule == Adam(0.5)
    assert other.arguments["steps"] == 2
    with pytest.raises(ConfigError, match=r"a cannot be loaded with stepps: .*unexpected keyword argument 'stepps'"):
        load_teacher(tmp_path / "a", stepps=2)
    with pytest.raises(
        ConfigError, match=r'with features: the tensor "scorer.features.weight" has shape \(64, 8\); .*9'
    ):
        load_teacher(tmp_path / "a", features=9)
    with pytest.raises(ConfigError, match="steps is 0; it must be at least 1"):
        load_teacher(tmp_path / "a", steps=0)


def test_students_that_do_not_fit(tmp_path):
    for form in FORMS:
        save_teacher(learned(form), tmp_path / form, ORIGIN)
        teacher = load_teacher(tmp_path / form)
        if form != "meta-weight-net":  # it sees the loss alone
            with pytest.raises(ShapeError, match=r"this teacher was made for 3 classes, .* \(12, 4\)") as error:
                teacher.teach(tiny_batch(), student(classes=4))
            assert "\n" not in str(error.value)
        if form in ("deep", "bilinear"):
            with pytest.raises(ShapeError, match="this teacher was made for 8 features, but the student has 9"):
                teacher.teach(tiny_batch(), student(width=9))


def test_files_that_are_no_teachers(tmp_path):
    path = tmp_path / "t.safetensors"
    with pytest.raises(DataError, match=r"t\.safetensors does not exist; a teacher file is made by save_teacher"):
        load_teacher(path)
    for content in (b"", b"not safetensors at all", b"\x80\x04pickle"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"t\.safetensors is no teacher file, or cut"):
            load_teacher(path)
    save_file({"out.weight": torch.ones(1)}, path)
    with pytest.raises(DataError, match="is no teacher file; it is safetensors, but was not written by save_teacher"):
        teacher_facts(path)


def test_a_file_cut_anywhere(tmp_path):
    path = tmp_path / "t.safetensors"
    save_teacher(learned("surface"), path, ORIGIN)
    whole = path.read_bytes()
    for length in (1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="is no teacher file, or cut") as error:
            load_teacher(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, f: f.update(format=2), "has teacher format 2, but this version reads 1"),
        (lambda t, f: f.pop("format"), "is damaged: KeyError"),
        (lambda t, f: f.pop("arguments"), "is damaged: KeyError"),
        (lambda t, f: f.update(teacher="keep-msk"), 'is damaged: .*unknown kind of teacher "keep-msk".*"keep-mask"'),
        (lambda t, f: f.update(arguments=3), "is damaged: TypeError"),
        (lambda t, f: f["arguments"].update(colour="red"), "is damaged: TypeError"),
        (lambda t, f: f["arguments"].update(decay=2.0), r"is damaged: .*decay 2\.0"),
        (
            lambda t, f: f["arguments"].update(hidden=6),
            r'the tensor "net.0.weight" has shape \(4, 4\); .*with \(6, 4\)',
        ),
        (lambda t, f: t.pop("episode"), r'the tensor "episode" is missing; this KeepMask needs it with \(\)'),
        (lambda t, f: t.update(more=torch.ones(3)), 'this KeepMask has no tensor "more"'),
    ],
)
def test_damaged_files(tmp_path, change, message):
    path = tmp_path / "t.safetensors"
    save_teacher(learned("keep-mask"), path, ORIGIN)
    tensors, facts = parts(path)
    change(tensors, facts)
    save_file(tensors, path, {KEY: json.dumps(facts)})
    with pytest.raises(DataError, match=message) as error:
        load_teacher(path)
    assert "\n" not in str(error.value)
    for header in ("{", "[1]", "3"):
        save_file(tensors, path, {KEY: header})
        with pytest.raises(DataError, match="is damaged: "):
            load_teacher(path)


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "t.safetensors"
    for origin in ({"by": object()}, {"x": math.nan}):
        with pytest.raises(ConfigError, match="the origin of a teacher must be plain JSON"):
            save_teacher(KeepMask(3), path, origin)
    with pytest.raises(ConfigError, match="a Uniform cannot be kept in a file, only DeepInteractions, "):
        save_teacher(Uniform(), path, {})
    with pytest.raises(DataError, match="cannot be written"):
        save_teacher(KeepMask(3), tmp_path / "no folder" / "t.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_a_file_that_stood_there_stays_if_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "t.safetensors"
    save_teacher(KeepMask(3), path, ORIGIN)
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        save_teacher(KeepMask(4), path, {"x": math.inf})
    assert path.read_bytes() == before
