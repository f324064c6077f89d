"""Bad input: one clear line, raised when the pipeline is built, or at the element that is bad."""

import numpy as np
import pytest
import torch

from tutelage.data import Augmentation, Crop, ExampleTable, Pipeline, from_arrays
from tutelage.errors import ConfigError, DataError, ShapeError, TutelageError

from .chains import affine, always

TEN = Pipeline.range(10)
FLOATS = Pipeline.from_tensor_slices(torch.zeros(3))


def sub(x):
    return Pipeline.range(2)


def refused(match, build):
    with pytest.raises(TutelageError, match=match) as caught:
        build()
    assert "\n" not in str(caught.value)
    return caught


# ---- when it is built


@pytest.mark.parametrize(
    ("match", "nest"),
    [
        (r"x has 3 rows, y has 4; leading sizes must agree\.$", {"x": torch.zeros(3), "y": torch.zeros(4)}),
        (r"x is a scalar; ", {"x": torch.tensor(1.0), "y": torch.zeros(4)}),
        (r"source is empty\.$", {"x": torch.zeros(0), "y": torch.zeros(0)}),
        (r"source is empty\.$", torch.zeros(0, 3)),
        (r"0 has 3 rows, 1 has 4; leading sizes must agree\.$", (np.zeros(3), [1, 2, 3, 4])),
    ],
)
def test_from_tensor_slices(match, nest):
    refused(r"^from_(tensor_)?slices: " + match, lambda: Pipeline.from_tensor_slices(nest))


AT_LEAST = {
    "batch": lambda n: TEN.batch(n),
    "padded_batch": lambda n: TEN.padded_batch(n),
    "shuffle": lambda n: TEN.shuffle(n),
    "interleave cycle": lambda n: TEN.interleave(sub, n),
    "interleave block": lambda n: TEN.interleave(sub, 2, n),
    "shard": lambda n: TEN.shard(n, 0),
}


@pytest.mark.parametrize("given", [0, -1])
@pytest.mark.parametrize("name", sorted(AT_LEAST))
def test_sizes(name, given):
    operator, _, argument = name.partition(" ")
    words = argument or r"\w+( \w+)*"
    refused(f"^{operator}: {words} is {given}; it must be at least 1\\.$", lambda: AT_LEAST[name](given))


def test_batch_of_nothing():
    refused(r"^batch: size is 0; it must be at least 1\.$", lambda: TEN.batch(0))


def test_prefetch():
    refused(r"^prefetch: .*is -1; it must be at least 0\.$", lambda: TEN.prefetch(-1))


@pytest.mark.parametrize("given", [3, -1])
def test_shard(given):
    refused(rf"^shard: index {given} of 3; valid are 0\.\.2\.$", lambda: TEN.shard(3, given))


@pytest.mark.parametrize("build", [lambda: TEN.repeat(-2), lambda: TEN.take(-2), lambda: TEN.skip(-2)])
def test_counts(build):
    refused(r"^(repeat|take|skip): .*-2.*-1", build)


@pytest.mark.parametrize("build", [lambda: TEN.batch(2.5), lambda: TEN.shuffle("some"), lambda: TEN.repeat("x")])
def test_no_numbers(build):
    refused(r"^(batch|shuffle|repeat): ", build)


def test_concatenate():
    refused(
        r"^concatenate: left is int64 \(\), right float32 \(\); cast with map first\.$",
        lambda: TEN.concatenate(FLOATS),
    )
    refused(
        r"^concatenate: left is int64 \(\), right int64 \(2\,\); cast with map first\.$",
        lambda: TEN.concatenate(Pipeline.from_tensor_slices(torch.zeros(3, 2, dtype=torch.int64))),
    )
    refused(r"^concatenate: left is ", lambda: TEN.concatenate(Pipeline.zip(TEN, TEN)))


@pytest.mark.parametrize("weights", [[-1, 2], [0, 0], [1], [1, 2, 3], [float("nan"), 1], [float("inf"), 1]])
def test_weights(weights):
    text = str(weights).replace("[", r"\[").replace("]", r"\]")
    refused(
        rf"^sample_from: weights {text} must be >= 0 with a positive sum, one per data set\.$",
        lambda: Pipeline.sample_from([TEN, TEN], weights),
    )


