"""Functions of users, by ``package.module:function``."""

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import ConfigError


def import_function(kind: str, name: str) -> Callable[..., Any]:
    """Return a function from the current folder or an installed package.

    Args:
        kind: what it is for, such as ``"student"``, for messages.
        name: ``package.module:function``.

    Raises:
        ConfigError: if it has another form, cannot be imported, or is no function.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f'{kind} "{name}" is not of the form package.module:function.')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'{kind} {name}: cannot import "{error.name}"; run from the folder that holds it, or install it.'
        ) from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{kind} {name}: importing {module_name} failed: {told(error)}") from error
    if not hasattr(module, attribute):
        raise ConfigError(f'{kind} {name}: module "{module_name}" has no "{attribute}".')
    function = getattr(module, attribute)
    if not callable(function):
        raise ConfigError(f"{kind} {name}: {attribute} is a {type(function).__name__}, but needs to be a function.")
    found: Callable[..., Any] = function
    return found


def told(error: BaseException) -> str:
    """Return what went wrong in somebody else's code, and where, in one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({Path(frame.filename).name}, line {frame.lineno})"
