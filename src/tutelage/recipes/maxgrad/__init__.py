"""MaxGrad against random rows and simpler selections: how soon a simulated student learns from a few shown examples.

Every teacher chooses an ordered teaching set from a pool whose labels may be wrong, a row at a time, for a student that
studies each before the next is chosen. Test rows are looked at when a student has studied; nothing is chosen by them.

Source: Wang, Nagrecha and Vasconcelos, "Gradient-based algorithms for machine teaching", CVPR 2021.
"""

from .arms import TEACHERS as TEACHERS
from .options import Config as Config
from .running import resume as resume
from .running import run as run
from .used import check as check

HELP = "MaxGrad and simpler selections: a short, ordered teaching set from a labelled pool, and what students learn."
ABOUT = {name: entry.about for name, entry in TEACHERS.items()}
"""A line about each teacher, by name."""