@pytest.mark.parametrize(
    "build", [lambda: Pipeline.sample_from([TEN, FLOATS], [1, 1]), lambda: Pipeline.choose_from([TEN, FLOATS], [0])]
)
def test_mixed_structures(build):
    refused(r"int64 \(\).*float32 \(\)", build)


def test_choose_from_ids():
    def run():
        list(Pipeline.choose_from([TEN, TEN], [0, 2]))

    refused(r"^choose_from: .*\b2\b", run)


@pytest.mark.parametrize(
    "build", [Pipeline.zip, lambda: Pipeline.sample_from([], []), lambda: Pipeline.choose_from([], [])]
)
def test_nothing_to_merge(build):
    refused(r"^(zip|sample_from|choose_from): ", build)


def test_endless():
    refused(
        r'^shuffle: "all" needs a finite stream; put shuffle before repeat\.$',
        lambda: TEN.repeat().shuffle("all"),
    )
    refused(
        r'^shuffle: "all" needs a finite stream; put shuffle before repeat\.$',
        lambda: TEN.repeat(-1).batch(2).shuffle(),
    )
    with pytest.raises(ConfigError, match=r"^len: .*repeat|endless"):
        len(TEN.repeat())


def test_reflect_padding():
    rows = (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4))
    pipe = Pipeline.from_tensor_slices(rows).batch(2)
    refused(
        r"^crop: reflect padding 8 needs sides above 8; got 8\.$",
        lambda: list(pipe.augment(Augmentation(Crop(8, "reflect")))),
    )


def test_not_finite():
    x = np.zeros((50, 2), dtype=np.float32)
    x[42, 1] = np.inf
    with pytest.raises(DataError, match=r"x\[42\] is not finite\.$"):
        Pipeline.from_source(from_arrays(x, np.zeros(50, dtype=np.int64), num_classes=2))


def test_table():
    with pytest.raises(DataError, match=r"^ExampleTable\(1797\) got index 1800\.$"):
        ExampleTable(1797, weight=1.0).get(torch.tensor([1800]), "weight")


def test_from_source_checks_index_and_labels():
    source = from_arrays(np.zeros((5, 2), np.float32), np.arange(5), num_classes=5)
    refused("5", lambda: Pipeline.from_source(source, index=np.array([0, 5])))
    refused("4", lambda: Pipeline.from_source(source, labels=np.zeros(4, np.int64)))


# ---- batches


def pairs():
    return Pipeline.from_tensor_slices((torch.arange(20), torch.arange(20)))


def test_batches_need_batches_of_pairs():
    refused("batch", lambda: list(pairs().batches()))
    refused("x.*y", lambda: list(TEN.batch(2).batches()))


def test_batches_need_steps():
    refused("steps", lambda: list(pairs().repeat().batch(2).batches()))


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_ranks(rank, world):
    refused("rank|world", lambda: list(pairs().batch(4).batches(rank=rank, world=world)))


def test_world_divides_the_batch():
    refused(r"4.*3|3.*4", lambda: list(pairs().batch(4).batches(world=3)))


def test_short_batch_of_several_ranks():
    """8 + 8 + 4 rows on 8 ranks: the last batch has to be dropped or padded."""
    refused("pad|drop", lambda: list(pairs().batch(8).batches(world=8)))
    assert len(list(pairs().batch(8).batches(world=8, pad=True))) == 3
    assert len(list(pairs().batch(8, drop_remainder=True).batches(world=8))) == 2


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": -1}, {"steps": 3, "start": 4}, {"start": -1}, {"prefetch": -1}]
)
def test_steps(options):
    refused("^(batches|prefetch): ", lambda: list(pairs().batch(4).batches(**options)))


def test_more_steps_than_there_are():
    refused(r"5", lambda: list(pairs().batch(4).batches(steps=6)))


# ---- at the element


def ragged(x):
    return x.repeat(2 if x == 7 else 1)


SHUFFLED_TO_7 = Pipeline.range(10).skip(6)


