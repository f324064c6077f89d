"""Recipes: published experiments, each a frozen dataclass of options and ``run(config, out) -> result``.

A new recipe is one file and one line here.
"""

from collections.abc import Mapping
from types import ModuleType

from . import curricula, deep_interactions, mentornet

RECIPES: Mapping[str, ModuleType] = {
    "curricula": curricula,
    "mentornet": mentornet,
    "deep-interactions": deep_interactions,
}
"""Recipes by name; each module has ``Config``, ``run`` and ``resume``."""
