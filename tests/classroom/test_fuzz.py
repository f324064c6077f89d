"""Requests made up from the app's own description: none meets a defect, and none changes what people did."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")
pytest.importorskip("schemathesis", reason="needs schemathesis")

import schemathesis
from fastapi.openapi.utils import get_openapi
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.routing import Route
from starlette.testclient import TestClient

from tutelage.classroom.web.app import app_of

from .experiments import dump, make_experiment, opened
from .web import AT, Browser

pytestmark = pytest.mark.slow
FIELDS = ("position", "stage", "token", "response", "rt_ms", "blurs", "comment", "accepted", "consent_version", "code")
KEPT = ("session", "participant", "plan", "trial", "image_token", "completion", "external_id", "event", "tally")
FORM = {"content-type": "application/x-www-form-urlencoded"}
few = settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(params=["nobody", "participant"])
def client(request, tmp_path):
    """Sends requests as somebody without a session, or with one, and watches the tables."""
    with opened(make_experiment(tmp_path)) as room:
        person = Browser(room)
        person.enter()
        person.question(2)
        options = {"base_url": AT, "follow_redirects": False, "raise_server_exceptions": False}
        client = TestClient(app_of(room), **options)
        if request.param == "participant":
            client.cookies.update(person.client.cookies)
        before = dump(room)
        yield client
        after = dump(room)
        assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}


def described(app):
    """The operations of the app, which serves no description of itself; it says nothing of the fields of forms."""
    found = get_openapi(title="classroom", version="1", routes=app.routes)
    for route in app.routes:
        if type(route) is Route:  # of participants: get_openapi knows FastAPI's alone
            named = [
                {"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
                for n in route.param_convertors
            ]
            for method in route.methods - {"HEAD"}:
                asked = {"parameters": named, "responses": {"200": {"description": ""}}}
                found["paths"].setdefault(route.path, {})[method.lower()] = asked
    fields = {"type": "object", "properties": {name: {"type": "string"} for name in FIELDS}}
    for methods in found["paths"].values():
        if "post" in methods:
            methods["post"]["requestBody"] = {"content": {FORM["content-type"]: {"schema": fields}}}
    return [each.ok() for each in schemathesis.openapi.from_dict(found).get_all_operations()]


def is_sound(answer):
    assert answer.status_code < 500, (answer.request.method, answer.request.url, answer.request.content)
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_made_up_requests(client):
    operations = described(client.app)
    expected = {"POST /answer", "POST /consent", "GET /s", "GET /i/{token}", "GET /admin/people", "POST /admin/login"}
    assert expected <= {operation.label for operation in operations}
    for operation in operations:

        @few
        @given(operation.as_strategy())
        def asked(case):
            form = {"data": case.body} if isinstance(case.body, dict) else {}
            query = {name: str(value) for name, value in (case.query or {}).items()}
            is_sound(client.request(case.method, case.formatted_path, params=query, headers=case.headers, **form))

        asked()


@settings(few, max_examples=200)
@given(path=st.sampled_from(["/answer", "/next", "/consent", "/withdraw-by-code", "/admin/login"]), body=st.binary())
def sent(client, path, body):
    is_sound(client.post(path, content=body, headers=FORM))


def test_bodies_of_any_bytes(client):
    sent(client)
