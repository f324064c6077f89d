"""TFRecord files: the layout, random access, several files, pickling, closing, writing."""

import errno
import gc
import gzip
import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tutelage.data.records import Feature, TFRecordReader, TFRecordWriter, iter_tfrecord, mapped
from tutelage.errors import DataError

from .oracles import record

RECORDS = [b"", b"a", b"five!", bytes(range(40)), b"end"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(map(record, RECORDS)))
    return path


def every(reader):
    return reader.read(np.arange(len(reader)))


def is_mapped(path):
    return str(path) in Path("/proc/self/maps").read_text()


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def test_a_file_byte_by_byte(tmp_path):
    path = tmp_path / "a.tfrecord"
    with TFRecordWriter(path) as out:
        out.write(b"123456789")
    length = bytes([9, 0, 0, 0, 0, 0, 0, 0])
    content = path.read_bytes()
    assert content[:8] == length
    assert content[12:21] == b"123456789"
    assert content[21:] == bytes([0xE5, 0xB0, 0x8A, 0xC7])
    assert content == record(b"123456789")


def test_random_access(path):
    reader = TFRecordReader(path)
    assert len(reader) == 5
    assert every(reader) == RECORDS
    assert reader.read(np.array([3, 0, 3])) == [RECORDS[3], b"", RECORDS[3]]
    assert reader.read(np.array([], dtype=np.int64)) == []
    gathered = reader.gather(np.array([4, 1]))
    assert gathered.dtype == object
    assert gathered.tolist() == [b"end", b"a"]
    assert reader.signature() == "bytes"
    assert reader.kind == "tfrecord"


def test_many_records_of_random_sizes(tmp_path):
    rng = np.random.default_rng(0)
    records = [rng.bytes(int(n)) for n in rng.integers(0, 300, 500)]
    with TFRecordWriter(tmp_path / "a") as out:
        for one in records:
            out.write(one)
    reader = TFRecordReader(tmp_path / "a")
    order = rng.permutation(500)
    assert reader.read(order) == [records[i] for i in order]
    assert list(iter_tfrecord(tmp_path / "a")) == records


def test_several_files_run_on(tmp_path):
    for name, part in (("b", RECORDS[:2]), ("a", RECORDS[2:3]), ("c", RECORDS[3:])):
        (tmp_path / name).write_bytes(b"".join(map(record, part)))
    files = [tmp_path / "b", str(tmp_path / "a"), tmp_path / "c"]
    reader = TFRecordReader(files)
    assert every(reader) == RECORDS
    assert reader.read(np.array([4, 2, 0])) == [RECORDS[4], RECORDS[2], RECORDS[0]]
    assert list(iter_tfrecord(files)) == RECORDS


def test_features(tmp_path):
    with TFRecordWriter(tmp_path / "a") as out:
        for k in range(3):
            out.write_example({"x": [[k, 1.5], [2, 3]], "y": k, "name": f"n{k}", "rest": b"unused"})
    features = {"x": Feature("float32", (2, 2)), "y": Feature("int64"), "name": Feature("str")}
    reader = TFRecordReader(tmp_path / "a", features)
    element = reader.read(np.array([2]))[0]
    assert element["x"].dtype == np.float32
    assert element["x"].tolist() == [[2, 1.5], [2, 3]]
    assert element["y"].dtype == np.int64
    assert (element["y"].shape, int(element["y"]), element["name"]) == ((), 2, "n2")
    assert reader.signature() == {"x": "float32 (2, 2)", "y": "int64 ()", "name": "str"}
    gathered = reader.gather(np.array([1, 0]))
    assert gathered["x"].shape == (2, 2, 2)
    assert gathered["y"].tolist() == [1, 0]
    assert gathered["name"].tolist() == ["n1", "n0"]
    assert [int(e["y"]) for e in iter_tfrecord(tmp_path / "a", features)] == [0, 1, 2]
    element["x"][:] = 0  # the caller's to keep
    assert reader.read(np.array([2]))[0]["x"][0, 1] == 1.5


def test_a_bad_example_is_named(tmp_path):
    with TFRecordWriter(tmp_path / "a") as out:
        out.write_example({"x": 1})
        out.write_example({"y": 1})
        out.write(b"\x0a\x05no")
    reader = TFRecordReader(tmp_path / "a", {"x": Feature("int64")})
    second = 16 + len(every(TFRecordReader(tmp_path / "a"))[0])
    where = f"^{tmp_path}/a: record 1 at byte {second}: "
    with pytest.raises(DataError, match=where + 'feature "x" is missing among y; pass default= if it may be.$'):
        reader.read(np.array([0, 1]))
    with pytest.raises(DataError, match=where + 'feature "x" is missing'):
        list(iter_tfrecord(tmp_path / "a", {"x": Feature("int64")}))
    with pytest.raises(DataError, match=r"record 2 at byte .*: damaged at byte 0: a field claims 5 bytes, 2 remain.$"):
        reader.read(np.array([2]))


@pytest.mark.parametrize("use", [TFRecordReader, lambda files: list(iter_tfrecord(files))])
def test_missing_and_empty_files(tmp_path, use):
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match=f"^{tmp_path}/none: no such file.$"):
        use(tmp_path / "none")
    with pytest.raises(DataError, match=f"^{tmp_path}/empty: file is empty.$"):
        use([tmp_path / "empty"])
    with pytest.raises(DataError, match=f"^{tmp_path}: a folder; a file is needed.$"):
        use(tmp_path)
    with pytest.raises(DataError, match=r"^no files given.$"):
        use([])


