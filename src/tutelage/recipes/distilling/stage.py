"""Stages: what is trained, from what, and what is left."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import nn

from ...errors import ConfigError
from ...randomness import counter
from ...randomness import stream as key
from ...rules import Rule
from ...student import Student
from ...teacher import Teacher
from .course import Alone, Course, Mutual, Standing, TrainPeers
from .prints import fingerprint, fingerprint_of_batches
from .setting import Setting, Stream

Networks: TypeAlias = Mapping[str, Sequence[nn.Module]]
"""What earlier stages of a seed left, by name of the stage: one network, or several that belong together."""
Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Ended:
    """A stage at its end, for one seed.

    Attributes:
        setting: the seed.
        trained: the networks that the stage leaves.
        networks: what it was given.
    """

    setting: Setting
    trained: Sequence[nn.Module]
    networks: Networks


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage(ABC):
    """A stage of a run, for all seeds.

    Attributes:
        name: of its files, and for others to need it.
        about: a line for the result.
        needs: names of stages whose networks it takes.
        paired_by: what arms must have in common, seed by seed, to be compared, besides the split and teachers of one
            name: "initialisation", the network that a stage begins with, and "batches".
        facts: what is found out when a seed has ended; goes into its end.
    """

    name: str
    about: str = ""
    needs: tuple[str, ...] = ()
    paired_by: tuple[str, ...] = ("initialisation", "batches")
    facts: Callable[[Ended], Record] | None = None

    @property
    @abstractmethod
    def length(self) -> int:
        """How many steps it takes."""

    @abstractmethod
    def nets(self, setting: Setting) -> list[nn.Module]:
        """Return fresh networks of the kind that the stage leaves for a seed."""

    @abstractmethod
    def stream(self, setting: Setting, networks: Networks) -> Stream | None:
        """Return the batches of a seed, if there are any."""

    def pairing(self, setting: Setting, networks: Networks) -> dict[str, str]:
        """Return fingerprints of what arms must have in common to be compared."""
        found: dict[str, str] = {}
        stream = self.stream(setting, networks)
        if stream is not None and "initialisation" in self.paired_by:
            found["initialisation"] = fingerprint(self.nets(setting)[:1])
        if stream is not None and "batches" in self.paired_by:
            found["batches"] = fingerprint_of_batches(stream, self.length)
        return found

    @abstractmethod
    def begin(self, settings: Sequence[Setting], networks: Sequence[Networks]) -> Course:
        """Return the course of the stage, one entry a seed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Taught(Stage):
    """Trains a student a seed by a teacher.

    Attributes:
        steps: how many.
        net: the network that it begins with.
        rule: how gradients change it.
        teacher: made of the networks of earlier stages.
        batch: the stream of its batches.
        stack: train the seeds in one pass where the network allows it; False: never, as a teacher may need.
    """

    steps: int
    net: Callable[[Setting], nn.Module]
    rule: Rule
    teacher: Callable[[Setting, Networks], Teacher]
    batch: Callable[[Setting, Networks], Stream]
    stack: bool = True

    @property
    def length(self) -> int:
        """How many steps it takes."""
        return self.steps

    def nets(self, setting: Setting) -> list[nn.Module]:
        """Return the network that the stage begins with."""
        return [self.net(setting)]

    def stream(self, setting: Setting, networks: Networks) -> Stream:
        """Return the batches of a seed."""
        return self.batch(setting, networks)

    def begin(self, settings: Sequence[Setting], networks: Sequence[Networks]) -> Course:
        """Return a course of students and teachers."""
        students = [Student(self.net(s), self.rule, seed=s.seed) for s in settings]
        teachers = [self.teacher(s, n).to(s.device) for s, n in zip(settings, networks)]
        streams = [self.batch(s, n) for s, n in zip(settings, networks)]
        return Alone(students, teachers, streams, self.steps, stack=self.stack)


@dataclass(frozen=True, eq=False, kw_only=True)
class Peers(Stage):
    """Trains several students a seed that teach each other; what counts is the first one.

    Attributes:
        steps: how many.
        begins: the networks that it begins with, two or more.
        rule: how gradients change them.
        train: how they teach each other.
        batch: the stream of its batches.
    """

    steps: int
    begins: Callable[[Setting], list[nn.Module]]
    rule: Rule
    train: TrainPeers
    batch: Callable[[Setting, Networks], Stream]

    @property
    def length(self) -> int:
        """How many steps it takes."""
        return self.steps

    def nets(self, setting: Setting) -> list[nn.Module]:
        """Return the networks that the stage begins with."""
        return self.begins(setting)

    def stream(self, setting: Setting, networks: Networks) -> Stream:
        """Return the batches of a seed."""
        return self.batch(setting, networks)

    def begin(self, settings: Sequence[Setting], networks: Sequence[Networks]) -> Course:
        """Return a course of peers, each with draws of its own."""
        peers = [
            [Student(net, self.rule, seed=_seed(s.seed, k)) for k, net in enumerate(self.begins(s))] for s in settings
        ]
        streams = [self.batch(s, n) for s, n in zip(settings, networks)]
        return Mutual(peers, streams, self.steps, self.train)


def _seed(seed: int, peer: int) -> int:
    """The first peer's is that of a student alone."""
    return counter(key(seed, "peer"), peer) >> 1 if peer else seed


@dataclass(frozen=True, eq=False, kw_only=True)
class Given(Stage):
    """Trains nothing: takes networks as they are, from a file or from earlier stages; they answer together.

    Attributes:
        take: the networks of a seed; without earlier ones: fresh ones of the same kind.
        average: what of several is averaged.
        class_map: our class c is their class ``class_map[c]``; default: the same order.
    """

    take: Callable[[Setting, Networks], list[nn.Module]]
    like: Callable[[Setting], list[nn.Module]]
    average: Literal["probs", "logits"] = "probs"
    class_map: Sequence[int] | None = None

    @property
    def length(self) -> int:
        """No step."""
        return 0

    def nets(self, setting: Setting) -> list[nn.Module]:
        """Return networks of the kind that it takes."""
        return self.like(setting)

    def stream(self, setting: Setting, networks: Networks) -> None:
        """There are no batches."""

    def begin(self, settings: Sequence[Setting], networks: Sequence[Networks]) -> Course:
        """Return a course that stands."""
        return Standing([self.take(s, n) for s, n in zip(settings, networks)], self.average, self.class_map)


def in_order(stages: Sequence[Stage], wanted: Sequence[str]) -> list[Stage]:
    """Return the wanted stages and those that they need, needed ones first, each once.

    Raises:
        ConfigError: if a stage is needed that is not there, or two have one name, or need each other.
    """
    known = {stage.name: stage for stage in stages}
    if len(known) < len(stages):
        raise ConfigError("two stages have one name; each needs its own.")
    found: dict[str, Stage] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ConfigError(f"stages need each other in a circle: {', '.join((*above, name))}.")
        if name not in known:
            raise ConfigError(f"{above[-1] if above else 'the run'} needs the stage {name}, which is not there.")
        if name not in found:
            for needed in known[name].needs:
                add(needed, (*above, name))
            found[name] = known[name]

    for name in wanted:
        add(name, ())
    return list(found.values())
