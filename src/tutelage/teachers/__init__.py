"""Teachers, by lever. A new method is one file and one line here: its command-line name and its factory.

Everything that follows from the line (contract tests, ``tutelage list``, the docs page) reads :data:`CATALOGUE`.
"""

from collections.abc import Callable, Mapping

from ..teacher import Teacher
from .weigh import curriculum, uniform
from .weigh.curriculum import Curriculum as Curriculum
from .weigh.fixed import FixedWeights as FixedWeights
from .weigh.fixed import small_loss_mask as small_loss_mask
from .weigh.uniform import Uniform as Uniform

CATALOGUE: Mapping[str, Callable[..., Teacher]] = {
    "uniform": uniform.Uniform,
    "self-paced": curriculum.self_paced,
    "spcl": curriculum.spcl,
    "hard": curriculum.hard,
    "focal": curriculum.focal,
    "predefined": curriculum.predefined,
}
"""Factories by name; called with the method's own options by keyword, all of them optional."""
