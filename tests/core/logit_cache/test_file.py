"""Files of logits: layout, damage, resuming, one writer."""

import copy
import pickle
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch

from tutelage.errors import CheckpointError, DataError, ShapeError, StaleTarget
from tutelage.logit_cache import LogitFile, Storage
from tutelage.logit_cache.filling import fill
from tutelage.logit_cache.inputs import Inputs
from tutelage.logit_cache.layout import Layout
from tutelage.logit_cache.measures import Products, measure_of
from tutelage.logit_cache.part import Part

from .common import CLASSES, Linear, rows


def planned(inputs, storage=Storage("float32"), classes=CLASSES, **facts):  # noqa: B008 - frozen
    return Layout({"a": "1", **facts}, inputs.index, inputs.views, classes, storage, measure_of(inputs))


def made(path, n=60, *, index=None, storage=Storage("float32"), teacher=None, size=16):  # noqa: B008 - frozen
    inputs = Inputs(rows(n, index))
    layout = planned(inputs, storage)
    fill(path, layout, teacher or Linear(), inputs, batch_size=size)
    return LogitFile(path), inputs


def test_rows_come_back_by_their_ids_in_any_order(tmp_path):
    index = np.array([50, 3, 7, 41, 20, 8])
    file, inputs = made(tmp_path / "a", index=index)
    assert inputs.index.tolist() == sorted(index.tolist())
    asked = torch.tensor([8, 50, 3, 3, 41])
    z = file.logits(file.entries(asked, None), torch.float32)
    x = torch.cat([inputs.at(np.searchsorted(inputs.index, [i]), 0) for i in asked.tolist()])
    torch.testing.assert_close(z, Linear().answers(x), rtol=0, atol=1e-4)
    stored, norm = file.seen(file.entries(asked, None))
    measure = file.layout.measure
    np.testing.assert_allclose(stored, measure.measured(x).numpy(), atol=1e-5 * norm.max())
    assert isinstance(measure, Products)
    assert np.array_equal(measure.exponent, measure_of(inputs).exponent)
    scaled = x.flatten(1) * 0.5 ** torch.from_numpy(measure.exponent).float()
    np.testing.assert_allclose(norm[:, 0], scaled.norm(dim=1), rtol=2**-8)


def test_the_file_is_hardly_larger_than_its_logits(tmp_path):
    n, classes = 4000, 100
    teacher = Linear(4, classes)
    inputs = Inputs(rows(n, shape=(1, 2, 2)))
    fill(tmp_path / "a", planned(inputs, Storage(), classes), teacher, inputs)
    assert (tmp_path / "a").stat().st_size <= 1.1 * n * classes * 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a.lock", "a"]


def test_the_same_logits_give_the_same_bytes(tmp_path):
    made(tmp_path / "a")
    made(tmp_path / "b", index=np.arange(60)[::-1].copy())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_one_row(tmp_path):
    file, _ = made(tmp_path / "a", index=np.array([17]))
    assert file.entries(torch.tensor([17]), None).tolist() == [0]


def test_unknown_examples_and_views(tmp_path):
    file, _ = made(tmp_path / "a", index=np.array([3, 5, 9]))
    for strange in (0, 4, 10, 10**12):
        with pytest.raises(
            DataError, match=rf"has no logits of example {strange}; make it of all rows that are taught"
        ):
            file.entries(torch.tensor([3, strange]), None)
    assert file.entries(torch.tensor([9, 3]), torch.tensor([0, 0])).tolist() == [2, 0]
    with pytest.raises(StaleTarget, match=r"has 1 views of each row, but the batch holds view 1; declare as many"):
        file.entries(torch.tensor([9, 3]), torch.tensor([0, 1]))


def test_copies_read_the_same_memory_map(tmp_path):
    file, _ = made(tmp_path / "a")
    entries = torch.arange(10)
    for other in (pickle.loads(pickle.dumps(file)), copy.deepcopy(file)):  # noqa: S301
        assert torch.equal(other.logits(entries, torch.float32), file.logits(entries, torch.float32))
    assert len(pickle.dumps(file)) < 1000
    frozen = pickle.dumps(file)
    inputs = Inputs(rows())
    (tmp_path / "a").unlink()
    fill(tmp_path / "a", planned(inputs, a="2"), Linear(), inputs)
    with pytest.raises(CheckpointError, match="a does not fit: a was 2, is 1"):
        pickle.loads(frozen)  # noqa: S301
    (tmp_path / "a").unlink()
    with pytest.raises(CheckpointError, match="a does not exist"):
        pickle.loads(frozen)  # noqa: S301


