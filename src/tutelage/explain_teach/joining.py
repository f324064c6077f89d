"""Which image an answer was about.

Ids count images in ``teaching_images.json``, but some records were collected with another list: in the released
chinese_chars those of ``random`` and ``random_feedback``. The right class that is stored with an answer is always that
of what was shown. So ids are joined to images only where every one of a strategy agrees in class, after a shift that is
the same for all; else they keep the name ``strategy:id``.
"""

import warnings
from collections.abc import Mapping

from .experiment import Experiment

Place = tuple[str, int]
"""A strategy, and ``is_train``: 1 for teaching items, 0 for those of the test."""


def image_shifts(experiment: Experiment) -> Mapping[Place, int | None]:
    """Return by strategy and phase what is to be added to an id to have the position of its image.

    0 if it fits, else the one other number that does; None if none fits or several do.
    """
    shown: dict[Place, set[tuple[int, int]]] = {}
    for session in experiment.sessions:
        for image, label, phase in zip(session.image_id, session.gt_label, session.is_train):
            shown.setdefault((session.strategy, phase), set()).add((image, label))
    return {place: _shift(experiment, pairs, place[1]) for place, pairs in shown.items()}


def item_names(experiment: Experiment) -> tuple[tuple[str, ...], ...]:
    """Return the name of each item that each person of an experiment saw, a tuple a session.

    The name is the URL of the image, or ``strategy:id`` where that is not known, of which one warning tells.
    """
    shifts = image_shifts(experiment)
    lost = sorted(f"{name} ({'teaching' if phase else 'test'})" for (name, phase), by in shifts.items() if by is None)
    if lost:
        warnings.warn(
            f"{experiment.name}: image ids of {', '.join(lost)} do not belong to its list of images; these items are "
            "named strategy:id. Classes and answers are not concerned.",
            stacklevel=2,
        )
    return tuple(
        tuple(
            _name(experiment, session.strategy, image, shifts[session.strategy, phase])
            for image, phase in zip(session.image_id, session.is_train)
        )
        for session in experiment.sessions
    )


def _name(experiment: Experiment, strategy: str, image: int, shift: int | None) -> str:
    return f"{strategy}:{image}" if shift is None else experiment.images[image + shift].image_url


def _shift(experiment: Experiment, pairs: set[tuple[int, int]], phase: int) -> int | None:
    settings = experiment.settings
    indices = settings.train_indices if phase else settings.test_indices
    labels = {i: experiment.images[i].class_label for i in indices}
    if all(labels.get(image) == label for image, label in pairs):
        return 0
    least, most = (extreme(image for image, _ in pairs) for extreme in (min, max))
    candidates = range(min(labels, default=0) - least, max(labels, default=-1) - most + 1)
    fitting = [by for by in candidates if all(labels.get(image + by) == label for image, label in pairs)]
    return fitting[0] if len(fitting) == 1 else None
