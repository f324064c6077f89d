"""Running ahead: nobody waits for a thread that is gone, files are closed, and a late plan is in time."""

import subprocess
import sys

import pytest
import torch

from tutelage.data import Pipeline, Plans
from tutelage.data.pipeline import ElementError
from tutelage.data.plans import NoPlan

from .chains import affine, always


class Stop(BaseException):
    pass


def stops(x):
    raise Stop


CHAINS = {
    "top": lambda p: p.map(stops).prefetch(2),
    "middle": lambda p: p.map(stops).prefetch(2).map(affine),
    "stream": lambda p: p.filter(always).map(stops).prefetch(2).shuffle(2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_any_exception_reaches_the_consumer(name):
    """One that is no Exception, such as SystemExit, ended the thread and left the consumer waiting."""
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.data.pipeline.test_ahead import CHAINS, Stop\n"
        "from tutelage.data import Pipeline\n"
        "try: next(iter(CHAINS[sys.argv[1]](Pipeline.range(9))))\n"
        "except Stop: print('reached')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "reached", done.stderr


def test_an_iterator_left_open_at_the_end_of_the_program():
    code = (
        "import sys\n"
        "from tutelage.data import Pipeline\n"
        "it = iter(Pipeline.range(99).prefetch(4)); next(it)\n"
        "sys.modules['kept'] = [it]; it2 = [it]; it2.append(it2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("prefetch", [0, 2])
def test_closing_closes_the_generator(prefetch):
    closed = []

    def opened():
        try:
            yield from range(9)
        finally:
            closed.append(True)

    it = iter(Pipeline.from_generator(opened).prefetch(prefetch))
    next(it)
    it.close()
    assert closed == [True]


PLANNED = {
    "filter": lambda p: p.filter(always),
    "middle": lambda p: p.prefetch(2).map(affine),
    "both": lambda p: p.filter(always).prefetch(3).map(affine).filter(always),
    "unbatch": lambda p: p.padded_batch(3).unbatch(),
    "interleave": lambda p: p.flat_map(twice),
}


def twice(x):
    return Pipeline.from_tensor_slices(torch.stack([x, x]))


def drawn(name, prefetch):
    plans = Plans(6)
    plans.publish(order=torch.tensor([5, 4, 3, 2, 1, 0]))
    return plans, iter(PLANNED[name](Pipeline.range(6).planned(plans)).prefetch(prefetch))


@pytest.mark.parametrize("prefetch", [0, 1, 4, 20])
@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_published_at_the_boundary_is_in_time(name, prefetch):
    """The thread comes to the boundary first, finds no plan, and must ask again."""
    later = torch.arange(6)
    plans, whole = drawn(name, 0)
    plans.publish(order=later)
    boundary = 12 if name == "interleave" else 6
    expected = [int(next(whole)) for _ in range(2 * boundary)]
    plans, it = drawn(name, prefetch)
    received = [int(next(it)) for _ in range(boundary)]
    plans.publish(order=later)
    received += [int(next(it)) for _ in range(boundary)]
    assert received == expected
    it.close()


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("name", PLANNED)
def test_asking_too_early_loses_nothing(name, prefetch):
    plans, whole = drawn(name, 0)
    plans.keep()
    boundary = 12 if name == "interleave" else 6
    expected = [int(next(whole)) for _ in range(2 * boundary)]
    plans, it = drawn(name, prefetch)
    received = [int(next(it)) for _ in range(boundary)]
    for _ in range(2):
        with pytest.raises(NoPlan):
            next(it)
    plans.keep()
    received += [int(next(it)) for _ in range(boundary)]
    assert received == expected
    it.close()


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("name", PLANNED)
def test_asking_before_the_first_plan_loses_nothing(name, prefetch):
    plans, whole = drawn(name, 0)
    expected = int(next(whole))
    plans = Plans(6)
    it = iter(PLANNED[name](Pipeline.range(6).planned(plans)).prefetch(prefetch))
    with pytest.raises(NoPlan):
        next(it)
    plans.publish(order=torch.tensor([5, 4, 3, 2, 1, 0]))
    assert int(next(it)) == expected
    it.close()


def breaks_at_0(x):
    if x == 0:
        raise ValueError
    return x


@pytest.mark.parametrize("prefetch", [0, 4])
def test_the_state_after_an_error_stands_at_its_element(prefetch):
    pipe = Pipeline.range(4).filter(breaks_at_0).prefetch(prefetch)
    it = iter(pipe)
    for _ in range(2):
        with pytest.raises(ElementError, match="index 0"):
            next(it)
        state = it.state_dict()
        it.close()
        it = iter(pipe)
        it.load_state_dict(state)
