"""Files that are found at the start: taken, refused, or set aside; and what makes them others."""

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.data import Pipeline
from tutelage.errors import CheckpointError, ConfigError
from tutelage.frozen import Frozen
from tutelage.logit_cache import Storage, cached_logits

from .common import CLASSES, Linear, rows, source


def kept(data=None, *, teacher=None, **options):
    return cached_logits(teacher or Linear(), rows() if data is None else data, epochs=10, **options)


class Lying(Linear):
    """Has the fingerprint of another one."""

    off = 0.0

    def answers(self, x):
        return super().answers(x) + self.off


def test_a_file_of_the_cache_that_is_wrong_is_set_aside_and_made_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    teacher = Lying()
    file = kept(teacher=teacher).file.path
    old = file.read_bytes()
    teacher.off = 50.0
    with pytest.raises(CheckpointError, match=r"the logits of example \d+ \(view 0\) differ from the teacher's by 50"):
        kept(teacher=teacher, mode="force")
    assert capsys.readouterr().err == ""
    answers = kept(teacher=teacher)
    assert answers.file.path == file
    assert not answers.reused
    aside = file.with_name(f"{file.name}.refused")
    assert aside.read_bytes() == old
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}: the logits of example ")
    assert line.endswith(f"less than 32 bits. It is set aside as {aside}, and made anew.")
    batch = next(rows().batch(16).batches())
    torch.testing.assert_close(answers.answers_for(batch), teacher.answers(batch.x), rtol=2**-11, atol=1e-4)
    assert kept(teacher=teacher).reused
    named = tmp_path / "named"
    kept(teacher=teacher, path=named)
    teacher.off = 0.0
    with pytest.raises(CheckpointError, match=r"named: the logits of example"):
        kept(teacher=teacher, path=named)
    assert named.is_file()


def test_inputs_of_the_cache_that_are_others_are_made_anew(tmp_path, monkeypatch, capsys):
    """A data set that is too large to be read as a whole may change without another fingerprint."""
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))

    class Items:
        def __init__(self):
            self.x = torch.arange(1000 * 36.0).view(1000, 36).sin()

        def __len__(self):
            return 1000

        def __getitem__(self, i):
            return self.x[i], 0

    items = Items()
    sampled = {*np.linspace(0, 999, 16).astype(int), *np.linspace(0, 999, 64).astype(int), 0}
    others = [i for i in range(1000) if i not in sampled]
    assert not kept(Pipeline.from_dataset(items)).reused
    items.x[others] += 0.1
    answers = kept(Pipeline.from_dataset(items))
    assert not answers.reused
    assert "the input of example" in capsys.readouterr().err
    batch = next(Pipeline.from_dataset(items).batch(1000).batches())
    answers.answers_for(batch)


def test_a_file_that_is_wrong_though_it_was_just_made_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))

    class Drifting(Linear):
        def answers(self, x):
            return super().answers(x) + 50 * (self.calls > 4)

    with pytest.raises(CheckpointError, match="differ from the teacher's by 50"):
        kept(teacher=Drifting())


def test_every_start_looks_at_other_rows(tmp_path):
    """One wrong row of sixty is found by and by, though eight are asked for at a time."""

    class Almost(Linear):
        def answers(self, x):
            found = super().answers(x)
            found[(x.flatten(1) == self.wrong).all(1)] += 50 * self.off
            return found

    teacher = Almost()
    teacher.wrong, teacher.off = next(rows().batch(60).batches()).x[33].flatten(), False
    kept(teacher=teacher, path=tmp_path / "a")
    teacher.off = True
    found = []
    for _ in range(40):
        try:
            kept(teacher=teacher, path=tmp_path / "a")
        except CheckpointError:
            found.append(True)
        else:
            found.append(False)
    assert 1 <= sum(found) <= 20  # 8 of 60 are 5.3 of 40


def test_the_sums_of_the_others_are_compared_too(tmp_path):
    """A teacher whose two largest logits stay, and whose others move."""

    class Others(Linear):
        moved = 0.0

        def answers(self, x):
            z = super().answers(x)
            return z.scatter_add(1, z.argsort(1)[:, :-2], torch.full_like(z, self.moved))

    teacher, storage = Others(), Storage("float32", top=2, temperatures=(0.5, 1.0, 4.0))
    kept(teacher=teacher, storage=storage, path=tmp_path / "a")
    assert kept(teacher=teacher, storage=storage, path=tmp_path / "a").reused
    teacher.moved = -0.5
    with pytest.raises(CheckpointError, match=r"differ from the teacher's by 1; remove"):  # .5 / T at T = .5
        kept(teacher=teacher, storage=storage, path=tmp_path / "a")
    full = Storage("float16", top=CLASSES)
    kept(teacher=teacher, storage=full, path=tmp_path / "b")
    assert kept(teacher=teacher, storage=full, path=tmp_path / "b").reused  # log 0 is log 0


class Scaled(nn.Module):
    """Its plain attribute is in no tensor, and not in its text."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
        self.scale, self.passes, self.shapes = scale, 0, None
        nn.init.ones_(self.inner[1].weight)
        nn.init.zeros_(self.inner[1].bias)

    def forward(self, x):
        self.shapes = x.shape[1:] if self.shapes is None else self.shapes  # once, as a table of positions is made
        return self.inner(x) * self.scale


def test_a_plain_attribute_of_the_teacher_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    first = kept(teacher=Frozen(Scaled()), mode="force")
    assert kept(teacher=Frozen(Scaled())).reused
    other = kept(teacher=Frozen(Scaled(2.0)))
    assert first.file.path != other.file.path
    batch = next(rows().batch(16).batches())
    torch.testing.assert_close(other.answers_for(batch), 2 * first.answers_for(batch))
    with pytest.raises(CheckpointError, match=r"does not fit: the teacher has changed \(attributes\)\. Remove it"):
        kept(teacher=Frozen(Scaled(2.0)), path=first.file.path)


def test_a_teacher_that_changes_as_it_answers_is_live():
    class Counting(Scaled):
        def forward(self, x):
            self.passes += 1
            return super().forward(x)

    reason = "the teacher changes as it answers: attributes; a frozen one does not"
    assert kept(teacher=Frozen(Counting())).reason == f"{reason}."
    with pytest.raises(ConfigError, match=f"logits cannot be kept: {reason}"):
        kept(teacher=Frozen(Counting()), mode="force")


def scaled_by(factor):
    def scale(pair):
        return pair[0].float() * factor, pair[1]

    return scale


def test_what_a_function_closes_over_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    plain = Pipeline.from_source(source())
    first, again, other = (kept(plain.map(scaled_by(f)), teacher=Linear(scale=1e-3)) for f in (2, 2, 3))
    assert (first.reused, again.reused, other.reused) == (False, True, False)
    assert first.file.path == again.file.path != other.file.path
    for factor, answers in ((2, again), (3, other)):
        batch = next(plain.map(scaled_by(factor)).batch(16).batches())
        answers.answers_for(batch)
    assert capsys.readouterr().err == ""
    with pytest.raises(CheckpointError, match=r"does not fit: transform\.1\.map\.f\.2 was [0-9a-f]{24}\.\.\., is "):
        kept(plain.map(scaled_by(3)), teacher=Linear(scale=1e-3), path=first.file.path)
