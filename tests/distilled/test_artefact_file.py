"""The files of distilled sets: whatever is no such file, or was changed, is refused in one line."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tests.distilled.artefacts import SHAPE, full, made, numbers, stored
from tutelage.distilled.files import checksum, load, save
from tutelage.errors import ConfigError, DataError

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def rewritten(path, change, *, summed=True):
    """The file with something changed, and the checksum that it then has."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["tutelage distilled set"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(facts, tensors)
    if summed:
        facts["sha256"] = checksum(facts, tensors)
    save_file(tensors, path, {"tutelage distilled set": json.dumps(facts)})


def refused(path, match):
    with pytest.raises(DataError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def put(place, value):
    """What puts a value at a place in the header, such as ``init.gain``."""

    def change(facts, tensors):
        *parts, last = place.split(".")
        for part in parts:
            facts = facts[part]
        facts[last] = value

    return change


def drop(place):
    def change(facts, tensors):
        *parts, last = place.split(".")
        for part in parts:
            facts = facts[part]
        del facts[last]

    return change


def turn(name, function):
    """What turns one tensor into another."""

    def change(facts, tensors):
        tensors[name] = function(tensors[name]).contiguous()

    return change


def test_a_report_that_is_no_json_is_refused(path):
    for report in ({"images": torch.zeros(1)}, {"loss": NAN}, {(1, 2): 3}):
        with pytest.raises(ConfigError, match="must be plain JSON"):
            save(made(report=report), path)
        assert not list(path.parent.iterdir())


def test_names_that_are_numbers_come_back_as_texts(path):
    save(made(report={2: "b", 10: "a"}, log=[{1: (0.5, 2)}]), path)
    assert (load(path).report, load(path).log) == ({"2": "b", "10": "a"}, [{"1": [0.5, 2]}])


def test_files_that_are_no_sets(path):
    refused(path, "does not exist; a distilled set file is made by tutelage run dataset-dist")
    refused(path.parent, "does not exist")
    torch.save({"images": torch.zeros(1)}, path)
    refused(path, "is a pickle file, which may run code when it is read")
    torch.save({"images": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    refused(path, "is a pickle file")
    save_file({"images": torch.zeros(1)}, path)
    refused(path, "is no distilled set file; it is safetensors, but was not written by")
    path.write_bytes(b"")
    refused(path, "is no distilled set file, or cut")


@pytest.mark.parametrize("text", ["[1]", "3", "null", "{", '{"a": ' + "[" * 100_000])
def test_headers_that_are_no_header(text, path):
    save_file({"images": torch.zeros(1)}, path, {"tutelage distilled set": text})
    refused(path, "is damaged")


def test_a_file_that_begins_like_a_pickle_but_is_safetensors_is_read(path):
    """A header of 640 bytes begins with the bytes 80 02, like old pickles."""
    from tutelage.nets import load_weights

    for padding in range(1000):
        save_file({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}, path, {"filling": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    else:
        pytest.fail("no header of 640 bytes")
    assert load_weights(nn.Linear(1, 1), path) == {}


def test_a_cut_file_is_refused(path):
    save(made(), path)
    whole = path.read_bytes()
    for length in (4, 100, len(whole) - 4):
        path.write_bytes(whole[:length])
        refused(path, "is no distilled set file, or cut")


def test_a_header_longer_than_the_file_is_refused(path):
    save(made(), path)
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    refused(path, "or cut")


def test_one_other_bit_is_noticed(path):
    save(made(start=stored("fixed")), path)
    whole = bytearray(path.read_bytes())
    for place in (-1, -200, -1000):  # of different tensors
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        refused(path, "is damaged: it was changed after it was written, as its checksum tells")


def test_the_checksum_is_of_names_shapes_types_and_values():
    facts, tensors = {"a": 1, "format": 1}, {"x": torch.zeros(2, 3), "y": torch.ones(2)}
    known = checksum(facts, tensors)
    assert known == checksum({"sha256": "0", "a": 1, "format": 2}, dict(reversed(tensors.items())))
    for other in (
        {"x": torch.zeros(2, 3), "z": torch.ones(2)}, {"x": torch.zeros(3, 2), "y": torch.ones(2)},
        {"x": torch.zeros(2, 3).int(), "y": torch.ones(2)}, {"x": torch.zeros(2, 3), "y": torch.tensor([1.0, 2.0])},
    ):  # fmt: skip
        assert checksum(facts, other) != known
    assert checksum({"a": 2}, tensors) != known


@pytest.mark.parametrize(
    "change",
    [
        put("method", "other"), put("evaluation.values", [0.5, 0.75, 0.75]), put("report", {"scores": {"HLR": 0.2}}),
        turn("images", lambda t: t.flip(0)), turn("weights.1.bias", lambda t: t + 1), put("sha256", "0" * 64),
        lambda facts, tensors: tensors.update(more=torch.zeros(1)),
        lambda facts, tensors: tensors.update(images=tensors["images"].double()),
    ],
)  # fmt: skip
def test_a_file_that_was_changed_is_refused(change, path):
    save(full(), path)
    rewritten(path, change, summed=False)
    refused(path, "was changed after it was written")


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        ("format", 2, "has distilled set format 2, but this version reads 1"),
        ("objective", 3, "its header says that objective is 3, but it must be a text on one line"),
        ("method", "a\x1b[31m", r"method is 'a\\x1b\[31m', but it must be a text on one line"),
        ("classes", "abc", "classes is 'abc', but it must be a list of texts"),
        ("classes", ["a", "b", "\ud800"], "classes is .*, but it must be a list of texts"),
        ("classes", ["a"], "labels of shape .2, 3, 3., but 1 names of classes"),
        ("attack", [0], r"attack is \[0\], but it must be two classes"),
        ("attack", [0, 3], r"the attack \(0, 3\) names a class outside 0..2"),
        ("attack", "0:1", "attack is '0:1', but it must be a list of whole numbers"),
        ("attack", None, r"the objective is poisoning \(0→2\), but no attack is given"),
        ("set.epochs", 5, r"\(2,\) step sizes, but 2 batches x 5 epochs need"),
        ("set.epochs", "2", "set.epochs is '2', but it must be a whole number"),
        ("set.epochs", True, "set.epochs is True, but it must be a whole number"),
        ("set.batches", 3, "its header says something else of set.batches than the rest of it"),
        ("set.step_sizes", [0.1, 0.3], "something else of set.step_sizes.0 than"),
        ("set.labels", "class ids", "something else of set.labels than"),
        ("set.more", 1, "something else of set.more than"),
        ("more", 1, "something else of more than"),
        ("input.range", [0, 0], r"raw values are in \[0, 0\]; the end must be above 0"),
        ("input.range", [1, 2], r"must be from 0 to a number, but is \[1.0, 2.0\]"),
        ("input.range", [], "must be from 0 to a number"),
        ("input.range", [0, "x"], "input.range is .*, but it must be a list of numbers"),
        ("input.shape", [1, 4.5, 4], "input.shape is .*, but it must be a list of whole numbers"),
        ("input.shape", [1, 5, 4], r"images of shape \(1, 4, 4\), but rows of \(1, 5, 4\)|but a row has 20"),
        ("normalisation.mean", "x", "normalisation.mean is 'x', but it must be a number, or lists of numbers of equal"),
        ("normalisation.mean", [[1], [2, 3]], "normalisation.mean is .*, but it must be a number, or lists"),
        ("normalisation.mean", [], "normalisation.mean is .*, but it must be a number, or lists"),
        ("normalisation.std", 0, "every std must be above 0"),
        ("normalisation.std", NAN, "normalisation.std is nan, but it must be a number"),
        ("normalisation.zca", "yes", "normalisation.zca is 'yes', but it must be true or false"),
        ("normalisation.zca", False, "it holds the tensor zca.ma.*, which belongs to no distilled set"),
        ("augmentation", ["bend"], 'unknown operation of siamese augmentation "bend"'),
        ("augmentation", "crop", "augmentation is 'crop', but it must be a list of texts"),
        ("architecture", [], "architecture is .*, but it must be an object"),
        ("architecture.name", 5, "architecture.name is 5, but it must be a text"),
        ("architecture.name", "", "needs a name or None"),
        ("architecture.parameters", {}, "and a parameter that can be taught"),
        ("architecture.parameters", {"w": "x"}, "architecture.parameters.w is 'x', but it must be a list of whole"),
        ("architecture.freeze_buffers", 1, "architecture.freeze_buffers is 1, but it must be true or false"),
        ("init.regime", "fix", 'unknown regime of initial weights "fix"'),
        ("init.regime", "random", "a set for random initial weights has none to be stored"),
        ("init.scheme", "x", 'unknown initialisation "x"'),
        ("init.gain", -1, "the gain of the initialisation is -1.0; it must be above 0"),
        ("init.gain", "x", "init.gain is 'x', but it must be a number"),
        ("init.gain", INF, "init.gain is inf, but it must be a number"),
        ("init.gain", 10**400, "init.gain is 1000.*[.][.][.], but it must be a number"),
        ("init.seed", 0.5, "init.seed is 0.5, but it must be a whole number"),
        ("init.stored", 3, "something else of init.stored than the rest of it"),
        ("free_training.lr", "x", "free_training.lr is 'x', but it must be a number"),
        ("free_training.lr", 0, "free training: lr is 0.0; it must be above 0"),
        ("free_training.epochs", 0, "free training: epochs is 0; it must be at least 1"),
        ("free_training.batch_size", -1, "free training: batch_size is -1; it must be at least 1"),
        ("free_training.momentum", 1, "free training: momentum is 1.0; it must be at least 0 and below 1"),
        ("free_training.weight_decay", -1, "free training: weight_decay is -1.0; it must be at least 0"),
        ("free_training.augmentation", ["bend"], 'unknown operation of siamese augmentation "bend"'),
        ("free_training.more", 1, "something else of free_training.more than"),
        ("evaluation.values", [], "evaluation: 0 accuracies, 3 before, of 8 test rows; it needs at least one"),
        ("evaluation.values", [0.5, 0.75, 1.5], r"an accuracy is outside \[0, 1\]"),
        ("evaluation.values", [0.5, 0.75, NAN], "evaluation.values is .*, but it must be a list of numbers"),
        ("evaluation.before", [0.5], "evaluation: 3 accuracies, 1 before"),
        ("evaluation.rows", 0, "of 0 test rows"),
        ("evaluation.mean", 0.9, "something else of evaluation.mean than"),
        ("evaluation.fingerprint", None, "evaluation.fingerprint is None, but it must be a text"),
        ("evaluation.data", "digits", "evaluation.data is 'digits', but it must be an object"),
        ("evaluation.data", {"resize": 8}, r"judged on data with resize 8, but is for \(4, 4\)"),
        ("evaluation.data", {"classes": 4}, r"judged on data with classes 4, but is for \(3,\)"),
        ("evaluation.data", {"resize": "8"}, "the option resize of its data cannot be '8'"),
        ("evaluation.data", {"data": None}, "the option data of its data cannot be None"),
        ("evaluation.data", {"test": 1.5}, "the option test of its data cannot be 1.5"),
        ("evaluation.data", {"channels": 2}, "the option channels of its data cannot be 2"),
        ("evaluation.data", {"more": []}, r"the option more of its data cannot be \[\]"),
        ("hypergradient.truncate", "many", "hypergradient.truncate is 'many', but it must be a whole number"),
        ("hypergradient.truncate", 0, "truncate is 0; it must be at least 1 step, or None"),
        ("seed", "0", "seed is '0', but it must be a whole number"),
        ("versions", {"torch": 2}, "versions.torch is 2, but it must be a text"),
        ("versions", {"a\nb": "2"}, "versions is .*, but it must be an object with names on one line"),
        ("log", {}, "log is .*, but it must be a list of objects"),
        ("log", [1], "log is .*, but it must be a list of objects"),
        ("report", [], "report is .*, but it must be an object"),
    ],
)  # fmt: skip
def test_a_header_that_says_what_cannot_be_is_refused(place, value, match, path):
    save(full(), path)
    rewritten(path, put(place, value))
    refused(path, match)


@pytest.mark.parametrize(
    "place", ["init", "init.gain", "set", "classes", "seed", "attack", "evaluation.values", "free_training.lr", "log"]
)
def test_a_header_that_lacks_something_is_refused(place, path):
    save(full(), path)
    rewritten(path, drop(place))
    refused(path, f"is damaged: its header lacks {place}[.]")


def test_an_attack_that_the_objective_does_not_name_is_refused(path):
    save(full(), path)
    rewritten(path, put("objective", "training"))
    refused(path, "something else of objective than")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda facts, tensors: tensors.pop("step_sizes"), "it lacks the tensor step_sizes"),
        (lambda facts, tensors: tensors.pop("zca.matrix"), "it lacks the tensor zca.matrix"),
        (lambda facts, tensors: tensors.update(more=torch.zeros(1)), "it holds the tensor more, which belongs to no"),
        (turn("images", lambda t: (9 * t).byte()), "images, step sizes and weights are float32, uint8, labels"),
        (turn("images", lambda t: t.half()), "are float16, float32, labels"),
        (turn("images", lambda t: t[0, 0, 0]), r"images have shape \(4, 4\)|do not fit images|rows of"),
        (turn("images", lambda t: t.flatten()), "damaged: distilled set: "),
        (turn("images", lambda t: t * NAN), "values that are not finite in images; did a run diverge"),
        (turn("labels", lambda t: t * INF), "values that are not finite in labels"),
        (turn("labels", lambda t: t[..., :0]), r"labels of shape \(2, 3, 0\), but 3 names of classes"),
        (turn("labels", lambda t: t.half()), "labels torch.float16; they must be float32 or float64, class ids int64"),
        (turn("step_sizes", lambda t: t.long() + 1), "are float32, int64, labels"),
        (turn("step_sizes", lambda t: t * NAN), "values that are not finite in step sizes"),
        (turn("step_sizes", lambda t: -t), "step sizes must be above 0"),
        (turn("weights.1.bias", lambda t: t * INF), "values that are not finite in 1.bias"),
        (turn("weights.1.bias", lambda t: t[:1]), r"stored weights need one axis of networks in front.* 1.bias \(1, 8"),
        (turn("weights.1.bias", lambda t: t[0, 0]), "stored weights need one axis of networks in front"),
        (turn("weights.1.bias", lambda t: t.long()), "are float32, int64, labels"),
        (turn("weights.1.bias", lambda t: t[:, :4]), "the stored weights are not those of mlp-8"),
        (turn("zca.mean", lambda t: t[:9]), r"a mean of shape \(9,\) and a matrix of \(16, 16\), but a row has 16"),
        (turn("zca.matrix", lambda t: t * NAN), "its mean and matrix must be finite real numbers"),
    ],
)
def test_tensors_that_cannot_be_are_refused(change, match, path):
    save(full(), path)
    rewritten(path, change)
    refused(path, match)


