"""A stage under way: trained with all seeds, tested now and then, kept so that it can go on at any step."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...checkpoint import with_prefix, without_prefix
from ...errors import CheckpointError, NotFiniteError, TutelageError
from ...evaluation import accuracy, calibration_error, per_class_accuracy
from ...runs import RunFolder
from ..trajectory import Watcher
from .course import Metrics
from .files import Left, Outcome, write_outcome
from .prints import fingerprint
from .setting import Setting
from .stage import Ended, Record, Stage


class UnderWay:
    """A stage on its way, from its start or from a checkpoint.

    Args:
        stage: what to run.
        settings: one a seed.
        options: with ``evaluations``, ``pick`` and ``checkpoint_seconds``.
        folder: of the run.
        left: what earlier stages left.
        watcher: who follows.

    Raises:
        CheckpointError: if there is a checkpoint of this stage that does not fit.
    """

    def __init__(
        self,
        stage: Stage,
        settings: Sequence[Setting],
        options: Any,
        folder: RunFolder,
        left: Left,
        watcher: Watcher,
    ) -> None:
        self.stage, self.settings, self.folder, self.watcher = stage, settings, folder, watcher
        self.checkpoint_seconds: float = options.checkpoint_seconds
        self.by_validation = options.pick == "validation" and len(settings[0].roles.validation) > 0
        self.every = max(1, stage.length // options.evaluations)
        needed = {name: left.of(name) for name in stage.needs}
        self.networks = [{name: nets[s] for name, nets in needed.items()} for s in range(len(settings))]
        self.course = stage.begin(settings, self.networks)
        self.records: list[list[Record]] = [[] for _ in settings]
        self.best: list[Record | None] = [None] * len(settings)
        self.kept: dict[str, Tensor] = {}
        self.done, self.seconds = 0, 0.0
        self._seen: list[list[dict[str, Tensor]]] = [[] for _ in settings]
        self._restore()

    def to_the_end(self) -> Outcome:
        """Run the stage, write what it leaves, and return what it recorded.

        Raises:
            NotFiniteError: if a loss or an answer is not finite.
        """
        started = saved_at = time.monotonic()
        before = self.seconds
        self.watcher.start(self.stage.name, max(1, self.stage.length), self.done)
        for metrics in self._rounds():
            for seen, own in zip(self._seen, metrics):
                seen.append(_scalars(own))
            self.done += 1
            tested = self._test() if self.done % self.every == 0 or self.done == self.stage.length else None
            self.watcher.advance(tested)
            self.seconds = before + time.monotonic() - started
            if time.monotonic() - saved_at >= self.checkpoint_seconds and self.done < self.stage.length:
                self._save()
                saved_at = time.monotonic()
        if not self.stage.length:
            self.watcher.advance(self._test())
        outcome = self._outcome()
        self.seconds = before + time.monotonic() - started
        return outcome

    def _rounds(self) -> Iterator[Sequence[Metrics]]:
        return self.course.rounds(self.done)

    def _test(self) -> float:
        """Test all seeds; what was seen since the last time is summed up and forgotten."""
        tested, validated = self._answers("test"), self._answers("validation")
        new = []
        for s, setting in enumerate(self.settings):
            answers, y = tested[s]
            logits = self.course.counting(answers)
            if not logits.isfinite().all():
                raise NotFiniteError(
                    f"the answers to the test rows are not finite after {self.done} steps; lower the learning rate."
                )
            record: Record = {
                "arm": self.stage.name,
                "seed": setting.seed,
                "step": self.done,
                "accuracy": accuracy(logits, y),
                "calibration_error": calibration_error(logits, y),
                "per_class": per_class_accuracy(logits, y),
            }
            if len(answers) > 1:
                record["members"] = [accuracy(one, y) for one in answers]
                record["mean_member_accuracy"] = float(np.mean(record["members"]))
            if validated is not None:
                own, labels = validated[s]
                record["validation_accuracy"] = accuracy(self.course.counting(own), labels)
            new.append(record | _means(self._seen[s]))
            self._seen[s] = []
            self.records[s].append(new[-1])
            self._pick(s, new[-1])
        self.folder.append_metrics(new)
        return float(np.mean([record["accuracy"] for record in new]))

    def _answers(self, role: Literal["test", "validation"]) -> Any:
        """Return logits (K, N, C) and labels of each seed's rows; None if there are none."""
        if role == "validation" and not len(self.settings[0].roles.validation):
            return None
        rows = [setting.held_out(role) for setting in self.settings]
        pieces = [self.course.predict(xs) for xs in zip(*(x for x, _ in rows), strict=True)]
        return [(torch.cat([piece[s] for piece in pieces], 1), y) for s, (_, y) in enumerate(rows)]

    def _pick(self, s: int, record: Record) -> None:
        """Take the networks of a seed as the result if they are the best on its validation rows so far."""
        best = self.best[s]
        if not self.by_validation:
            self.best[s] = record
        elif best is None or record["validation_accuracy"] > best["validation_accuracy"]:
            self.best[s] = record
            for k, net in enumerate(self.course.networks()[s]):
                self.kept |= {n: t.clone() for n, t in with_prefix(f"{s}.{k}", net.state_dict()).items()}

    def _outcome(self) -> Outcome:
        nets = [self._picked(s, own) for s, own in enumerate(self.course.networks())]
        ends, prints = [], []
        for s, setting in enumerate(self.settings):
            best = self.best[s]
            assert best is not None
            more = {} if self.stage.facts is None else self.stage.facts(Ended(setting, nets[s], self.networks[s]))
            ends.append(best | more)
            given = {name: fingerprint(own) for name, own in self.networks[s].items()}
            pairing = {"split": setting.split_fingerprint, **self.stage.pairing(setting, self.networks[s])}
            prints.append({"network": fingerprint(nets[s]), "teachers": given, "pairing": pairing})
        outcome = Outcome(self.records, ends, prints, self.seconds)
        write_outcome(self.folder, self.stage.name, outcome, nets)
        return outcome

    def _picked(self, s: int, nets: list[nn.Module]) -> list[nn.Module]:
        if not self.by_validation:
            return nets
        chosen = [copy.deepcopy(net) for net in nets]
        for k, net in enumerate(chosen):
            net.load_state_dict(without_prefix(f"{s}.{k}", self.kept))
        return chosen

    def _save(self) -> None:
        tensors, facts = self.course.state()
        whole = with_prefix("course", tensors) | with_prefix("kept", self.kept)
        for s, seen in enumerate(self._seen):
            for name in {name for each in seen for name in each}:
                whole[f"seen.{s}.{name}"] = torch.stack([each[name] for each in seen if name in each])
        best = [None if record is None else record["step"] for record in self.best]
        known = {"stage": self.stage.name, "course": facts, "records": self.records, "best": best}
        self.folder.save(whole, known | {"done": self.done, "seconds": self.seconds})

    def _restore(self) -> None:
        saved = self.folder.load()
        if saved is None or saved[1].get("stage") != self.stage.name:
            return
        tensors, facts = saved
        try:
            self.course.restore(without_prefix("course", tensors), facts["course"])
            self.kept = without_prefix("kept", tensors)
            self.records, self.done, self.seconds = facts["records"], facts["done"], facts["seconds"]
            for s, step in enumerate(facts["best"]):
                self.best[s] = next((r for r in self.records[s] if r["step"] == step), None)
                self._seen[s] = _steps(without_prefix(f"seen.{s}", tensors))
        except (KeyError, ValueError, RuntimeError, IndexError, TutelageError) as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.folder.checkpoint} does not fit this run ({first}); remove it to train this stage from its "
                "start."
            ) from error


def _scalars(metrics: Metrics) -> dict[str, Tensor]:
    """What a step reported in single numbers."""
    found = {name: torch.as_tensor(value) for name, value in metrics.items() if isinstance(value, int | float | Tensor)}
    return {name: value.detach().cpu() for name, value in found.items() if value.ndim == 0}


def _means(seen: Sequence[Mapping[str, Tensor]]) -> Record:
    names = dict.fromkeys(name for each in seen for name in each)
    return {n: float(torch.stack([each[n] for each in seen if n in each]).double().mean()) for n in names}


def _steps(values: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The steps that :func:`_means` will see, from their values by name."""
    longest = max((len(v) for v in values.values()), default=0)
    return [{name: v[i] for name, v in values.items() if i < len(v)} for i in range(longest)]
