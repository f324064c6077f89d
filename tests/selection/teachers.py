"""The teachers that select, ready to be tested alike."""

from tutelage.codewords import Fit
from tutelage.pools import Consistent, LinearReference, everything
from tutelage.selecting import Selecting
from tutelage.sequences import Refitted, teaching_set
from tutelage.teachers import EL2N, Alignment, AtRandom, KCenter, MaxGrad, Prototypes

FACTORIES = {
    "maxgrad": MaxGrad,
    "maxgrad of the head": lambda keep, **options: MaxGrad(keep, space="head", **options),
    "maxgrad of pairs": lambda keep, **options: MaxGrad(keep, pairs=True, **options),
    "random": AtRandom,
    "balanced": lambda keep, **options: AtRandom(keep, balanced=True, **options),
    "prototypes": Prototypes,
    "herding": lambda keep, **options: Prototypes(keep, herding=True, **options),
    "k-center": KCenter,
    "el2n": EL2N,
    "alignment": Alignment,
    "cosine": lambda keep, **options: Alignment(keep, cosine=True, **options),
}


FAST = Refitted(Fit(steps=10))


def consistent(quota):
    """A filter by a reference that is fitted in no time."""
    return Consistent(LinearReference(Fit(steps=30)), 3, quota=quota)


class Given(Selecting):
    """Shows rows by scores that are given by index."""

    def __init__(self, scores, keep=everything, **options):
        super().__init__(keep, **options)
        self.scores = scores

    def score(self, look, free):
        return self.scores[look.pool.index]


def scores_of(teacher, pool, student, shown=()):
    look = teacher.looked(pool, student)
    for row in shown:
        look = look.showing(row)
    free = look.kept.clone()
    free[list(shown)] = False
    return teacher.score(look, free)


def chosen(teacher, pool, student, size=6):
    return teaching_set(teacher, pool, student, size, FAST).index.tolist()