def test_nobody_can_change_the_file_through_what_was_read(tmp_path):
    file, _ = made(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    file.logits(torch.arange(60), torch.float32).fill_(0)
    file._columns["logits"].fill_(0)
    assert (tmp_path / "a").read_bytes() == before


# Damage --------------------------------------------------------------------------------------------------------------


def damaged(path, change):
    content = bytearray(path.read_bytes())
    path.write_bytes(bytes(change(content) or content))
    with pytest.raises(CheckpointError) as caught:
        LogitFile(path)
    return str(caught.value)


def test_every_cut_is_found(tmp_path):
    made(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    header = 24 + struct.unpack("<16sII", content[:24])[1]
    needed = {
        0: "is empty; remove it",
        10: "holds no logits of a teacher; give another path",
        23: "holds no logits of a teacher; give another path",
        header - 1: f"is cut: its header has {header - 25} of {header - 24} bytes; remove it",
        header + 80: "is cut or damaged: Error -5 while decompressing data: incomplete or truncated stream; remove it",
        1500: f"is cut or damaged: it has 1,500 bytes, needs {len(content):,}; remove it",
        len(content) - 1: f"it has {len(content) - 1:,} bytes, needs {len(content):,}; remove it",
    }
    for size, text in needed.items():
        path = tmp_path / "cut"
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError) as caught:
            LogitFile(path)
        assert text in str(caught.value), size
    (tmp_path / "cut").write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match=f"it has {len(content) + 1:,} bytes"):
        LogitFile(tmp_path / "cut")


def test_flipped_bits_are_found(tmp_path):
    made(tmp_path / "a", 4)
    content = (tmp_path / "a").read_bytes()
    for at in (*range(0, len(content), 5), *range(len(content) - 16, len(content))):
        (tmp_path / "b").write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        with pytest.raises(CheckpointError, match=r"damaged|holds no logits|is cut|is not complete"):
            LogitFile(tmp_path / "b")


def test_a_file_that_is_not_complete_or_of_another_version(tmp_path):
    path = tmp_path / "a"
    made(path)
    content = path.read_bytes()
    assert "is not complete; remove it" in damaged(path, lambda c: c[:-16] + b"unfinished".ljust(16))
    length = struct.unpack("<16sII", content[:24])[1]
    text = content[24 : 24 + length].replace(b'"format": 2,', b'"format": 9,')
    newer = struct.pack("<16sII", content[:16], length, zlib.crc32(text)) + text + content[24 + length :]
    assert "has logit format 9, but this version reads 2; remove it" in damaged(path, lambda c: newer)
    with pytest.raises(CheckpointError, match="b does not exist"):
        LogitFile(tmp_path / "b")


# Filling -------------------------------------------------------------------------------------------------------------


