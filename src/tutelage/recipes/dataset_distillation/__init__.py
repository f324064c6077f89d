"""A few synthetic images, and the step sizes to learn them with, in place of a data set.

Each seed distils a set of its own, which then teaches networks that no outer step saw. Beside it stand real sets of as
many images, taught in as many steps at the constant step size that serves best on training rows, nearest neighbours on
them, free training, and training on all data. Test rows are looked at when all is chosen.

Source: Wang, Zhu, Torralba and Efros, "Dataset distillation", 2018; the later methods: Zhao et al., ICLR 2021, Zhao
and Bilen, ICML 2021 and WACV 2023, Cazenavette et al., CVPR 2022.
"""

from .comparing import ABOUT as ABOUT
from .options import Config as Config
from .running import resume as resume
from .running import run as run
from .used import check as check

HELP = "Dataset distillation: learn a few images that train a network in a few steps, and what they are worth."
