"""The stages that most recipes with a teacher have: the teacher itself, and students of one initial network."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from ...lesson import Batch
from ...teacher import Teacher
from ...teachers import Uniform
from .options import Chosen
from .preparing import check_batch, steps_of, student_rule, teacher_rule
from .setting import Setting
from .stage import Ended, Given, Networks, Record, Stage, Taught


def teacher_stage(
    options: Chosen, rows: int, name: str = "teacher", *, number: int = 1, class_map: Sequence[int] | None = None
) -> Stage:
    """Return the stage of a teacher: trained on all training rows by their labels, or read from a file.

    Args:
        options: of the recipe.
        rows: training rows there are.
        name: of the stage.
        number: teachers of other numbers have other initial networks and batches.
        class_map: our class c is class ``class_map[c]`` of a teacher from a file; default: the same order.
    """
    role = "teacher" if number == 1 else f"teacher {number}"
    if options.teacher_weights is not None and number == 1:
        return Given(
            name=name,
            about=f"{options.teacher} with the weights of {options.teacher_weights}.",
            take=lambda setting, _: [from_file(setting, options)],
            like=lambda setting: [setting.net(options.teacher, role)],
            class_map=class_map,
        )
    steps = options.teacher_steps or steps_of(options, rows, options.teacher_batch)
    check_batch("--teacher-batch", options.teacher_batch, rows, options)
    return Taught(
        name=name,
        about=f"{options.teacher}, taught by the labels of all {rows:,} training rows.",
        steps=steps,
        net=lambda setting: setting.net(options.teacher, role),
        rule=teacher_rule(options, steps),
        teacher=lambda setting, _: Uniform(),
        batch=lambda setting, _: setting.stream(
            f"{role} batches",
            setting.order,
            options.teacher_batch,
            steps,
            replacement=options.replacement,
            banked=False,  # what is kept of its answers must not change it
        ),
        stack=options.stack,
    )


def from_file(setting: Setting, options: Chosen) -> nn.Module:
    """Return the teacher's network with the weights of a file.

    Raises:
        DataError: if they do not fit, naming the layers.
    """
    from ...nets.weights import load_weights

    net = setting.net(options.teacher, "teacher")
    load_weights(net, Path(options.teacher_weights))
    return net


def student_stage(
    options: Chosen,
    rows: int,
    name: str,
    about: str,
    teacher: Callable[[Setting, Networks], Teacher],
    *,
    needs: tuple[str, ...] = (),
    net: str | None = None,
    role: str = "student",
    facts: Callable[[Ended], Record] | None = None,
    stack: bool = True,
) -> Taught:
    """Return the stage of a student on the first rows of the training set.

    Args:
        options: of the recipe.
        rows: how many rows students study.
        name: of the stage.
        about: a line about it.
        teacher: makes its teacher of what the needed stages left.
        needs: names of these.
        net: name of its network; default: the student's.
        role: of its initial network; students of one role begin the same.
        facts: see :class:`Stage`.
        stack: whether seeds may be trained in one pass.
    """
    network = net or options.student
    steps = steps_of(options, rows, options.batch_size)
    check_batch("--batch-size", options.batch_size, rows, options)
    return Taught(
        name=name,
        about=about,
        needs=needs,
        facts=facts,
        steps=steps,
        net=lambda setting: setting.net(network, role),
        rule=student_rule(options, steps),
        teacher=teacher,
        batch=lambda setting, _: students_stream(setting, options, rows),
        stack=options.stack and stack,
    )


def students_stream(setting: Setting, options: Chosen, rows: int) -> Callable[[int], Batch]:
    """Return the batches that all students of a seed share."""
    size, steps = options.batch_size, steps_of(options, rows, options.batch_size)
    return setting.stream("student batches", setting.order[:rows], size, steps, replacement=options.replacement)