class Failing(Linear):
    """Stops at a call."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def answers(self, x):
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().answers(x)


def test_a_half_filled_file_is_gone_on_with(tmp_path):
    made(tmp_path / "whole")
    inputs = Inputs(rows())
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "a", planned(inputs), Failing(2), inputs, batch_size=16)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "a.part").exists()
    teacher = Linear()
    fill(tmp_path / "a", planned(inputs), teacher, inputs, batch_size=16)
    assert teacher.calls == 2  # of 4
    assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not (tmp_path / "a.part").exists()


def test_a_part_of_other_logits_or_a_damaged_one_is_refused(tmp_path):
    inputs = Inputs(rows())
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "a", planned(inputs), Failing(2), inputs, batch_size=16)
    with pytest.raises(CheckpointError, match=r"a\.part does not fit: a was 1, is 2"):
        fill(tmp_path / "a", planned(inputs, a="2"), Linear(), inputs)
    part = tmp_path / "a.part"
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"a\.part is cut or damaged: it has .* bytes, needs .*; remove it"):
        fill(tmp_path / "a", planned(inputs), Linear(), inputs)


def test_a_damaged_row_of_a_part_is_asked_for_again(tmp_path):
    made(tmp_path / "whole")
    inputs = Inputs(rows())
    for name in ("logits", "probes", "norm"):
        path = tmp_path / name
        with pytest.raises(KeyboardInterrupt):
            fill(path, planned(inputs), Failing(3), inputs, batch_size=16)
        part = tmp_path / f"{name}.part"
        content = bytearray(part.read_bytes())
        at, kind, (_, width) = planned(inputs).columns[name]
        content[at + 20 * width * kind.itemsize] ^= 1  # of row 20, in the second of three batches that are there
        part.write_bytes(content)
        teacher = Linear()
        fill(path, planned(inputs), teacher, inputs, batch_size=16)
        assert teacher.calls == 2  # the second and the fourth
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_part_without_its_sums_is_begun_anew(tmp_path):
    made(tmp_path / "whole")
    inputs = Inputs(rows())
    for change in (lambda sums: sums.unlink(), lambda sums: sums.write_bytes(b"short")):
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path / "a", planned(inputs), Failing(3), inputs, batch_size=16)
        change(tmp_path / "a.part.sums")
        teacher = Linear()
        fill(tmp_path / "a", planned(inputs), teacher, inputs, batch_size=16)
        assert teacher.calls == 4
        assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == [".a.lock", ".whole.lock", "a", "whole"]
        (tmp_path / "a").unlink()


def test_one_writer_at_a_time(tmp_path):
    inputs = Inputs(rows())
    with (
        Part(tmp_path / "a", planned(inputs)),
        pytest.raises(CheckpointError, match="a is being written by another process; wait for it"),
    ):
        fill(tmp_path / "a", planned(inputs), Linear(), inputs)
    fill(tmp_path / "a", planned(inputs), Linear(), inputs)  # the lock went with the writer


def test_a_writer_that_comes_late_finds_the_file(tmp_path):
    teacher = Linear()
    _, inputs = made(tmp_path / "a")
    fill(tmp_path / "a", planned(inputs), teacher, inputs)
    assert teacher.calls == 0
    assert not (tmp_path / "a.part").exists()


def test_a_file_is_not_finished_before_all_rows_are_there(tmp_path):
    inputs = Inputs(rows(4))
    layout = planned(inputs)
    columns = {"logits": torch.zeros(2, CLASSES), "probes": torch.zeros(2, 4), "norm": torch.ones(2, 1).bfloat16()}
    with Part(tmp_path / "a", layout) as part:
        part.put(slice(0, 2), 0, columns)
        assert part.has(slice(0, 2), 0)
        assert not part.has(slice(0, 3), 0)
        with pytest.raises(CheckpointError, match=r"a\.part is not complete: example 2 is missing"):
            part.finish()
    with Part(tmp_path / "a", layout) as part:
        assert part.has(slice(0, 2), 0)
        assert not part.has(slice(2, 3), 0)


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "folder").write_text("")
    inputs = Inputs(rows())
    with pytest.raises(CheckpointError, match=r"folder/a cannot be written: .*; give another path"):
        fill(tmp_path / "folder" / "a", planned(inputs), Linear(), inputs)


def test_answers_of_another_shape(tmp_path):
    inputs = Inputs(rows())
    with pytest.raises(ShapeError, match=r"the teacher answered with shape \(60, 4\), needs \(60, 5\)"):
        fill(tmp_path / "a", planned(inputs), Linear(classes=4), inputs)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.core.logit_cache.test_file import *

class Killed(Linear):
    def answers(self, x):
        if self.calls == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answers(x)

inputs = Inputs(rows())
fill(Path({path!r}), planned(inputs), Killed(), inputs, batch_size=1)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_what_it_had(tmp_path, request):
    code = KILLED.format(root=str(request.config.rootpath), path=str(tmp_path / "a"))
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    teacher, inputs = Linear(), Inputs(rows())
    fill(tmp_path / "a", planned(inputs), teacher, inputs, batch_size=1)
    assert 20 <= teacher.calls <= 36
    made(tmp_path / "whole", size=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()
