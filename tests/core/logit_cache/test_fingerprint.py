"""What stored logits depend on: every change is refused, and named."""

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.data import Augmentation, Crop, Flip, Pipeline, from_arrays
from tutelage.errors import CheckpointError, ConfigError
from tutelage.frozen import Frozen
from tutelage.logit_cache import NotCacheable, Storage, cached_logits
from tutelage.logit_cache.fingerprint import check_same, digest
from tutelage.logit_cache.inputs import Inputs

from .common import CLASSES, Linear, rows, source

AUGMENTATION = Augmentation(Crop(1), Flip())
TRANSFORMS = "transform.1.augment.augmentation.transforms"


def halved(pair):
    x, y = pair
    return x.float() / 2, y


def doubled(pair):
    x, y = pair
    return x.float() * 2, y


def refused(path, teacher, data, **options):
    """The message of a cache that was made of `Linear()` and `rows()`, asked for something else."""
    with pytest.raises(CheckpointError) as caught:
        cached_logits(teacher, data, epochs=2, path=path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path} does not fit: ")
    assert text.endswith(
        ". Remove it, or give another path; without a path every teacher and every data set gets a file of its own."
    )
    return text.removeprefix(f"{path} does not fit: ").partition(". Remove")[0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "a.logits"
    views = rows_of(AUGMENTATION)
    assert cached_logits(Linear(), views, epochs=2, path=path).file is not None
    return path


def rows_of(augmentation=AUGMENTATION, *, seed=0, views=2, data=None, index=None, labels=None):
    chosen = source() if data is None else data
    return Pipeline.from_source(chosen, labels, index, seed=seed).augment(augmentation, views=views)


def test_the_same_again_is_accepted(path):
    for data in (rows_of(), rows_of().shuffle(), rows_of().shuffle().repeat(), rows_of().prefetch(2)):
        assert cached_logits(Linear(), data, epochs=2, path=path).file is not None


def test_another_teacher(path):
    assert refused(path, Linear(seed=1), rows_of()) == "the teacher has changed (tensor weight)"
    assert refused(path, Linear(name="b"), rows_of()) == "the teacher has changed (name)"
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Linear(8, CLASSES))
    assert refused(path, Frozen(net), rows_of()).startswith(
        "the teacher has changed (architecture, attributes, attributes 0 and 10 more)"
    )


@pytest.mark.parametrize("name", ["1.running_mean", "1.num_batches_tracked", "2.weight"])
def test_one_bit_of_a_buffer_or_of_a_parameter(tmp_path, name):
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, CLASSES))
    cached_logits(Frozen(net), rows(), epochs=2, path=tmp_path / "a")
    tensor = net.state_dict()[name]
    tensor.view(-1).view(torch.uint8)[0] ^= 1
    assert refused(tmp_path / "a", Frozen(net), rows()) == f"the teacher has changed (tensor {name})"


def test_one_byte_of_the_data(path):
    x = source().x.copy()
    x[59, 0, 5, 5] ^= 1
    changed = from_arrays(x, source().y, num_classes=CLASSES)
    text = refused(path, Linear(), rows_of(data=changed))
    assert text.startswith("data.source 0 was arrays of 60, ")
    assert ";" not in text


def test_other_rows(path):
    text = refused(path, Linear(), rows_of(index=np.arange(59)))
    assert "data.rows was 60, is 59" in text
    assert "data.ids was " in text


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"augmentation": Augmentation(Crop(2), Flip())}, f"{TRANSFORMS}.0.crop.padding was 1, is 2"),
        ({"augmentation": Augmentation(Crop(1), Flip(0.25))}, f"{TRANSFORMS}.1.flip.prob was 0.5, is 0.25"),
        ({"augmentation": Augmentation(Crop(1))}, f"{TRANSFORMS}.1.flip was flip, is absent"),
        ({"views": 3}, "views was 2 of seed 0, is 3 of seed 0"),
        ({"seed": 1}, "views was 2 of seed 0, is 2 of seed 1"),
    ],
)
def test_another_transform(path, data, field):
    assert field in refused(path, Linear(), rows_of(**data)).split("; ")


def test_another_form(path):
    assert refused(path, Linear(), rows_of(), storage=Storage("float32")) == "storage was float16, is float32"
    assert "storage was float16, is top 2 in float16, T 1, 2..." in refused(
        path, Linear(), rows_of(), storage=Storage(top=2)
    )


