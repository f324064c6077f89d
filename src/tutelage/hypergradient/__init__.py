"""Hypergradients: the derivative of a validation loss through a student's training.

One call for all strategies, which differ in memory, bias and cost::

    loss, gradients = Unrolled()(student, lessons, validation_loss, wrt)
"""

from .base import Hypergradient as Hypergradient
from .base import Stats as Stats
from .choosing import Sizes as Sizes
from .choosing import auto as auto
from .choosing import sizes_of as sizes_of
from .fitting import Decision as Decision
from .fitting import Fitting as Fitting
from .fitting import check_tape as check_tape
from .fitting import tape_bytes as tape_bytes
from .implicit import ConjugateGradient as ConjugateGradient
from .implicit import IdentityHessian as IdentityHessian
from .implicit import Neumann as Neumann
from .one_step import OneStep as OneStep
from .problem import Problem as Problem
from .recompute import Recompute as Recompute
from .reversible import Reversible as Reversible
from .unrolled import Truncated as Truncated
from .unrolled import Unrolled as Unrolled
