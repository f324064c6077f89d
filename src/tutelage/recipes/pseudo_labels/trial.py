"""One arm with one seed: trained, tested now and then, and kept so that it can go on at any step."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...checkpoint import with_prefix, without_prefix
from ...errors import NotFiniteError
from ...evaluation import accuracy, calibration_error, per_class_accuracy
from ...semi_supervised import Average
from ...student import Student
from ...teachers import MetaPseudoLabels
from ...training import Step, check_finite, train
from .arms import ARMS
from .options import Chosen
from .phases import phases
from .setting import Setting

Record = dict[str, Any]
_MEANS: tuple[str, ...] = (
    "loss",
    "supervised_loss",
    "uda_loss",
    "mask_rate",
    "label_rate",
    "label_entropy",
    "h",
    "baseline",
)
_MEANS += ("feedback_before", "feedback_loss", "meta_norm", "meta_cosine")
_LAST = ("eta", "uda_weight")
_SUMS = ("label_histogram", "confidence_histogram")


@dataclass
class _Silence:
    """For how long a threshold kept nothing.

    Attributes:
        now: in how many of the latest steps, without a break.
        longest: the longest such time.
        histogram: of the examples by confidence at its end, (10,).
    """

    now: int = 0
    longest: int = 0
    histogram: list[int] | None = None

    def note(self, rate: float, histogram: Tensor) -> None:
        self.now = 0 if rate else self.now + 1
        if self.now > self.longest:
            self.longest, self.histogram = self.now, histogram.tolist()


class Trial:
    """An arm under way with one seed.

    Args:
        name: of the arm.
        setting: the seed.
        options: with nothing left to choose.

    Attributes:
        done: steps taken, of all phases.
        total: steps of all phases.
        records: one an evaluation.
        frames: answers at the probe of the setting, one an evaluation of the network that counts.
    """

    def __init__(self, name: str, setting: Setting, options: Chosen) -> None:
        self.name, self.setting, self.arm = name, setting, ARMS[name]
        self.phases = phases(self.arm, setting, options)
        self.total = sum(phase.steps for phase in self.phases)
        self.every = max(1, options.steps // options.evaluations)
        self._ramp = min(options.uda_ramp, options.steps // 2)  # before its end nothing much depends on the mask
        self._pass = max(1, min(setting.steps_a_pass, options.steps - self._ramp))
        self.done = 0
        self.records: list[Record] = []
        self.frames: list[Tensor] = []
        own = "--offline-threshold" if self.arm.kind == "offline" else "--label-threshold"
        self._silences = {"--uda-threshold": _Silence(), own: _Silence()}
        self._seen: dict[str, list[Any]] = {}
        self._ended: Record = {}
        self._enter(0, None)

    def _enter(self, number: int, before: nn.Module | None) -> None:
        self._number, self._before = number, before
        phase = self.phases[number]
        self.student, self.teacher = phase.make(before)
        self.teacher.to(self.setting.device)
        self.average = None if phase.average is None else Average(self.student, phase.average[0], warm=phase.average[1])
        self._start = sum(p.steps for p in self.phases[:number])
        self._steps = self._follow()

    def _follow(self) -> Any:
        """The steps of the present phase from where it stands."""
        phase = self.phases[self._number]
        batches = (phase.batch(step) for step in range(self.done - self._start, phase.steps))
        return train(self.student, self.teacher, batches)

    @property
    def finished(self) -> bool:
        """Whether all phases are over."""
        return self.done == self.total

    def advance(self) -> Record | None:
        """Take a step; return a record if it ended with an evaluation.

        Raises:
            NotFiniteError: if a loss or an answer is not finite.
        """
        step: Step = next(self._steps)
        self.done += 1
        if self.average is not None:
            self.average.update(self.student)
        self._note(step.metrics)
        place = self.done - self._start
        ended = place == self.phases[self._number].steps
        if not ended and place % self.every:
            return None
        record = self._test()
        if ended and self._number + 1 < len(self.phases):
            self._ended |= {k: v for k, v in record.items() if k.endswith("_accuracy")}
            self._enter(self._number + 1, self._product().net)
        return record

    def _product(self) -> Student:
        """The network that counts: the average if there is one."""
        return self.student if self.average is None else self.average.of(self.student)

    def _note(self, metrics: Mapping[str, Any]) -> None:
        for name in (*_MEANS, *_LAST, *_SUMS):
            if name in metrics:
                self._seen.setdefault(name, []).append(metrics[name])
        if self.done <= self._ramp:
            return
        for rate, silence in zip(("mask_rate", "label_rate"), self._silences.values()):
            if rate in metrics:
                sure = (
                    "mask_histogram" if rate == "mask_rate" and "mask_histogram" in metrics else "confidence_histogram"
                )
                silence.note(float(metrics[rate]), metrics[sure])

    def _test(self) -> Record:
        """Test all networks; what was seen since the last time is summed up and forgotten."""
        check_finite(self.student)
        product = self._product()
        logits, y = self._answers("student", product)
        record: Record = {
            "arm": self.name,
            "seed": self.setting.seed,
            "step": self.done,
            "phase": self.phases[self._number].name,
            "accuracy": accuracy(logits, y),
            "calibration_error": calibration_error(logits, y),
            "per_class": per_class_accuracy(logits, y),
        }
        if isinstance(self.teacher, MetaPseudoLabels):
            record["teacher_accuracy"] = accuracy(*self._answers("teacher", self.teacher))
            record["student_accuracy"] = record["accuracy"]
            if self.average is not None:
                record["average_accuracy"] = record["accuracy"]
                record["student_accuracy"] = accuracy(*self._answers("student", self.student))
        record = self._ended | record | self._summed()
        self._seen = {}
        self.records.append(record)
        self._look(product)
        return record

    def _answers(self, who: str, network: Student | MetaPseudoLabels) -> tuple[Tensor, Tensor]:
        logits, y = self.setting.tested(network.predict)
        if not logits.isfinite().all():
            raise NotFiniteError(f"the {who}'s answers to the test rows are not finite after {self.done} steps.")
        return logits, y

    def _summed(self) -> Record:
        """Means, last values and sums of what steps reported."""
        seen = self._seen
        found: Record = {
            name: float(torch.stack([torch.as_tensor(v) for v in seen[name]]).double().mean())
            for name in _MEANS
            if name in seen
        }
        found |= {name: float(seen[name][-1]) for name in _LAST if name in seen}
        for name, value in found.items():
            if not math.isfinite(value):
                raise NotFiniteError(
                    f"{name} is {value} after {self.done} steps; lower the learning rates or the weights of the losses."
                )
        return found | {name: torch.stack(seen[name]).sum(0).tolist() for name in _SUMS if name in seen}

    def _look(self, product: Student) -> None:
        """Keep what the network that counts, and a teacher, answer at the probe: the probability of class 1."""
        if self.setting.probe is None:
            return
        seen = torch.softmax(product.predict(self.setting.probe), -1)[:, 1]
        self.frames.append((255 * seen).round().to(torch.uint8).cpu())

    def outcome(self) -> Record:
        """Return what counts in the end: the last record, and ``silences``: thresholds that kept nothing for a pass."""
        found = [
            {"option": option, "steps": silence.longest, "histogram": silence.histogram}
            for option, silence in self._silences.items()
            if silence.longest >= self._pass
        ]
        return self.records[-1] | {"silences": found}

    def state(self) -> tuple[dict[str, Tensor], Record]:
        """Return tensors and facts from which :meth:`restore` goes on."""
        check_finite(self.student)
        tensors = with_prefix("student", self.student.state_dict()) | with_prefix("teacher", self.teacher.state_dict())
        if self.average is not None:
            tensors |= with_prefix("average", self.average.state_dict())
        if self._before is not None:
            tensors |= with_prefix("before", self._before.state_dict())
        if self.frames:
            tensors["frames"] = torch.stack(self.frames)
        tensors |= {f"seen.{name}": torch.stack([torch.as_tensor(v) for v in vs]) for name, vs in self._seen.items()}
        facts = {"phase": self._number, "done": self.done, "records": self.records, "ended": self._ended}
        return tensors, facts | {"silences": {option: asdict(s) for option, s in self._silences.items()}}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave.

        Raises:
            KeyError, RuntimeError, TutelageError: if it does not fit.
        """
        before = without_prefix("before", tensors)
        net = None
        if before:
            net = self._product().net
            net.load_state_dict(before)
        self.done = int(facts["done"])
        self._enter(int(facts["phase"]), net)
        self.student.load_state_dict(without_prefix("student", tensors))
        self.teacher.load_state_dict(without_prefix("teacher", tensors))
        if self.average is not None:
            self.average.load_state_dict(without_prefix("average", tensors))
        self.records, self._ended = list(facts["records"]), dict(facts["ended"])
        self._silences = {option: _Silence(**silence) for option, silence in facts["silences"].items()}
        self.frames = list(tensors["frames"]) if "frames" in tensors else []
        self._seen = {name: list(values) for name, values in without_prefix("seen", tensors).items()}
