"""The setting of a run in which networks teach networks, in words: who taught whom, from what."""

from collections.abc import Mapping
from typing import Any

from . import setting
from .markup import Markup
from .reading import Run

_RATES = {
    "one-cycle": "up and down in one cycle",
    "steps": "in steps",
    "cosine": "half a cosine",
    "constant": "constant",
}


def head(run: Run) -> Markup:
    """Title, the setting in a paragraph, the facts."""
    own = {"Teacher": _teacher(run), "Student": _student(run), "Training": _training(run), "Answers": _answers(run)}
    return setting.head(run, sentences(run), setting.with_own(run, own))


def sentences(run: Run) -> list[str]:
    """Return the setting as sentences, from whatever the run says of itself."""
    data, arms, seeds = run.part("data"), len(run.arms), len(run.seeds)
    told = [_subject(run)] if "name" in data else []
    told.append(
        f"{arms} way{'s' * (arms != 1)} to teach it {'are' if arms != 1 else 'is'} compared over {seeds} "
        f"seed{'s' * (seeds != 1)}; {_paired(run)}."
    )
    if data.get("test_rows"):
        told.append(f"Accuracy is measured on {data['test_rows']:,} test examples, on which nothing is chosen.")
    if run.part("config").get("teacher_weights") and not data.get("own_test", True):
        told.append(
            f"The teacher's weights are from a file, and {data['name']} has no test examples of its own: the teacher "
            "may have learned from some of these."
        )
    return told


def _subject(run: Run) -> str:
    data, config = run.part("data"), run.part("config")
    name, rows = data["name"], data.get("train_rows", 0)
    student = f"A student ({config.get('student')})"
    if more := run.part("data_distillation"):
        return (
            f"A network ({config.get('student')}) learns {name} from {more['labelled_rows']:,} labelled examples and "
            f"labels {more['other_rows']:,} others; a fresh one of its kind learns from both."
        )
    if run.part("assistant"):
        chain = run.part("assistant")
        return (
            f"{student} learns {name} from {rows:,} examples, directly from a large teacher "
            f"({chain['teacher']['net']}) or by way of assistants between the two."
        )
    few = run.part("distillation").get("student_rows", rows)
    of = f" of {rows:,}" if few != rows else ""
    whose = f" from the answers of a teacher ({config.get('teacher')})" if "teacher" in run.part("stages") else ""
    return f"{student} learns {name} from {few:,}{of} examples{whose}."


def _paired(run: Run) -> str:
    shared = "the split, the first weights of the student"
    if run.part("data_distillation"):
        return f"with each seed they share {shared} and the labelled examples"
    if run.part("assistant"):
        return f"with each seed they share {shared}, its batches and the large teacher"
    return f"with each seed they share {shared}, the batches and, where there is one, the large teacher"


def _size(run: Run, *names: str) -> str:
    stages = run.part("stages")
    found = next((stages[n]["parameters"] for n in names if "parameters" in stages.get(n, {})), None)
    return "" if found is None else f", {found:,} parameters"


def _teacher(run: Run) -> str:
    config, stage = run.part("config"), run.part("stages").get("teacher")
    if stage is None:
        return ""
    named = f"{config.get('teacher')}{_size(run, 'teacher')}"
    if weights := config.get("teacher_weights"):
        return f"{named}; weights from {str(weights).rpartition('/')[2]}"
    batch, rule = config.get("teacher_batch"), config.get("teacher_rule") or config.get("rule")
    rate = config.get("teacher_lr") or config.get("lr")
    return f"{named}; {stage['steps']:,} steps, batches of {batch}, {rule}, learning rate {rate}"


def _student(run: Run) -> str:
    return f"{run.part('config').get('student')}{_size(run, 'scratch', 'supervised', *run.arms)}"


def _training(run: Run) -> str:
    config, stages = run.part("config"), run.part("stages")
    steps = max((stages[arm]["steps"] for arm in run.arms if arm in stages), default=0)
    drawn = "drawn one by one" if config.get("replacement") else "pass by pass"
    rates = _RATES.get(str(config.get("rates")), "")
    parts = [
        f"{steps:,} steps",
        f"batches of {config.get('batch_size')}, {drawn}",
        f"{config.get('rule')}, learning rate {config.get('lr')}{f', {rates}' if rates else ''}",
        f"weight decay {config.get('weight_decay')}",
    ]
    if config.get("augment") not in (None, "none"):
        parts.append(str(config["augment"]))
    if config.get("warp"):
        parts.append("random warps")
    return "; ".join(parts)


def _answers(run: Run) -> str:
    part = run.part("distillation")
    found: Mapping[str, Mapping[str, Any]] = part.get("caches", {})
    told = []
    if found:
        files = [facts for facts in found.values() if facts["source"] == "cache"]
        before, live = sum(bool(facts.get("reused")) for facts in files), len(found) - len(files)
        told.append(f"of {len(found)} teachers: {len(files)} from files, {before} of these from before, {live} live")
        reasons = dict.fromkeys(facts.get("reason", "") for facts in found.values() if facts["source"] != "cache")
        told += [f"live, because {reason.rstrip('.')}" for reason in reasons]
    told += [f"{arm} live, because {reason}" for arm, reason in part.get("live", {}).items()]
    return "; ".join(told)
