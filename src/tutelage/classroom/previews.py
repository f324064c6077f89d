"""An arm as a participant would see it, without anything being recorded: for the researcher."""

from ..errors import ConfigError, unknown
from .config import ADAPTIVE
from .images import Encoded
from .material import Variant
from .pages import choices, picture
from .plans import Planned, button_order, fallback, planned_teaching, planned_test, session_seed
from .replies import Feedback, Place, Question
from .room import Room


def preview(room: Room, arm_name: str, position: int, *, given: int | None = None) -> Question | Feedback:
    """Return a page of an arm.

    Of an adaptive arm it shows the drawn sequence that is its fallback, since nobody has answered.

    Args:
        room: the experiment.
        arm_name: of the arm.
        position: of the item, from 0 over all phases.
        given: class that was chosen; None: the question. A test item has no feedback.

    Returns:
        Its tokens of images are ``ITEM/image`` and ``ITEM/explanation``, see :func:`preview_image`.

    Raises:
        ConfigError: for an unknown arm, or a position or a class that is none.
    """
    if arm_name not in room.material.arms:
        raise ConfigError(unknown("arm", arm_name, list(room.material.arms)))
    config, classes = room.config, room.material.classes
    if not 0 <= position < config.length or (given is not None and not 0 <= given < len(classes)):
        raise ConfigError(
            f"item {position}, answer {given}: there are {config.length} items and {len(classes)} classes."
        )
    seed = session_seed(config.seed, f"preview/{arm_name}")
    row = _rows(room, arm_name, seed)[position]
    item, place = room.material.items[row.item_id], Place(position, "preview", "", "")
    buttons = choices(room, tuple(button_order(config, seed, len(classes))))
    shown = picture(room, item.id, "image", f"{item.id}/image")
    left = (config.num_train if row.phase == "train" else config.length) - position
    if given is None or row.phase != "train":
        return Question(place, row.phase != "train", position + 1, config.length, left, shown, None, buttons)
    explanation = picture(room, item.id, "explanation", f"{item.id}/explanation") if row.show_explanation else None
    return Feedback(
        place,
        position + 1,
        config.length,
        left - 1,
        shown,
        explanation,
        None,
        buttons,
        given,
        item.label,
        config.feedback_ms,
    )


def preview_image(room: Room, item_id: str, variant: Variant) -> Encoded | None:
    """Return the image of an item for the researcher, or None."""
    item = room.material.items.get(item_id)
    found = None if item is None else item.picture(variant)
    return None if found is None else room.images.encoded(*found)


def _rows(room: Room, arm_name: str, seed: int) -> list[Planned]:
    arm, config = room.material.arms[arm_name], room.config
    rows = planned_teaching(config, arm, seed)
    if arm.config.teacher in ADAPTIVE:
        for position in range(config.num_train):
            item = fallback(seed, arm, [row.item_id for row in rows])
            rows.append(Planned(position, "train", item, arm.explained[arm.item_ids.index(item)]))
    return rows + planned_test(config, room.material, seed)
