"""A browser without JavaScript for the tests of the classroom: follows redirects, keeps cookies, sends forms."""

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser

import uvicorn
from starlette.testclient import TestClient

from tutelage.classroom.web.app import app_of

AT = "https://testserver"


@dataclass
class Form:
    """A form of a page: where it goes, and what it sends if nothing is chosen."""

    action: str
    fields: dict = field(default_factory=dict)
    choices: list = field(default_factory=list)


class _Forms(HTMLParser):
    def __init__(self):
        super().__init__()
        self.forms = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form":
            self.forms.append(Form(given["action"]))
        elif tag == "input" and given.get("type") == "radio":
            self.forms[-1].choices.append(given["value"])
        elif tag in ("input", "textarea", "select") and given.get("type") != "checkbox":
            self.forms[-1].fields[given["name"]] = given.get("value") or ""


def forms(html):
    """The forms of a page by the last part of where they go."""
    parser = _Forms()
    parser.feed(html)
    return {form.action.rsplit("/", 1)[-1]: form for form in parser.forms}


class Browser:
    """One person's browser."""

    def __init__(self, room, *, at=AT, **options):
        self.room = room
        self.client = TestClient(app_of(room), base_url=at, follow_redirects=False, **options)
        self.response = None

    def get(self, path):
        """Open a page, and go where it leads to."""
        return self._follow(self.client.get(path))

    def post(self, path, fields, **headers):
        """Send fields; returns what comes at once."""
        self.response = self.client.post(path, data=fields, headers=headers)
        return self.response

    def send(self, name, **more):
        """Send a form of the page that is shown; returns what comes at once."""
        form = self.form(name)
        return self.post(form.action, {**form.fields, **more})

    def go(self, name, **more):
        """Send a form of the page that is shown, and go where that leads to."""
        return self._follow(self.send(name, **more))

    def form(self, name):
        return forms(self.html)[name]

    @property
    def html(self):
        return self.response.text

    @property
    def heading(self):
        found = re.search(r"<h1[^>]*>(.*?)</h1>", self.html, re.DOTALL)
        return re.sub(r"<.*?>", "", found[1]).strip()

    @property
    def asks(self):
        return "answer" in forms(self.html)

    def enter(self, path="/"):
        """Come in, and agree."""
        self.get(path)
        self.get("/consent")
        return self.go("consent", accepted="yes")

    def step(self, choose=0):
        """Do what the page asks for."""
        return self.go("answer", response=self.form("answer").choices[choose]) if self.asks else self.go("next")

    def until(self, done):
        """Go on until a condition on this browser holds."""
        for _ in range(100):
            if done(self):
                return self
            self.step()
        raise AssertionError(f"never came there; is at {self.heading}")

    def question(self, number):
        """Go on to the item of a number, from 1."""
        return self.until(lambda self: self.asks and f"Image {number} of" in self.html)

    def finish(self):
        return self.until(lambda self: "next" not in forms(self.html) and not self.asks)

    def _follow(self, response):
        for _ in range(5):
            if response.status_code != 303 or not response.headers["location"].startswith("/"):
                break
            response = self.client.get(response.headers["location"])
        self.response = response
        return response


@contextmanager
def served(room, port=0):
    """Serve an experiment on a port of this machine; gives its address."""
    config = uvicorn.Config(app_of(room), port=port, log_level="warning", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
