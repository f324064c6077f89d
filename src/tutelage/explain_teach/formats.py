"""What the files of an experiment hold, one class a kind of file."""

from datetime import datetime
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from .wire import Wire

Count: TypeAlias = Annotated[int, Field(ge=0)]
Flag: TypeAlias = Literal[0, 1]
DRAWN = -1
"""In a test sequence: any image of the test pool that the person has not seen."""

_DAY = 24 * 3600


class TeachingImage(Wire):
    """An entry of ``teaching_images.json``, whose position is the id of the image, from 0.

    Attributes:
        class_label: position of its class in the settings, from 0.
        image_url: where it is.
        explain_url: where its explanation is; images for the test have none.
    """

    class_label: Count
    image_url: str
    explain_url: str | None = None

    @property
    def shown_explanation(self) -> str:
        """What is shown as its explanation: the image itself where it has none."""
        return self.image_url if self.explain_url is None else self.explain_url


class Settings(Wire):
    """``settings.json``.

    Attributes:
        class_names: in label order; may hold spaces that folders have not.
        train_indices: ids of images that may teach.
        test_indices: ids of images that may test.
        test_sequence: ids of the test items, or -1 for one drawn from the test images.
        experiment_id: a number.
        scale: by which images are enlarged.
    """

    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    train_indices: tuple[Count, ...]
    test_indices: tuple[Count, ...]
    test_sequence: tuple[Annotated[int, Field(ge=DRAWN)], ...]
    experiment_id: int
    scale: Annotated[float, Field(gt=0)]


class Strategy(Wire):
    """``NAME.strat``: a teaching sequence, or how one is drawn.

    Attributes:
        num_train: how many teaching items there are.
        display_explain_image: 1 where the explanation is shown; an entry an item for a fixed sequence, else one number.
        im_ids: ids of the images of a fixed sequence, in order; None: drawn at random for each person.
    """

    num_train: Annotated[int, Field(ge=1)]
    display_explain_image: Flag | tuple[Flag, ...]
    im_ids: tuple[Count, ...] | None = None

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        shown = self.display_explain_image
        for name, values in (("im_ids", self.im_ids), ("display_explain_image", shown)):
            if isinstance(values, tuple) and len(values) != self.num_train:
                raise ValueError(f"{name} has {len(values)} entries, but num_train is {self.num_train}")
        return self

    def explained(self, position: int) -> bool:
        """Whether the item at a position, from 0, is shown with its explanation."""
        shown = self.display_explain_image
        return bool(shown[position] if isinstance(shown, tuple) else shown)


class Session(Wire):
    """A record of ``results.json``: what one person answered, an entry an item in each list.

    Attributes:
        completion_time: when it was saved, ``Y-m-d H:M:S``.
        strategy: name of the teaching sequence.
        image_id: which image was shown. Ids of a person may be of another list of images, see :mod:`.joining`.
        response: the class that was chosen.
        gt_label: the right class.
        is_train: 1 for teaching items, which come first.
        time: of each answer, ``HH:MM:SS``, without a date.
        score: percentage of right answers in the test, rounded to two decimals.
        mturk_code: of the person.
        experiment_id: as in the settings.
    """

    completion_time: str
    strategy: str
    image_id: tuple[Count, ...]
    response: tuple[Count, ...]
    gt_label: tuple[Count, ...]
    is_train: tuple[Flag, ...]
    time: tuple[str, ...]
    score: Annotated[float, Field(ge=0, le=100)]
    mturk_code: str
    experiment_id: int

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count = len(self.image_id)
        for name in ("response", "gt_label", "is_train", "time"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, but image_id has {count}")
        if list(self.is_train) != sorted(self.is_train, reverse=True):
            raise ValueError("is_train must be ones, then zeros")
        _as_time("completion_time", self.completion_time, "%Y-%m-%d %H:%M:%S")
        for time in self.time:
            _as_time("time", time, "%H:%M:%S")
        return self

    def seconds(self) -> tuple[int, ...]:
        """Return when each answer came, in seconds after midnight of the first day; a time that decreases is of the
        next day.
        """
        found: list[int] = []
        for text in self.time:
            hours, minutes, seconds = map(int, text.split(":"))
            now, last = 3600 * hours + 60 * minutes + seconds, found[-1] if found else 0
            days = last // _DAY
            found.append(now + _DAY * (days + (now + _DAY * days < last)))
        return tuple(found)


def _as_time(key: str, text: str, form: str) -> None:
    try:
        datetime.strptime(text, form)
    except ValueError:
        raise ValueError(f"{key} is {text!r}, but must be of the form {form}") from None