def test_labels_of_other_types_are_refused(path):
    for to in (torch.int32, torch.uint8, torch.bool):
        save(made(), path)
        rewritten(path, turn("labels", lambda t, to=to: t.to(to)))
        refused(path, f"labels {to}; they must be float32 or float64, class ids int64")


def test_stored_weights_of_no_network_are_refused(path):
    save(full(), path)
    rewritten(
        path, lambda f, tensors: tensors.update({n: t[:0] for n, t in tensors.items() if n.startswith("weights")})
    )
    refused(path, "stored weights need one axis of networks in front")


def test_classes_may_have_any_name(path):
    save(made(classes=("a\tb", "[red]", "☃")), path)
    assert load(path).classes == ("a\tb", "[red]", "☃")


def test_the_file_names_a_network_of_any_size_but_none_is_made_of_another(path, monkeypatch):
    save(made(), path)
    rewritten(path, put("architecture.name", "mlp-999999999"))
    monkeypatch.setattr(nn.Module, "__call__", None)  # not even run
    with pytest.raises(Exception, match=r"mlp-999999999 is not mlp-999999999 as in the file: 1.bias is \(999999999,\)"):
        load(path).train()


def test_numbers_of_images_are_no_matter_of_rounding(path):
    images = numbers(2, 3, *SHAPE, dtype=torch.float64)
    save(made(distilled=made().distilled.__class__(images, torch.arange(3), torch.full((2,), 0.1).double())), path)
    assert torch.equal(load(path).distilled.images, images)
