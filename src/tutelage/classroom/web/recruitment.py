"""What recruitment platforms tell of a person who arrives, and how a person is handed back to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from ..arrivals import Arrival, Source
from ..config import Platform, Recruitment
from ..replies import End
from ..tokens import Key

PROLIFIC = "https://app.prolific.com"
MTURK_SUBMIT = ("https://www.mturk.com", "https://workersandbox.mturk.com")
"""The two hosts of MTurk that take submissions, production and test; to any other nobody is sent."""
MTURK_FRAMES = (
    "https://worker.mturk.com",
    "https://workersandbox.mturk.com",
    "https://requester.mturk.com",
    "https://requestersandbox.mturk.com",
)
"""Hosts of MTurk that show a task in a frame."""
_SOURCES: dict[Platform, Source] = {
    "direct": "direct",
    "prolific": "prolific",
    "mturk": "mturk",
    "mturk_link": "mturk",
}
_NOT_ACCEPTED = "ASSIGNMENT_ID_NOT_AVAILABLE"
_LONGEST = 200


@dataclass(frozen=True)
class Entry:
    """What the address that a person arrived by says of them.

    Attributes:
        source: where they come from.
        external_id: the platform's id of the person, or the code of a single-use link; None: not told.
        submission: the platform's id of the submission; None: not needed, or not told.
        submit_to: the platform's address that takes the submission, one of :data:`MTURK_SUBMIT`; None: it has none.
    """

    source: Source
    external_id: str | None = None
    submission: str | None = None
    submit_to: str | None = None

    def arrival(self, visit: str) -> Arrival:
        """Return the arrival of a browser.

        Args:
            visit: 32 hexadecimal digits of the browser.
        """
        return Arrival(visit, self.source, self.external_id, self.submission, self.submit_to)


def simulation_token(key: Key) -> str:
    """Return what ``/?simulated=TOKEN`` needs, so that nobody without the key passes for a simulated person."""
    return key.form("simulated", 0, "simulated")


def plain_entry(recruitment: Recruitment) -> Entry:
    """Return the entry of a person who came without being told of by a platform."""
    return Entry(_SOURCES[recruitment.platform])


def entry(recruitment: Recruitment, query: Mapping[str, str], key: Key) -> Entry:
    """Return what the parameters of the start page say.

    Args:
        recruitment: where people come from.
        query: of the address; what is empty, too long or of another platform does not count.
        key: of the experiment.
    """
    if key.check_form(query.get("simulated", ""), "simulated", 0, "simulated"):
        return Entry("simulated")
    told = {name: value for name, value in query.items() if 0 < len(value) <= _LONGEST and value.isprintable()}
    if recruitment.platform == "prolific":
        submission = told.get("SESSION_ID") if recruitment.keep_raw_ids else None
        return Entry("prolific", told.get("PROLIFIC_PID"), submission)
    if recruitment.platform == "direct":
        return Entry("direct", told.get("code") if recruitment.links == "single_use" else None)
    submit_to = told.get("turkSubmitTo", "").rstrip("/")
    handed_in = recruitment.platform == "mturk" and submit_to in MTURK_SUBMIT
    submission = told.get("assignmentId") if handed_in or recruitment.keep_raw_ids else None
    return Entry("mturk", told.get("workerId"), submission, submit_to if handed_in else None)


def is_preview(recruitment: Recruitment, query: Mapping[str, str]) -> bool:
    """Whether MTurk shows the task to somebody who has not accepted it: of them nothing is kept."""
    return recruitment.platform == "mturk" and query.get("assignmentId") == _NOT_ACCEPTED


def prolific_address(recruitment: Recruitment, outcome_code: str | None) -> str | None:
    """Return where people of Prolific leave to; None: they come from elsewhere, or the outcome has no code."""
    if recruitment.platform != "prolific" or outcome_code is None:
        return None
    return f"{PROLIFIC}/submissions/complete?{urlencode({'cc': outcome_code})}"


def mturk_address(recruitment: Recruitment, end: End) -> str | None:
    """Return where the form goes that hands a task of MTurk in; None: there is nothing to hand in."""
    if recruitment.platform != "mturk" or end.submission is None or end.submit_to not in MTURK_SUBMIT:
        return None
    return f"{end.submit_to}/mturk/externalSubmit"
