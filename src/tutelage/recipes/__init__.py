"""Recipes: published experiments, each a frozen dataclass of options and ``run(config, out) -> result``."""
