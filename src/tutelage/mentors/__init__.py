"""Mentors: curricula that a small network has learned, from a written one or from trusted labels."""

from .dump import Dump as Dump
from .files import SHIPPED as SHIPPED
from .files import load_mentor as load_mentor
from .files import save_mentor as save_mentor
from .files import shipped as shipped
from .fitting import FitReport as FitReport
from .fitting import fit_curriculum as fit_curriculum
from .fitting import fit_rows as fit_rows
from .mentor import Mentor as Mentor
from .mentor import Settings as Settings
from .mentor import describe as describe
from .network import MentorNetwork as MentorNetwork
from .rows import Rows as Rows
from .rows import grid as grid