def test_a_file_that_the_system_does_not_let_us_read(path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(mapped.mmap, "mmap", fail)
    with pytest.raises(DataError, match=f"^{path}: cannot be read \\(Input/output error\\).$"):
        TFRecordReader(path)


@linux
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="maps need no open file there")
def test_too_many_files(tmp_path):
    for k in range(40):
        (tmp_path / str(k)).write_bytes(record(b"a"))
    code = (
        "import resource, sys, tutelage.errors; from tutelage.data.records import TFRecordReader\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))\n"
        "try: TFRecordReader(sys.argv[1:])\n"
        "except tutelage.errors.DataError as error: print(error)"
    )
    names = [str(tmp_path / str(k)) for k in range(40)]
    run = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    assert "too many open files; raise the limit (ulimit -n)" in run.stdout


def test_gzipped(tmp_path, path):
    zipped = tmp_path / "a.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert list(iter_tfrecord(zipped)) == RECORDS
    assert list(iter_tfrecord([path, zipped])) == RECORDS * 2
    with pytest.raises(DataError, match=f"^{zipped}: a gzipped file has no random access; use iter_tfrecord.$"):
        TFRecordReader(zipped)


def test_a_length_that_begins_like_gzip(tmp_path):
    data = bytes(0x8B1F)
    (tmp_path / "a").write_bytes(record(data))
    assert list(iter_tfrecord(tmp_path / "a")) == [data]
    assert every(TFRecordReader(tmp_path / "a")) == [data]


def test_damaged_gzip(tmp_path, path):
    content = gzip.compress(path.read_bytes() * 50)
    (tmp_path / "cut").write_bytes(content[:-20])
    with pytest.raises(DataError, match="cut: damaged or cut gzip file \\(Compressed file ended before"):
        list(iter_tfrecord(tmp_path / "cut"))
    (tmp_path / "bad").write_bytes(content[:-8] + b"\0\0\0\0" + content[-4:])
    with pytest.raises(DataError, match="bad: damaged or cut gzip file \\(CRC check failed"):
        list(iter_tfrecord(tmp_path / "bad"))
    (tmp_path / "wrong").write_bytes(content[:12] + b"\xff\xff" + content[14:])
    with pytest.raises(DataError, match="wrong: damaged or cut gzip file \\(Error -3"):
        list(iter_tfrecord(tmp_path / "wrong"))


@linux
def test_the_stream_closes_its_file(path):
    stream = iter_tfrecord(path)
    next(stream)
    names = {os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}
    assert str(path) in names
    stream.close()
    names = {os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}
    assert str(path) not in names


@linux
def test_closing(path):
    reader = TFRecordReader(path)
    every(reader)
    assert is_mapped(path)
    reader.close()
    assert not is_mapped(path)
    reader.close()
    with pytest.raises(DataError, match=f"^{path}: the reader is closed.$"):
        every(reader)
    assert len(reader) == 5

    dropped = TFRecordReader(path)
    assert is_mapped(path)
    del dropped
    gc.collect()
    assert not is_mapped(path)


def test_pickling(path):
    reader = pickle.loads(pickle.dumps(TFRecordReader(path)))  # noqa: S301
    assert every(reader) == RECORDS
    content = pickle.dumps(reader)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + record(b"more"))
    with pytest.raises(DataError, match=f"has {size + 20} bytes, had {size} when it was opened; the file changed.$"):
        pickle.loads(content)  # noqa: S301
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        pickle.loads(content)  # noqa: S301


def test_fingerprint(tmp_path, path):
    content = path.read_bytes()
    first = TFRecordReader(path).fingerprint()
    assert first == hashlib.sha256(f"tfrecord None\n({len(content)},)\n".encode() + content).hexdigest()
    (tmp_path / "moved").write_bytes(content)
    assert TFRecordReader(tmp_path / "moved").fingerprint() == first
    path.write_bytes(b"".join(map(record, [*RECORDS[:4], b"END"])))
    assert TFRecordReader(path).fingerprint() != first
    assert TFRecordReader(path, {"x": Feature("int64")}).fingerprint() != TFRecordReader(path).fingerprint()


def test_fingerprint_of_a_large_file_is_sampled(path, monkeypatch):
    monkeypatch.setattr(mapped, "_FULL_HASH_BYTES", 50)
    monkeypatch.setattr(mapped, "_HASHED_ROWS", 3)  # of five: 0, 2 and 4
    first = TFRecordReader(path).fingerprint()
    assert first.startswith("sampled-")
    for k, seen in ((2, True), (3, False)):
        changed = [bytes(len(one)) if i == k else one for i, one in enumerate(RECORDS)]
        path.write_bytes(b"".join(map(record, changed)))
        assert (TFRecordReader(path).fingerprint() != first) == seen


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")

    def fail(out):
        out.write(b"x")
        raise RuntimeError

    with pytest.raises(RuntimeError), TFRecordWriter(path) as out:
        fail(out)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]
    with TFRecordWriter(path) as out:
        out.write(b"x")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == record(b"x")
    assert os.listdir(tmp_path) == ["a"]
    out.close()
    out.discard()
    assert path.read_bytes() == record(b"x")
    with pytest.raises(DataError, match=f"^{path}: the writer is closed.$"):
        out.write(b"y")


def test_a_bad_example_leaves_no_file(tmp_path):
    with pytest.raises(DataError, match='feature "x"'), TFRecordWriter(tmp_path / "a") as out:
        out.write_example({"x": object()})
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=f"^{tmp_path}/none/a: cannot be written \\(No such file or directory\\).$"):
        TFRecordWriter(tmp_path / "none" / "a")
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(DataError, match=r"folder: cannot be written \(Is a directory\)."),
        TFRecordWriter(tmp_path / "folder") as out,
    ):
        out.write(b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_importing_is_cheap():
    heavy = ("sklearn", "pyarrow", "PIL", "grain", "datasets", "kornia", "google.protobuf")
    code = f"import sys, tutelage.data.records; print(*[m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
