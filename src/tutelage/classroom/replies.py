"""What the classroom answers to a request: a page to show, that something was accepted, or a refusal.

Nothing here says what a person must not know yet: a page holds the right class only when its item was answered, and
names images by tokens.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .config import TutorialPage
from .states import State

RefusalKind: TypeAlias = Literal["unknown", "ahead", "conflict", "forged", "invalid", "missing", "closed", "blocked"]


@dataclass(frozen=True)
class Refused:
    """A request that changes nothing.

    Attributes:
        kind: ``unknown``: there is no such session, or it is over (to the start page); ``ahead``: the position is none,
            or not reached (409); ``conflict``: the item has another answer, which stands (409); ``forged``: the token
            is not ours (403); ``invalid``: a value outside its range (422); ``missing``: the image cannot be shown, so
            no answer is accepted (503, a page to try again); ``closed``: the experiment takes nobody in; ``blocked``:
            this person cannot come in, or not again.
        position: of the session, where there is one.
    """

    kind: RefusalKind
    position: int | None = None


@dataclass(frozen=True)
class Accepted:
    """A request that was done, now or before.

    Attributes:
        written: whether it changed anything; a repeat does not.
    """

    written: bool


@dataclass(frozen=True)
class Entered:
    """A person has a session.

    Attributes:
        bearer: 32 hexadecimal digits that open it, for the cookie.
        new: whether it was made just now.
    """

    bearer: str
    new: bool


@dataclass(frozen=True)
class Place:
    """Where a session is, for the hidden fields of its form.

    Attributes:
        position: of the item, from 0 over all phases.
        stage: see :mod:`.states`.
        token: of the form that answers or goes on.
        withdraw_token: of the form that withdraws.
    """

    position: int
    stage: str
    token: str
    withdraw_token: str


@dataclass(frozen=True)
class Choice:
    """A button.

    Attributes:
        value: what is sent: the position of the class.
        name: of the class.
    """

    value: int
    name: str


@dataclass(frozen=True)
class Welcome:
    """The first page.

    Attributes:
        minutes: time that is needed: the median of those who completed, else an estimate.
        consent_token: for the forms that accept and decline.
        open: whether people may come in.
    """

    minutes: int
    consent_token: str
    open: bool


@dataclass(frozen=True)
class Tutorial:
    """A page before the experiment.

    Attributes:
        place: of the session.
        number: of the page, from 1.
        of: pages, with the last, which says that it begins.
        page: None: the last.
    """

    place: Place
    number: int
    of: int
    page: TutorialPage | None


@dataclass(frozen=True)
class Picture:
    """An image of a page.

    Attributes:
        token: it is at ``/i/TOKEN``.
        width: in pixels, enlarged by the scale.
        height: likewise.
    """

    token: str
    width: int
    height: int


@dataclass(frozen=True)
class Question:
    """An item that waits for an answer.

    Attributes:
        place: of the session.
        test: whether no feedback will follow.
        number: of the item, from 1 over all phases.
        of: items of all phases.
        left: items of this phase, with this one.
        image: None: it cannot be shown; nothing is accepted until it can.
        next_image: token of the image that comes next, to load it ahead; None: not known yet.
        choices: in the order of the buttons.
    """

    place: Place
    test: bool
    number: int
    of: int
    left: int
    image: Picture | None
    next_image: str | None
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Feedback:
    """An item that was answered.

    Attributes:
        place: of the session.
        number: of the item, from 1.
        of: items of all phases.
        left: items of this phase that follow.
        image: None: it cannot be shown.
        explanation: None: none is shown.
        next_image: as in :class:`Question`.
        choices: in the order of the buttons.
        given: the class that was chosen.
        right: the right one.
        wait_ms: what is left of the time for looking at the feedback.
    """

    place: Place
    number: int
    of: int
    left: int
    image: Picture | None
    explanation: Picture | None
    next_image: str | None
    choices: tuple[Choice, ...]
    given: int
    right: int
    wait_ms: int

    @property
    def correct(self) -> bool:
        """Whether the right class was chosen."""
        return self.given == self.right


@dataclass(frozen=True)
class Dialog:
    """A page between items.

    Attributes:
        place: of the session.
        kind: half of the teaching items are done, or all.
        left: items of the phase that follow.
        next_image: as in :class:`Question`.
    """

    place: Place
    kind: Literal["half_way", "training_over"]
    left: int
    next_image: str | None


@dataclass(frozen=True)
class Debrief:
    """The page after the last item.

    Attributes:
        place: of the session.
        right: test items answered rightly; None: scores are not shown.
        of: test items.
    """

    place: Place
    right: int | None
    of: int


@dataclass(frozen=True)
class End:
    """A page after which nothing comes.

    Attributes:
        state: why.
        code: completion code, if completed.
        outcome_code: of the platform for this end; None: it has none.
        raw_id: the platform's id of the person; None: not kept.
        submission: the platform's id of the submission; None: not kept.
        submit_to: the platform's address that takes the submission; None: not kept.
        restart_token: of the form that begins anew; None: the person may not.
        withdraw_token: of the form that withdraws; None: there is nothing to withdraw.
    """

    state: State
    code: str | None = None
    outcome_code: str | None = None
    raw_id: str | None = None
    submission: str | None = None
    submit_to: str | None = None
    restart_token: str | None = None
    withdraw_token: str | None = None


Page: TypeAlias = Tutorial | Question | Feedback | Dialog | Debrief | End
