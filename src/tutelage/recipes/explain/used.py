"""In which runs an option counts, and what options may not be."""

from collections.abc import Sequence

from ...errors import ConfigError
from ..ranges import within
from ..selection.options import check_export, check_pool
from ..used import Table, use
from .arms import EXPLAINED, PREFERRING
from .options import Chosen, Config

USED: Table = {
    "number": use(hypotheses=("cluster_rand", "rand", "sparse")),
    "sigma_e": use(*EXPLAINED),
    **dict.fromkeys(("sigma_d", "dist_scale"), use(*PREFERRING)),
    **dict.fromkeys(("net", "epochs"), (use(features="net"), use(explain=("cam", "occlusion")))),
}
"""Options that only count with some values of other options, or with some teachers."""


def check(options: Config) -> None:
    """Refuse values outside their ranges, and what goes not together.

    Raises:
        ConfigError: naming the option.
    """
    check_pool(options)
    for name, most in (("size", 10**6), ("rows", 10**6), ("number", 10**5), ("epochs", 10**4), ("learners", 10**5)):
        within(options, name, 1, most)
    within(options, "alpha", 0, 1e3, above=True)
    for name in ("sigma_e", "sigma_d"):
        within(options, name, 0, 1e3)
    if options.size % options.rows:
        raise ConfigError(f"--size {options.size} is no multiple of --rows {options.rows}; take one.")
    check_export(options.export)


def check_teachers(options: Chosen, teachers: Sequence[str]) -> None:
    """Refuse teachers that lack what they rank by.

    Raises:
        ConfigError: naming them.
    """
    if options.explain == "none" and (found := [name for name in teachers if name in EXPLAINED]):
        raise ConfigError(
            f"teacher {found[0]} ranks by how compact explanations are: give --explain cam or occlusion, or take "
            "explain-dense, which does without."
        )


def check_images(options: Chosen, shape: Sequence[int]) -> None:
    """Refuse explanations and exports of rows that are no images.

    Raises:
        ConfigError: naming the option.
    """
    is_image = len(shape) == 3 and shape[0] in (1, 3)
    for name, asked in (("--explain", options.explain != "none"), ("--export", options.export is not None)):
        if asked and not is_image:
            raise ConfigError(
                f"{name} needs grey or colour images, but a row has shape {tuple(shape)}; leave it out, or take images."
            )


def check_number(options: Chosen, classes: int) -> None:
    """Refuse fewer hypotheses than are learned.

    Raises:
        ConfigError: naming both.
    """
    if options.hypotheses == "cluster":
        return
    learned = classes
    if options.hypotheses == "cluster_rand":
        learned += 2 * classes + (classes * (classes - 1) // 2 if classes > 2 else 0)
    if options.number < learned:
        raise ConfigError(
            f"--number {options.number} is fewer than the {learned} hypotheses that {options.hypotheses} learns from "
            f"{classes} classes; ask for {learned} or more."
        )
