"""The pipeline: tf.data's operators with indices that survive them and exact resume."""

from ..checks import ElementError as ElementError
from .nodes import Record as Record
from .pipeline import Pipeline as Pipeline
