"""``python -m tutelage``."""

from .cli import entry

entry()