@pytest.mark.parametrize("stream", [False, True], ids=["indexed", "stream"])
def test_ragged_batch(stream):
    pipe = SHUFFLED_TO_7.filter(always) if stream else SHUFFLED_TO_7
    caught = refused(
        r"^batch: element 1 \(index 7\) has shape \(2,\), element 0 \(1,\); use padded_batch or resize\.$",
        lambda: [*iter(pipe.map(ragged).batch(3))],
    )
    assert caught.errisinstance(ShapeError)


def test_ragged_is_raised_at_its_batch():
    it = iter(TEN.map(ragged).batch(3))
    assert [next(it).shape for _ in range(2)] == [(3, 1)] * 2
    with pytest.raises(ShapeError, match=r"^batch: element 1 \(index 7\)"):
        next(it)


def other_dtype(x):
    return x.float() if x == 1 else x


def test_mixed_types_in_a_batch():
    with pytest.raises(ShapeError, match=r"^batch: element 1 \(index 1\) .*float32.*int64"):
        list(TEN.map(other_dtype).batch(3))


def test_larger_than_the_padding():
    pipe = TEN.map(lambda x: x.repeat(int(x) + 1), version="1").padded_batch(2, shapes=(3,))
    it = iter(pipe)
    next(it)
    with pytest.raises(ShapeError, match=r"^padded_batch: .*index 3.*\(4,\).*\(3,\)"):
        next(it)


def breaks_at_7(x):
    if (x == 7).any():
        raise ValueError("seven is out")
    return x


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("stream", [False, True], ids=["indexed", "stream"])
def test_map_that_raises(stream, prefetch):
    pipe = TEN.filter(always) if stream else TEN
    it = iter(pipe.map(breaks_at_7).prefetch(prefetch))
    assert [next(it).item() for _ in range(7)] == list(range(7))
    with pytest.raises(Exception, match=r"index 7\b.*seven is out") as caught:
        next(it)
    own = chain_of(caught.value)
    assert any(isinstance(e, ValueError) and "breaks_at_7" in names_in(e) for e in own), "its traceback is lost"
    it.close()


def chain_of(error):
    while error is not None:
        yield error
        error = error.__cause__


def names_in(error):
    frame, names = error.__traceback__, []
    while frame is not None:
        names.append(frame.tb_frame.f_code.co_name)
        frame = frame.tb_next
    return names


def random_breaks(x, generator):
    return breaks_at_7(x)


@pytest.mark.parametrize(
    "build",
    [
        lambda: TEN.random_map(random_breaks),
        lambda: TEN.filter(breaks_at_7),
        lambda: TEN.filter(breaks_at_7, materialise=True),
        lambda: TEN.map(breaks_at_7).batch(2),
        lambda: TEN.skip(7).flat_map(breaks_at_7),
    ],
    ids=["random_map", "filter", "materialise", "batch", "flat_map"],
)
def test_functions_that_raise(build):
    with pytest.raises(Exception, match=r"index 7\b.*seven is out"):
        list(iter(build()))


def test_index_of_a_shuffled_element():
    """The message names the row of the source, not the place in the stream."""
    with pytest.raises(Exception, match=r"index 7\b"):
        list(TEN.shuffle().map(breaks_at_7))


def test_what_map_may_give():
    with pytest.raises(TutelageError, match=r"^map\(.*: element with index 0 .*object"):
        list(TEN.map(lambda x: object()))
    with pytest.raises(TutelageError):
        list(TEN.flat_map(affine))


def one_row(block):
    return block[:1]


def test_batched_map_keeps_the_rows():
    with pytest.raises(TutelageError, match=r"^map: "):
        list(TEN.map(one_row, batched=True).batch(5))


def test_unbatch_of_scalars():
    with pytest.raises(TutelageError, match=r"^unbatch: "):
        list(iter(TEN.unbatch()))


def test_generator_that_raises():
    def broken():
        yield torch.tensor(1)
        raise OSError("disk gone")

    it = iter(Pipeline.from_generator(broken))
    next(it)
    with pytest.raises(Exception, match="disk gone"):
        next(it)