def test_another_function_or_type(tmp_path):
    plain = Pipeline.from_source(source())
    cached_logits(Linear(), plain.map(halved), epochs=2, path=tmp_path / "a")
    text = refused(tmp_path / "a", Linear(), plain.map(doubled))
    assert "transform.1.map.f.0 was " in text
    assert "halved" in text or "tests.core" in text
    text = refused(tmp_path / "a", Linear(), plain)
    assert "input was torch.float32 (1, 6, 6), is torch.uint8 (1, 6, 6)" in text


def test_a_lambda_cannot_be_told_from_another_one():
    data = Pipeline.from_source(source()).map(lambda pair: pair)
    live = cached_logits(Linear(), data, epochs=2)
    assert live.file is None
    assert "a lambda cannot be told from another one" in live.reason
    with pytest.raises(ConfigError, match=r'mode="force", but logits cannot be kept: map: a lambda cannot be told'):
        cached_logits(Linear(), data, epochs=2, mode="force")
    versioned = Pipeline.from_source(source()).map(lambda pair: pair, version="1")
    assert cached_logits(Linear(), versioned, epochs=2).file is not None


class Items:
    """A data set that is only read item by item."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], 0


def test_data_that_are_not_read_as_a_whole_are_marked(tmp_path):
    x = torch.rand(50, 36)
    facts = Inputs(Pipeline.from_dataset(Items(x)), "7").facts()
    assert facts["data.sample"].startswith("weak, ")
    assert facts["data.version"] == "7"
    cached_logits(Linear(), Pipeline.from_dataset(Items(x)), epochs=2, path=tmp_path / "a", version="7")
    text = refused(tmp_path / "a", Linear(), Pipeline.from_dataset(Items(x)), version="8")
    assert text == "data.version was 7, is 8"
    x[1, 0] += 1  # one of the 64 that are read here, not of the 16 of the reader
    assert "data.sample was weak, " in refused(tmp_path / "a", Linear(), Pipeline.from_dataset(Items(x)), version="7")
    assert "data.sample" not in Inputs(rows()).facts()


def test_without_a_path_everything_has_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    first = cached_logits(Linear(), rows(), epochs=2)
    again = cached_logits(Linear(), rows(), epochs=2)
    other = cached_logits(Linear(seed=1), rows(), epochs=2)
    assert first.file.path == again.file.path != other.file.path
    assert first.file.path == tmp_path / "logits" / f"{digest(first.file.layout.facts)[:32]}.logits"
    assert len(list((tmp_path / "logits").glob("*.logits"))) == 2


def test_which_pipelines_can_be_kept():
    plain = Pipeline.from_source(source())
    with pytest.raises(ConfigError, match=r"the elements are batches; give the pipeline as it is before batch\(n\)"):
        cached_logits(Linear(), plain.batch(8), epochs=2)
    by_position = r"rows cannot be had by position, in the same order in every pass; leave out .*materialise=True\)"
    drawn = Pipeline.sample_from([plain, plain])
    for data in (plain.filter(lambda pair: bool(pair[1] < 3)), plain.shuffle().take(10), drawn):
        with pytest.raises(NotCacheable, match=by_position):
            Inputs(data)
    assert len(Inputs(plain.filter(lambda pair: bool(pair[1] < 3), materialise=True))) == 36
    twice = plain.concatenate(plain).map(halved)
    assert Inputs(twice).index.tolist() == list(range(120))
    with pytest.raises(NotCacheable, match="one index names several rows; give each row once"):
        Inputs(plain.repeat().take(90))


def test_all_differences_are_named():
    stored = {"a": "1", "b": "2", "teacher.x": "1", "long": "0123456789" * 5}
    with pytest.raises(CheckpointError) as caught:
        check_same("it", stored, {"b": "3", "c": "4", "teacher.x": "2", "long": "0"})
    assert str(caught.value).startswith(
        "it does not fit: the teacher has changed (x); a was 1, is absent; b was 2, is 3; c was absent, is 4; long was "
        "012345678901234567890123..., is 0. Remove it"
    )
    many = {f"teacher.tensor {k}": "1" for k in range(6)}
    with pytest.raises(CheckpointError, match=r"the teacher has changed \(tensor 0, tensor 1, tensor 2 and 3 more\)"):
        check_same("it", many, {})
    check_same("it", stored, dict(reversed(stored.items())))
    assert digest(stored) == digest(dict(reversed(stored.items())))
    assert digest({"a": "1"}) == "452647e07c48d5e6dbdad452d4f4715de98ad66f3397952966e13ffa37b3523f"
