"""Pages as HTML, from what the classroom replies, the texts of a language and the templates."""

import functools
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...errors import ConfigError, unknown
from ..config import Config
from ..replies import Debrief, Dialog, End, Feedback, Page, Question, Tutorial, Welcome
from .recruitment import mturk_address, prolific_address

HERE = Path(__file__).parent
STATIC = HERE / "static"
_TEXTS = HERE / "texts"


@dataclass(frozen=True)
class Links:
    """Where the pages of a session lead to.

    Attributes:
        image: what comes before the token of an image.
        answer: where the form of a question goes.
        next: where forms go that go on.
        live: whether it is a session, which can be left, or a preview.
    """

    image: str = "/i/"
    answer: str = "/answer"
    next: str = "/next"
    live: bool = True


class Texts:
    """What the pages say in one language.

    Args:
        language: such as ``en``.

    Raises:
        ConfigError: for a language without texts.
    """

    def __init__(self, language: str) -> None:
        known = sorted(path.stem for path in _TEXTS.glob("*.toml"))
        if language not in known:
            raise ConfigError(f'key "language": {unknown("language", language, known)}')
        self.tables: Mapping[str, Mapping[str, str]] = tomllib.loads(
            (_TEXTS / f"{language}.toml").read_text(encoding="utf-8")
        )

    def say(self, key: str, **values: object) -> str:
        """Return a text; with ``n`` there are two, for one and for other numbers.

        Args:
            key: table and name, such as ``question.left``.
            **values: what stands in its braces.
        """
        table, name = key.split(".")
        if "n" in values:
            name += "_one" if values["n"] == 1 else "_other"
        return self.tables[table][name].format(**values)


def paragraphs(text: str) -> list[str]:
    """Return the parts of a text between empty lines."""
    return [part.strip() for part in text.split("\n\n") if part.strip()]


@functools.cache
def asset(name: str) -> str:
    """Return the address of a file that comes with the app; it changes with the content, so that it may be kept."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def environment() -> Environment:
    """Return what renders the templates."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )


class Pages:
    """The pages of an experiment.

    Args:
        config: of the experiment.

    Raises:
        ConfigError: for a language without texts.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._texts = Texts(config.language)
        self.environment = environment()
        # as a filter, what is said without further values is put into the template when it is compiled
        self.environment.filters.update(paragraphs=paragraphs, say=self._texts.say)
        self.environment.globals.update(config=config, asset=asset)

    def render(self, template: str, **values: Any) -> str:
        """Return a page.

        Args:
            template: its name, without the ending.
            **values: what it needs.
        """
        return self.environment.get_template(f"{template}.html").render(**values)

    def start(self, welcome: Welcome, *, preview: bool) -> str:
        """Return the first page; a preview cannot be started."""
        return self.render("start", page=welcome, preview=preview)

    def consent(self, welcome: Welcome) -> str:
        """Return the text that people agree to, with its form."""
        bands = list(self._texts.tables["age_bands"].items())
        return self.render("consent", page=welcome, age_bands=bands)

    def left(self, state: Literal["declined", "screened_out", "withdrawn"]) -> str:
        """Return the last page of people of whom it needs to know nothing else."""
        return self._end(End(state, outcome_code=self._config.recruitment.outcome_codes.get(state)))

    def message(self, kind: str, *, back: str) -> str:
        """Return a page that says why something was not done.

        Args:
            kind: name of the text.
            back: where its link leads to.
        """
        return self.render("message", kind=kind, back=back)

    def withdrawal(self, *, failed: bool) -> str:
        """Return the page where people withdraw by their code."""
        return self.render("withdrawal", failed=failed)

    def page(self, page: Page, links: Links = Links()) -> str:
        """Return the page of a session.

        Args:
            page: what it shows.
            links: where it leads to.
        """
        match page:
            case Tutorial():
                return self.render("tutorial", page=page, links=links)
            case Question():
                return self.render("question" if page.image else "retry", page=page, links=links)
            case Feedback():
                names = {choice.value: choice.name for choice in page.choices}
                return self.render("feedback", page=page, links=links, names=names)
            case Dialog():
                return self.render("dialog", page=page, links=links)
            case Debrief():
                return self.render("debrief", page=page, links=links)
            case End():
                return self._end(page)

    def _end(self, end: End) -> str:
        recruitment = self._config.recruitment
        return self.render(
            "end",
            page=end,
            prolific=prolific_address(recruitment, end.outcome_code),
            mturk=mturk_address(recruitment, end),
        )
