"""Recipes: published experiments, each a frozen dataclass of options and ``run(config, out) -> result``.

A new recipe is one file and one line here.
"""

from collections.abc import Mapping
from types import ModuleType

from . import (
    assistant,
    curricula,
    data_distillation,
    dataset_distillation,
    deep_interactions,
    distillation,
    explain,
    iterative,
    maxgrad,
    mentornet,
    pseudo_labels,
    two_moons,
)

RECIPES: Mapping[str, ModuleType] = {
    "curricula": curricula,
    "mentornet": mentornet,
    "deep-interactions": deep_interactions,
    "pseudo-labels": pseudo_labels,
    "two-moons": two_moons,
    "assistant": assistant,
    "data-distillation": data_distillation,
    "distillation": distillation,
    "dataset-distillation": dataset_distillation,
    "maxgrad": maxgrad,
    "explain": explain,
    "iterative": iterative,
}
"""Recipes by name; each module has ``HELP``, ``Config``, ``run`` and ``resume``."""
