"""STRICT and EXPLAIN against random rows: what learners who hold hypotheses are left with after a few shown rows.

Teachers choose an ordered teaching set from a labelled pool for learners who decide by a linear hypothesis for each
class and let go of it where it is wrong. Hypotheses look at pixels, or at the features of a network that was trained on
the pool; its explanations tell EXPLAIN which images are plain, and go with the teaching sets that are exported.

Source: Singla et al., "Near-optimally teaching the crowd to classify", ICML 2014; Mac Aodha et al., "Teaching
categories to human learners with visual explanations", CVPR 2018.
"""

from .arms import TEACHERS as TEACHERS
from .options import Config as Config
from .running import resume as resume
from .running import run as run
from .used import check as check

HELP = "STRICT and EXPLAIN: ordered teaching sets for learners who hold hypotheses, with explanations, to be exported."
ABOUT = {name: entry.about for name, entry in TEACHERS.items()}
"""A line about each teacher, by name."""
