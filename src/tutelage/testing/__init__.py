"""Contracts as executable checks, for our own and for third-party teachers, rules, networks and hypergradients.

Each check raises :class:`ContractError` with the law that is broken, as scikit-learn's ``check_estimator`` does.
"""

from .hypergradients import HypergradientCall as HypergradientCall
from .hypergradients import check_hypergradient as check_hypergradient
from .laws import ContractError as ContractError
from .rules import check_rule as check_rule
from .students import check_student as check_student
from .teachers import check_teacher as check_teacher
from .tiny import tiny_batch as tiny_batch
from .tiny import tiny_net as tiny_net
