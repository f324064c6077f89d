"""Iterative teaching against random rows: how soon a learner of gradient steps comes where it should end.

A linear learner takes a step of gradient descent on one example at a time. Teachers who know where it should end choose
that example, or its label, from what they know of the learner: its weights, its losses, or its answers alone. Beside
them stand the smallest sets from which a learner that studies everything at once learns the same weights.

Source: Liu, Dai, Humayun, Tay, Yu, Smith, Rehg and Song, "Iterative machine teaching", ICML 2017.
"""

from .arms import TEACHERS as TEACHERS
from .options import Config as Config
from .running import resume as resume
from .running import run as run
from .used import check as check

HELP = "Iterative teaching: examples or labels that bring a learner of gradient steps to a target, against random rows."
ABOUT = {name: entry.about for name, entry in TEACHERS.items()}
"""A line about each teacher, by name."""
