"""What ``experiment.toml`` says, checked: a mistake is one line with file, key, what was given and what is needed."""

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ConfigError
from ..explain_teach.wire import first_wrong

CONFIG_FILE = "experiment.toml"
DATABASE_VARIABLE = "TUTELAGE_CLASSROOM_DATABASE"
"""Environment variable whose value goes before the key ``database``, so that a password need not be in the file."""

Text: TypeAlias = Annotated[str, Field(min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]
Milliseconds: TypeAlias = Annotated[int, Field(ge=0, le=3_600_000)]
Minutes: TypeAlias = Annotated[float, Field(gt=0, le=1_000_000)]
Platform: TypeAlias = Literal["direct", "prolific", "mturk", "mturk_link"]
Teacher: TypeAlias = Literal["fixed", "random", "strict", "maxgrad", "review"]
ADAPTIVE: tuple[Teacher, ...] = ("strict", "maxgrad", "review")


class Table(BaseModel):
    """A table of the file: keys that it does not know are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Consent(Table):
    """What people agree to.

    Attributes:
        version: of the text; stored with everyone who accepted it.
        text: paragraphs are separated by an empty line.
        contact: whom to write to.
    """

    version: Text
    text: Text
    contact: str = ""


class TutorialPage(Table):
    """A page before the experiment.

    Attributes:
        title: its heading.
        text: paragraphs are separated by an empty line.
    """

    title: Text
    text: Text


class ArmConfig(Table):
    """One of the ways of teaching that are compared.

    Attributes:
        name: of the arm.
        teaching_set: a teaching set (.json) or a sequence of explain_teach (.strat), relative to the folder.
        teacher: ``fixed`` shows its items in order; ``random`` draws from them for each person; the others choose from
            them, one after the other, by the person's answers.
        show_explanation: after an answer, where the item has one.
        target_n: people wanted; None: ``planned_n``.
        active: whether new people come into it.
    """

    name: Text
    teaching_set: Text
    teacher: Teacher = "fixed"
    show_explanation: bool = True
    target_n: Count | None = None
    active: bool = True


class Recruitment(Table):
    """Where people come from.

    Attributes:
        platform: ``direct``: by a link of the researcher; ``mturk_link``: by one in a task of MTurk, to which people
            bring their code back.
        links: ``open``: anyone may come; ``single_use``: only with a link that was made for one person.
        keep_raw_ids: store the platform's ids, which payment may need, in a table of their own.
        outcome_codes: what the platform is told, by outcome: ``completed``, ``screened_out``, ``withdrawn``,
            ``declined``, ``timed_out``.
    """

    platform: Platform = "direct"
    links: Literal["open", "single_use"] = "open"
    keep_raw_ids: bool = False
    outcome_codes: dict[Literal["completed", "screened_out", "withdrawn", "declined", "timed_out"], Text] = {}


class ResponseTimes(Table):
    """Answers that are flagged, never dropped: faster, or slower, than this."""

    fast_ms: Milliseconds = 300
    slow_ms: Milliseconds = 120_000


DEFAULT_TUTORIAL = (
    TutorialPage(
        title="What you will do",
        text="You will see images, one at a time. For each one, choose the name that you think is right.",
    ),
    TutorialPage(
        title="First you learn",
        text="After each answer you are told whether it was right, and which name is the right one. "
        "At the beginning you can only guess. That is meant to be so.",
    ),
    TutorialPage(
        title="What to look at",
        text="For some images you are also shown which parts of the image matter. Take your time to look at them.",
    ),
    TutorialPage(
        title="Then you are tested",
        text="At the end there is a test with new images. There you are not told whether you were right.",
    ),
)


class Config(Table):
    """An experiment.

    Attributes:
        name: of the experiment, for the researcher.
        title: what participants read.
        planned_n: people wanted in each arm that names no other number.
        consent: what people agree to.
        arms: what is compared.
        images: folder of the images, relative to the folder of the file.
        database: file of the SQLite database, or URL of a PostgreSQL one; in no export, as it may hold a password.
        seed: of everything that is drawn.
        language: of the texts.
        payment: a sentence for the start page.
        about: what was studied, for the last page.
        tutorial: pages; then follows one that says that it begins.
        num_train: teaching items of a person.
        num_test: test items of a person.
        test_items: ``random``: drawn for each person from the test items of all arms; or paths of images, in order.
        catch_trials: paths of easy test images that everyone gets, among the test; they do not count in the score.
        scale: by which images are enlarged.
        feedback_ms: least time that feedback is looked at; going on earlier is flagged.
        alternate_ms: time between image and explanation.
        explanation: how it is shown.
        button_order: shuffled once for each person, or as the classes are.
        show_score: at the end.
        blind: hide the means of arms until all have their planned number.
        resume: what happens on return after more than ``max_gap_minutes``: go on, begin anew, or no more.
        max_gap_minutes: until then a person always goes on.
        abandon_after_minutes: idle time after which a place in an arm is free again.
        on_withdraw: delete the answers, or keep that there were some without what they were.
        retention_days: after which a reminder to purge is shown.
        adaptive_limit_ms: time that an adaptive teacher has.
        response_times: which answers are flagged.
        recruitment: where people come from.
    """

    name: Text
    title: Text
    planned_n: Count
    consent: Consent
    arms: Annotated[tuple[ArmConfig, ...], Field(min_length=1, strict=False)]
    images: Text = "images"
    database: Annotated[str, Field(min_length=1, exclude=True)] = "classroom.sqlite"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    language: Text = "en"
    payment: str = ""
    about: str = ""
    tutorial: Annotated[tuple[TutorialPage, ...], Field(strict=False)] = DEFAULT_TUTORIAL
    num_train: Count = 20
    num_test: Count = 20
    test_items: Literal["random"] | Annotated[tuple[Text, ...], Field(min_length=1, strict=False)] = "random"
    catch_trials: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    scale: Annotated[float, Field(gt=0, le=20)] = 2.0
    feedback_ms: Milliseconds = 2000
    alternate_ms: Annotated[int, Field(ge=334, le=60_000)] = 500  # at most three changes a second
    explanation: Literal["alternate", "side_by_side", "toggle"] = "alternate"
    button_order: Literal["participant", "fixed"] = "participant"
    show_score: bool = True
    blind: bool = True
    resume: Literal["resume", "restart", "block"] = "resume"
    max_gap_minutes: Minutes = 30.0
    abandon_after_minutes: Minutes = 60.0
    on_withdraw: Literal["delete", "strip"] = "delete"
    retention_days: Count = 60
    adaptive_limit_ms: Annotated[int, Field(ge=1, le=10_000)] = 200
    response_times: ResponseTimes = ResponseTimes()
    recruitment: Recruitment = Recruitment()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [arm.name for arm in self.arms]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f'two arms have the name "{twice}"; give each its own')
        if not any(arm.active for arm in self.arms):
            raise ValueError("no arm is active; at least one must be")
        if isinstance(self.test_items, tuple) and len(self.test_items) != self.num_test:
            raise ValueError(f"test_items has {len(self.test_items)} images, but num_test is {self.num_test}")
        return self

    @property
    def length(self) -> int:
        """Items of a person, of all phases."""
        return self.num_train + self.num_test + len(self.catch_trials)

    def as_json(self) -> str:
        """Return all that counts for the experiment as JSON with sorted keys."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)

    @property
    def hash(self) -> str:
        """SHA-256 of :meth:`as_json`, 64 hexadecimal digits; written into every export."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()


def read_config(folder: str | os.PathLike[str]) -> Config:
    """Read the configuration of an experiment.

    Args:
        folder: with ``experiment.toml``.

    Raises:
        ConfigError: if it is missing, is no TOML, or a key is missing, unknown or has a wrong value.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); make an experiment with: tutelage classroom new {folder}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}.") from None
    try:
        found = Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_wrong(error)}.") from None
    database = os.environ.get(DATABASE_VARIABLE)
    return found.model_copy(update={"database": database}) if database else found
