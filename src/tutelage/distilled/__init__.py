"""Distilled sets: a few synthetic examples that train a network, as values and as files."""

from .artefact import Artefact as Artefact
from .files import load as load
from .files import save as save
from .lessons import DistilledSet as DistilledSet
from .lessons import labels_in_turn as labels_in_turn
from .lessons import named_rates as named_rates
from .step_sizes import raw_of as raw_of
from .step_sizes import step_sizes as step_sizes
from .teaching import accuracies as accuracies
from .teaching import accuracies_along as accuracies_along
from .teaching import crowd as crowd
from .teaching import predictions as predictions
from .teaching import taught as taught
