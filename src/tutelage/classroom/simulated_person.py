"""One simulated person in a browser: what it answers, and in which ways it is difficult.

A person of the profile

* ``calibrated`` answers as people did, ``perfect`` always rightly, ``random`` by chance;
* ``learner`` is a simulated learner who was shown the same items;
* ``refresher`` reloads every page, ``double_poster`` sends every form twice at once, ``two_tabs`` answers each item
  again in a second tab, ``back_button`` answers the item before once more, otherwise;
* ``abandoner`` closes the browser at an item and comes back, ``withdrawer`` withdraws at one;
* ``forger`` sends what no page says, and then goes on as if nothing were.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias, get_args

import httpx
import torch
from sqlalchemy import select

from ..errors import DataError
from ..human_answers import Phase
from ..hypotheses import Hypotheses
from ..hypothesis_space import HypothesisSpace
from ..learners import VersionSpaceLearners
from ..lesson import Batch
from ..participants import Population, Reply
from ..randomness import counter, hashed, integer, real, stream
from . import tables
from .adaptive import thumbnails
from .browser import Browser, Form, Seen
from .room import Room
from .teaching import Pool, PoolItem
from .tokens import bearer_hash

Profile: TypeAlias = Literal[
    "calibrated", "perfect", "random", "learner", "refresher", "double_poster", "two_tabs", "back_button",
    "abandoner", "withdrawer", "forger",
]  # fmt: skip
PROFILES: tuple[Profile, ...] = get_args(Profile)
MakeClient: TypeAlias = Callable[[], httpx.AsyncClient]
TEACHING = (0.39, 0.49, 0.49, 0.49)
"""Share of right answers of people in each quarter of the teaching items, of the same people as the ability."""
ABILITY = (2.21, 2.12)
"""Beta parameters of the accuracy in the test of people who were taught retinal images in a random order."""
_LEARNERS = 50
_FEEDBACK_S = 2.5
_READING_S = (3.0, 20.0)
"""From and to, for how long a page of text is read (assumed): people who come together do not go on together."""


@dataclass
class Walk:
    """What one simulated person did and was told.

    Attributes:
        number: of the person.
        profile: of the person.
        session_id: of the session; empty: none was made.
        acknowledged: by position, the answers that the server accepted.
        completed: whether the last page was reached.
        withdrew: whether the person withdrew.
        unexpected: what was not as it should be, a line each.
        seconds: of each answer, from sending it to the next page.
        statuses: of all responses, before and after redirects, how often.
    """

    number: int
    profile: Profile
    session_id: str = ""
    acknowledged: dict[int, int] = field(default_factory=dict)
    completed: bool = False
    withdrew: bool = False
    unexpected: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class World:
    """What all simulated people share.

    Attributes:
        room: the experiment, opened beside the server: it tells what is right.
        make_client: makes a client with the address of the server, a fresh one for each browser.
        seed: of all that people do.
        pace: of thinking: 1 as people, 0 without a pause.
    """

    room: Room
    make_client: MakeClient
    seed: int
    pace: float

    @cached_property
    def population(self) -> Population:
        """Of the people."""
        return Population.of_accuracy(len(self.room.material.classes), *ABILITY)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """The row of each item, by id."""
        return {id: row for row, id in enumerate(self.room.material.items)}

    @cached_property
    def images(self) -> torch.Tensor:
        """All items as learners see them, (N, d)."""
        items = self.room.material.items.values()
        return thumbnails(Pool(self.room.material.classes, tuple(PoolItem(i.id, i.label, i.file) for i in items)))

    @cached_property
    def hypotheses(self) -> Hypotheses:
        """Of learners, from the teaching items."""
        items = list(self.room.material.items.values())
        rows = [row for row, item in enumerate(items) if item.split == "train"]
        labels = torch.tensor([items[row].label for row in rows])
        pool = Batch(self.images[rows], labels, torch.arange(len(rows)))
        return HypothesisSpace(seed=self.seed)(pool, len(self.room.material.classes))

    def session_of(self, secrets: list[str]) -> str:
        """Return the id of the session that one of some secrets opens; empty: there is none."""
        session = tables.session
        with self.room.database.read() as connection:
            wanted = session.c.bearer_hash.in_([bearer_hash(secret) for secret in secrets])
            found: str | None = connection.scalar(select(session.c.id).where(wanted))
        return found or ""

    def item(self, session_id: str, position: int) -> str:
        """Return the id of the item at a position of a session."""
        plan = tables.plan
        with self.room.database.read() as connection:
            wanted = (plan.c.session_id == session_id) & (plan.c.position == position)
            found: str | None = connection.scalar(select(plan.c.item_id).where(wanted))
        if found is None:
            raise DataError(f"session {session_id} shows position {position}, but its plan has no such item.")
        return found


class Person:
    """A simulated person.

    Args:
        world: that it is in.
        walk: is filled in as it goes.
    """

    def __init__(self, world: World, walk: Walk) -> None:
        self.world, self.walk = world, walk
        self._key = counter(stream(world.seed, "simulated people"), walk.number)
        self._participant = world.population.participant(walk.number, seed=world.seed)
        self._turning_point = int(integer(hashed(self._key, 0), world.room.config.length))
        self._learner: VersionSpaceLearners | None = None
        self._last: tuple[Form, dict[str, str]] | None = None

    async def go(self) -> None:
        """Take part, from the start page to the end."""
        client = self.world.make_client()
        try:
            browser = Browser(client)
            page = await self._enter(browser)
            gone = False
            while self.walk.session_id and not self.walk.withdrew:
                question = _form(page, "answer")
                here = None if question is None else int(question.fields["position"])
                if here == self._turning_point and self.walk.profile == "abandoner" and not gone:
                    gone, cookies = True, client.cookies
                    await client.aclose()
                    client = self.world.make_client()
                    client.cookies = cookies
                    browser = Browser(client)
                    page = await self._again(browser, page, "/")
                following = await self._step(browser, page)
                if following is None:
                    break
                page = following
            self.walk.completed = self.walk.completed and not self.walk.withdrew
        finally:
            await client.aclose()

    async def _enter(self, browser: Browser) -> Seen:
        secret = self.world.room.key.form("simulated", 0, "simulated")
        start = self._told(await browser.get(f"/?simulated={secret}"))
        consent = self._told(await browser.get("/consent"))
        form = _form(consent, "consent")
        if start.status != 200 or form is None:
            self.walk.unexpected.append(f"no form to consent: status {start.status}, then {consent.status}")
            return consent
        await self._think(self._reading("consent"))
        page = self._told(await browser.send(form, form.ticks))
        self.walk.session_id = self.world.session_of([cookie.value or "" for cookie in browser.client.cookies.jar])
        if not self.walk.session_id:
            self.walk.unexpected.append(f"no session after consent: status {page.status}")
        return page

    async def _step(self, browser: Browser, page: Seen) -> Seen | None:
        """Do what a page asks for; None: it is the last one."""
        if self.walk.profile == "refresher":
            page = await self._again(browser, page, "/s")
        if (form := _form(page, "answer")) is not None:
            if self.walk.profile == "withdrawer" and int(form.fields["position"]) == self._turning_point:
                return await self._withdraw(browser, page)
            if any(status != 200 for status in await browser.images(page)):
                self.walk.unexpected.append("an image of a question cannot be loaded")
            return await self._answer(browser, form)
        if (form := _form(page, "next")) is not None:
            stage = form.fields["stage"]
            await self._think(_FEEDBACK_S if stage == "feedback" else self._reading(stage))
            return self._went_on(await self._send(browser, form, {}))
        self.walk.completed = True
        return None

    async def _answer(self, browser: Browser, form: Form) -> Seen:
        position = int(form.fields["position"])
        item = self.world.room.material.items[self.world.item(self.walk.session_id, position)]
        reply = self._reply(position, item.id, item.label)
        filled = {"response": str(reply.given), "rt_ms": str(round(1000 * reply.seconds)), "blurs": "0"}
        other = {**filled, "response": str((reply.given + 1) % len(self.world.room.material.classes))}
        if sorted(map(int, form.choices.get("response", ()))) != list(range(len(self.world.room.material.classes))):
            self.walk.unexpected.append(f"position {position}: the buttons are not one for each class: {form.choices}")
        await self._think(reply.seconds)
        if self.walk.profile == "forger" and position < 3:
            await self._forge(browser, form, filled)
        if self.walk.profile == "back_button" and self._last is not None:
            await self._expect(browser, *self._last, 409)
        page = self._went_on(await self._send(browser, form, filled))
        if page.asked == 303:
            self.walk.acknowledged[position] = reply.given
            self.walk.seconds.append(page.seconds)
        if self.walk.profile == "two_tabs":
            await self._expect(browser, form, other, 409)
            await self._expect(browser, form, filled, 303)
        self._last = (form, other)
        return page

    def _reply(self, position: int, item_id: str, label: int) -> Reply:
        world, walk = self.world, self.walk
        num_train, classes = world.room.config.num_train, len(world.room.material.classes)
        phase: Phase = "train" if position < num_train else "test"
        likely = [1 / classes] * classes
        if walk.profile == "perfect":
            likely = [float(c == label) for c in range(classes)]
            return Reply(label, self._participant.follow(position, likely, phase).seconds)
        if walk.profile == "learner":
            likely = self._learned(item_id, label, position < num_train)
        elif walk.profile != "random":
            right = self._participant.ability
            if phase == "train":
                mean = world.population.a / (world.population.a + world.population.b)
                right = min(1.0, right * TEACHING[len(TEACHING) * position // num_train] / mean)
            likely = [right if c == label else (1 - right) / (classes - 1) for c in range(classes)]
        return self._participant.follow(position, likely, phase)

    def _learned(self, item_id: str, label: int, teaching: bool) -> list[float]:
        """What the learner takes an item for; a teaching item is learned from afterwards."""
        world = self.world
        if self._learner is None:
            classes = len(world.room.material.classes)
            self._learner = VersionSpaceLearners.new(world.hypotheses, classes, _LEARNERS, seed=self._key)
        x = world.images[world.rows[item_id]][None]
        found: list[float] = self._learner.probabilities(x)[0].tolist()
        if teaching:
            self._learner = self._learner.taught(x, torch.tensor([label]))
        return found

    async def _withdraw(self, browser: Browser, page: Seen) -> Seen:
        form = _form(page, "withdraw")
        if form is None:
            self.walk.unexpected.append("a page of an item has no form to withdraw")
            return page
        self.walk.withdrew = True
        return self._went_on(await browser.send(form))

    async def _forge(self, browser: Browser, form: Form, filled: Mapping[str, str]) -> None:
        """Send what must be refused; the page stays as it is."""
        classes, position = len(self.world.room.material.classes), int(form.fields["position"])
        for changes, status in (
            ({"token": "0" * 32}, 403),
            ({"position": str(position + 1)}, 409),
            ({"position": "-1"}, 409),
            ({"position": "first"}, 409),
            ({"response": str(classes)}, 422),
            ({"response": ""}, 422),
        ):
            await self._expect(browser, form, {**filled, **changes}, status)
        refused = self._told(await browser.send(form, filled, site="cross-site"))
        if refused.asked != 403:
            self.walk.unexpected.append(f"another site's form: status {refused.asked} instead of 403")

    async def _expect(self, browser: Browser, form: Form, filled: Mapping[str, str], status: int) -> None:
        found = self._told(await browser.send(form, filled))
        if found.asked != status:
            sent = {name: filled[name] for name in ("position", "response", "token") if name in filled}
            self.walk.unexpected.append(f"{form.action} with {sent}: status {found.asked} instead of {status}")

    async def _send(self, browser: Browser, form: Form, filled: Mapping[str, str]) -> Seen:
        """Send a form, once or, as impatient people do, twice."""
        if self.walk.profile != "double_poster":
            return await browser.send(form, filled)
        first, second = await asyncio.gather(browser.send(form, filled), browser.send(form, filled))
        return self._went_on(first) if second.asked == 303 else second

    async def _again(self, browser: Browser, page: Seen, path: str) -> Seen:
        """Open the page again; it must be the same."""
        found = self._told(await browser.get(path))
        before, after = ([form.fields.get("position") for form in seen.forms.values()] for seen in (page, found))
        if before != after:
            self.walk.unexpected.append(f"{path} leads to another page than before: position {after}, not {before}")
        return found

    def _went_on(self, page: Seen) -> Seen:
        if page.asked != 303 or page.status != 200:
            self.walk.unexpected.append(f"{page.path}: status {page.asked}, then {page.status}")
        return self._told(page)

    def _told(self, page: Seen) -> Seen:
        self.walk.statuses.update({page.asked, page.status})
        return page

    def _reading(self, page: str) -> float:
        """Seconds that a page of text is read."""
        shortest, longest = _READING_S
        drawn = hashed(stream(self.world.seed, f"reading/{page}"), self.walk.number)
        return shortest + (longest - shortest) * float(real(drawn))

    async def _think(self, seconds: float) -> None:
        if self.world.pace:
            await asyncio.sleep(self.world.pace * seconds)


def _form(page: Seen, name: str) -> Form | None:
    """The form of a page that is sent to a path that ends with a name."""
    return next((form for path, form in page.forms.items() if path.rsplit("/", 1)[-1] == name), None)
