"""The stages of chains: networks alone for the planner, assistants, and the student behind each path."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import torch

from ...frozen import Frozen
from ...gap import gap
from ...losses import cross_entropy
from ...soft_targets import KnowledgeDistillation
from ...teacher import Teacher
from ...teachers import Distillation, Uniform
from ..distilling import Ended, Given, Networks, Setting, Stage
from ..distilling.options import Chosen
from ..distilling.preparing import steps_of
from ..distilling.stage import Record
from ..distilling.students import student_stage
from .chain import Network, Path

Make: TypeAlias = Callable[[Setting, Networks], Teacher]

DIRECT = "direct"
CONTROLS = ("scratch", "label-smoothing", DIRECT)
PLANNED = "planned"


@dataclass(frozen=True)
class Chains:
    """What all stages of a run have in common.

    Attributes:
        options: with nothing left to choose.
        rows: how many the students study.
        teacher: at the beginning of every path.
        student: at the end of every path.
        hops: how each network is taught, by its name.
    """

    options: Chosen
    rows: int
    teacher: Network
    student: Network
    hops: Mapping[str, KnowledgeDistillation]

    def alone(self, network: Network) -> Stage:
        """Return a short run by labels, for the planner."""
        whole = steps_of(self.options, self.rows, self.options.batch_size)
        options = replace(self.options, steps=max(1, round(self.options.plan_share * whole)))
        about = f"{network.net} by its labels alone, in {options.steps} steps: for the planner."
        return self._student(alone_name(network), about, lambda s, n: Uniform(), network, options=options)

    def controls(self) -> list[Stage]:
        """Return the student by labels, and by smoothed ones."""
        smooth = partial(cross_entropy, label_smoothing=self.options.label_smoothing)
        return [
            self._student("scratch", "The student by its labels alone.", lambda s, n: Uniform(), self.student),
            self._student(
                "label-smoothing",
                "Labels smoothed: a teacher that is always uniform.",
                lambda s, n: Uniform(loss=smooth),
                self.student,
            ),
        ]

    def hop(self, before: Path, network: Network) -> Stage:
        """Return the run of the last network of a path, taught by the one before it; direct without assistants."""
        loss = self.hops[network.name]
        above = before[-1] if before else self.teacher
        needed = taught_name(before[:-1], before[-1], self.student) if before else "teacher"

        def teacher(setting: Setting, networks: Networks) -> Teacher:
            return Distillation(Frozen(networks[needed]), loss)

        about = f"{network.name}, taught by {above.name} (T {loss.temperature:g}, labels {loss.ce_weight:g}, "
        about += f"teacher {loss.kd_weight:g})" + (f" behind {told((self.teacher, *before))}." if before else ".")
        name = taught_name(before, network, self.student)
        return self._student(name, about, teacher, network, needs=(needed,))

    def path(self, path: Path) -> list[Stage]:
        """Return the stages of a path but the teacher's, in order."""
        whole = (*path, self.student)
        return [self.hop(whole[:place], network) for place, network in enumerate(whole)]

    def arm(self, path: Path) -> str:
        """Return the name of the stage of the student behind a path."""
        return taught_name(path, self.student, self.student)

    def planned(self, arms: Mapping[int, str]) -> Stage:
        """Return for each seed the student of one of the arms, as it is."""
        return Given(
            name=PLANNED,
            about="For each seed the student behind the assistants that its own validation rows proposed.",
            needs=tuple(dict.fromkeys(arms.values())),
            take=lambda setting, networks: list(networks[arms[setting.seed]]),
            like=lambda setting: [setting.net(self.student.net, "student")],
        )

    def _student(
        self,
        name: str,
        about: str,
        teacher: Make,
        network: Network,
        *,
        needs: tuple[str, ...] = (),
        options: Chosen = None,
    ) -> Stage:
        role = "student" if network == self.student else f"assistant {network.name}"
        facts = partial(_followed, rows=self.rows, needs=needs, loss=self.hops[network.name]) if needs else None
        return student_stage(
            options or self.options,
            self.rows,
            name,
            about,
            teacher,
            needs=needs,
            net=network.net,
            role=role,
            facts=facts,
        )


def alone_name(network: Network) -> str:
    """Return the name of the stage that trains a network by labels alone, for the planner."""
    return f"alone-{network.name}"


def taught_name(before: Path, network: Network, student: Network) -> str:
    """Return the name of the stage that teaches a network behind assistants."""
    names = "+".join(each.name for each in before)
    if network == student:
        return f"via-{names}" if before else DIRECT
    return "assistant-" + "+".join(each.name for each in (*before, network))


def told(networks: Sequence[Network]) -> str:
    """Return a path in a line."""
    return " → ".join(network.name for network in networks)


def _followed(ended: Ended, *, rows: int, needs: tuple[str, ...], loss: KnowledgeDistillation) -> Record:
    """How far a network is from its teacher on the rows that it studied."""
    x, _ = ended.setting.clean(ended.setting.order[:rows])
    own, theirs = (
        torch.cat([net.answers(piece) for piece in torch.split(x, 1024)])
        for net in (Frozen(ended.trained), Frozen(ended.networks[needs[0]]))
    )
    found = gap(own, theirs, loss.temperature)
    return {"gap": found.r, "agreement": found.agreement}
