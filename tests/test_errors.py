"""Whatever a client sends, it gets a 4xx with the contract's error object, and never a 5xx."""

import http.client
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from sse.process import outages
from sse.streams import refusals
from tests.harness.services import Service, Services
from tests.in_process import Api, Colleague, Visitor, error_of, make_agent

PREFIXES = ("/api", "/workbench-api")

# By kind of trouble, what a client may put where a text is expected.
NASTY_TEXTS = {
    "nul": "a\x00b",
    "lone surrogate": "a\ud800b",
    "reversed surrogates": "\udc00\ud800",
    "long": "x" * 100_000,
    "wide": "\U0001f600" * 5000,
    "controls": "\x01\x08\x1b\x7f\x85\u2028\ufeff\uffff",
    "blank": " \t\r\n\u3000",
    "empty": "",
}
NASTY_VALUES: dict[str, Any] = NASTY_TEXTS | {
    "null": None,
    "true": True,
    "number": 1.5,
    "huge number": 10**400,
    "list": [1],
    "object": {"a": 1},
}
NASTY_QUERIES = (
    "%00",
    "%ED%A0%80",
    "%FF%FE",
    "%",
    "x" * 5000,
    "-1",
    "0",
    "9223372036854775807",
    "9223372036854775808",
    "9" * 5000,
    "1e9",
    "NaN",
    "'; DROP TABLE sse_event; --",
    "",
)
NASTY_PATHS = (
    "%00",
    "cs_%00",
    "%ED%A0%80",
    "%FF",
    "%F0%9F%98%80",
    "x" * 65,
    "x" * 5000,
    "%2e%2e",
    "..%5c",
    " ",
    "%E2%80%AE",
)
MALFORMED_BODIES = {
    "nothing": b"",
    "no JSON": b"content=hello",
    "half": b'{"content": "hel',
    "not UTF-8": b'{"content": "\xff\xfe", "client_id": "1"}',
    "only a mark": b"\xef\xbb\xbf",
    "list": b"[]",
    "string": b'"hello"',
    "null": b"null",
    "number": b"1",
    "number of many digits": b"1" * 10_000,
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "NULs": b"\x00" * 100,
}

pytestmark = pytest.mark.django_db


@cache
def operations(prefix: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every call that the API documents."""
    schema = Api(prefix).get("/openapi.json").json()
    found = []
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            content = about.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("schema", {})
            fields = _fields(schema, body)
            query = [p["name"] for p in about.get("parameters", []) if p["in"] == "query"]
            relative = path.removeprefix(prefix)
            found.append((method.upper(), relative, {"fields": fields, "query": query}))
    return found


def _fields(schema: dict[str, Any], body: dict[str, Any]) -> list[str]:
    for option in body.get("anyOf", [body]):
        if "$ref" in option:
            name = option["$ref"].rpartition("/")[2]
            return list(schema["components"]["schemas"][name].get("properties", {}))
    return []


def acceptable(response: HttpResponse) -> None:
    """It went through, or was refused as the contract says."""
    if response.status_code >= 400:
        error_of(response)


class Both:
    """A caller with every right on both APIs: only what is sent can be wrong."""

    def __init__(self) -> None:
        make_agent("bob")
        self.visitor = Visitor()
        self.agent = Colleague(make_agent("alice"))

    def of(self, prefix: str) -> Api:
        return self.visitor if prefix == "/api" else self.agent

    def fill(self, path: str) -> str:
        filled = path.replace("{session_name}", self.visitor.session)
        return re.sub(r"\{\w+_id\}", "1", filled)


@pytest.fixture
def callers() -> Both:
    return Both()


def valid(field: str) -> Any:
    """Something that the field accepts."""
    return {
        "content": "hello",
        "client_id": "1",
        "metadata": {},
        "status": "online",
        "email": "",
    }.get(field, "x")


@pytest.mark.database_independent
def test_the_apis_document_the_calls_that_are_tried_here() -> None:
    customer = {(method, path) for method, path, _ in operations("/api")}
    agent = {(method, path) for method, path, _ in operations("/workbench-api")}
    assert ("POST", "/sessions/{session_name}/messages") in customer & agent
    assert len(customer) >= 9
    assert len(agent) >= 15


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("trouble", NASTY_VALUES)
def test_nasty_value_in_any_field_of_any_call(prefix: str, trouble: str, callers: Both) -> None:
    tried = 0
    for method, path, about in operations(prefix):
        for field in about["fields"]:
            body = {name: valid(name) for name in about["fields"]}
            body[field] = NASTY_VALUES[trouble]
            acceptable(callers.of(prefix).call(method, callers.fill(path), body))
            tried += 1
    assert tried >= 5


@pytest.mark.parametrize("trouble", NASTY_TEXTS)
def test_nasty_text_anywhere_in_metadata(trouble: str) -> None:
    text = NASTY_TEXTS[trouble]
    for metadata in ({text: 1}, {"a": text}, {"a": [{"b": [text]}]}, {"a": {text: text}}):
        answer = Api("/api").post("/sessions", {"metadata": metadata})
        acceptable(answer)
        if trouble in ("nul", "lone surrogate", "reversed surrogates", "long"):
            error_of(answer, 422, "VALIDATION_ERROR")


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


# Python's JSON gives up at about a thousand levels, sooner the deeper its caller stands.
LEVELS = [*range(11, 14), 100, 500, *range(700, 1010), 5000]


def test_metadata_nested_deeper_than_ten_levels_is_refused() -> None:
    accepted = Api("/api").post("/sessions", {"metadata": json.loads(nested(10))})
    assert accepted.status_code == 201
    for levels in LEVELS:
        for within in (nested(levels), b'{"a":' + b"[" * levels + b"]" * levels + b"}"):
            answer = Api("/api").call("POST", "/sessions", b'{"metadata": %b}' % within)
            error = error_of(answer)
            if levels < 500:
                assert error["code"] == "VALIDATION_ERROR"
                assert error["details"]["errors"][0]["field"].endswith("metadata")


def test_text_in_metadata_is_not_taken_for_levels() -> None:
    metadata = {'[[[[{{{{"\\': "[{" * 100 + '\\"' + "[{" * 100}
    assert Api("/api").post("/sessions", {"metadata": metadata}).status_code == 201


def test_metadata_of_more_than_200_keys_is_refused() -> None:
    for size, status in ((99, 201), (100, 422)):
        metadata = {"a": [{str(n): n for n in range(size)}, {str(n): n for n in range(100)}]}
        answer = Api("/api").post("/sessions", {"metadata": metadata})
        assert answer.status_code == status


def test_nested_value_where_a_text_is_expected(callers: Both) -> None:
    at = callers.visitor.at("/messages")
    for levels in LEVELS:
        body = b'{"client_id": "1", "content": %b}' % nested(levels)
        error_of(callers.visitor.call("POST", at, body))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("value", NASTY_QUERIES, ids=lambda value: value[:30])
def test_nasty_value_in_any_query_parameter(prefix: str, value: str, callers: Both) -> None:
    for method, path, about in operations(prefix):
        for name in about["query"]:
            api = callers.of(prefix)
            acceptable(api.call(method, f"{callers.fill(path)}?{name}={value}"))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", NASTY_PATHS, ids=lambda value: value[:30])
def test_nasty_session_name_in_any_address(prefix: str, name: str, callers: Both) -> None:
    for method, path, about in operations(prefix):
        if "{session_name}" not in path:
            continue
        body = {field: valid(field) for field in about["fields"]} or None
        address = path.replace("{session_name}", name)
        error_of(callers.of(prefix).call(method, address, body))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("kind", MALFORMED_BODIES)
def test_malformed_body_of_any_call(prefix: str, kind: str, callers: Both) -> None:
    for method, path, about in operations(prefix):
        if not about["fields"]:
            continue
        answer = callers.of(prefix).call(method, callers.fill(path), MALFORMED_BODIES[kind])
        if path.endswith(("/escalate", "/takeover")) and kind in ("nothing", "null"):
            continue  # its body is optional
        error_of(answer)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_body_of_two_megabytes(prefix: str, callers: Both) -> None:
    body = b'{"content": "' + b"x" * 2_000_000 + b'", "client_id": "1"}'
    for method, path, about in operations(prefix):
        if about["fields"]:
            answer = callers.of(prefix).call(method, callers.fill(path), body)
            error_of(answer, 413, "TOO_LARGE")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "multipart/form-data", "multipart/form-data; boundary=x", "application/xml",
     "application/x-www-form-urlencoded", "nonsense", "application/json; charset=nonsense", ""],
)  # fmt: skip
@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrong_content_type(prefix: str, content_type: str, callers: Both) -> None:
    for method, path, about in operations(prefix):
        if about["fields"]:
            for body in (b"--x\r\nhello", b"content=hello"):
                address = callers.fill(path)
                api = callers.of(prefix)
                answer = api.call(method, address, body, content_type=content_type)
                if content_type.startswith("application/json"):
                    error_of(answer)
                else:
                    error_of(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_call_without_a_body_needs_no_content_type(content_type: str, callers: Both) -> None:
    address = callers.visitor.at("/close")
    answer = callers.visitor.call("POST", address, content_type=content_type)
    assert answer.status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/nothing/",
        "/sessions/a/b/c",
        "/%00",
        "/%FF",
        "/sessions/x/../..",
        "//",
        "/.",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_address(prefix: str, path: str, method: str, callers: Both) -> None:
    error_of(callers.of(prefix).call(method, path), 404, "NOT_FOUND")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_trailing_slash_is_another_address(prefix: str, callers: Both) -> None:
    for method, path, about in operations(prefix):
        body = {field: valid(field) for field in about["fields"]} or None
        answer = callers.of(prefix).call(method, f"{callers.fill(path)}/", body)
        error_of(answer, 404, "NOT_FOUND")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrong_method_says_which_would_do(prefix: str, callers: Both) -> None:
    known: dict[str, set[str]] = {}
    for method, path, _ in operations(prefix):
        known.setdefault(path, set()).add(method)
    for path, methods in known.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - methods:
            answer = callers.of(prefix).call(method, callers.fill(path))
            error_of(answer, 405, "METHOD_NOT_ALLOWED")
            assert set(answer["Allow"].split(", ")) >= methods
    for path in ("/health", "/livez", "/readyz"):
        answer = callers.of(prefix).post(path)
        error_of(answer, 405, "METHOD_NOT_ALLOWED")
        assert "GET" in answer["Allow"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("host", ["evil.example", "localhost:8000:1", "a b", "", "\u4e2d"])
def test_host_that_is_not_served(prefix: str, host: str) -> None:
    for path in ("/health", "/nothing", "/agent/login", "/sessions"):
        answer = Api(prefix).call("POST", path, {}, headers={"Host": host})
        error_of(answer, 400)


# Who calls these has no token yet.
PUBLIC = ("/sessions", "/sessions/resume", "/config", "/agent/login", "/agent/refresh")


@pytest.mark.database_independent
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer \x00", "Bearer \ud800", "Bearer a b",
     "Bearer " + "x" * 5000, "bearer nonsense", "\u4e2d\u6587"],
)  # fmt: skip
@pytest.mark.parametrize("prefix", PREFIXES)
def test_nonsense_for_a_token(prefix: str, authorization: str, callers: Both) -> None:
    for method, path, about in operations(prefix):
        if path in PUBLIC:
            continue
        body = {field: valid(field) for field in about["fields"]} or None
        anyone = Api(prefix)
        answer = anyone.call(
            method, callers.fill(path), body, headers={"Authorization": authorization}
        )
        error_of(answer, 401, "INVALID_TOKEN")


@pytest.mark.parametrize("cookie", ['"\\000aaaaaaaaaa"', "a" * 5000, "\xff\xfe" * 5, "; =;"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_nonsense_for_a_cookie(prefix: str, cookie: str, callers: Both) -> None:
    for method, path, _ in operations(prefix):
        if method == "GET" and path != "/config":
            cookies = f"support_session={cookie}; support_csrf={cookie}"
            answer = Api(prefix).call(method, callers.fill(path), headers={"Cookie": cookies})
            error_of(answer)


def test_validation_error_names_the_field(callers: Both) -> None:
    answer = callers.visitor.post(callers.visitor.at("/messages"), {"content": ""})
    errors = error_of(answer, 422, "VALIDATION_ERROR")["details"]["errors"]
    assert {error["field"].rpartition(".")[2] for error in errors} == {"content", "client_id"}
    answer = callers.visitor.get(callers.visitor.at("/messages"), limit="many")
    errors = error_of(answer, 422, "VALIDATION_ERROR")["details"]["errors"]
    assert [error["field"] for error in errors] == ["limit"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_api_describes_itself(prefix: str) -> None:
    schema = Api(prefix).get("/openapi.json")
    assert schema.status_code == 200
    described = schema.json()
    assert described["openapi"].startswith("3.")
    assert all(path.startswith(f"{prefix}/") for path in described["paths"])
    docs = Api(prefix).get("/docs")
    assert docs.status_code == 200
    assert f"{prefix}/openapi.json" in docs.content.decode()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_errors_are_json_with_debug_on_as_well(prefix: str, settings: Settings) -> None:
    settings.DEBUG = True
    error_of(Api(prefix).get("/nothing"), 404)
    error_of(Api(prefix).call("POST", "/health", headers={"Host": "evil.example"}), 400)


# --- On the wire ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(module_services: Services) -> Service:
    return module_services.start()


@pytest.fixture
def wire(service: Service) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    yield connection
    connection.close()


def on_the_wire(
    wire: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes = b"",
    **headers: str,
) -> tuple[int, dict[str, Any]]:
    """Status and error of an answer, of which there must be one in JSON."""
    wire.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        wire.putheader(name.replace("_", "-"), value)
    wire.endheaders(body)
    response = wire.getresponse()
    text = response.read()
    assert response.headers.get_content_type() == "application/json", (response.status, text)
    error = json.loads(text)["error"]
    assert sorted(error) == ["code", "details", "message"]
    return response.status, error


STREAMS = ("/api/sessions/x/events", "/workbench-api/agent/events")


@pytest.mark.parametrize("path", ["/api/nothing", "/workbench-api/agent/login", *STREAMS])
def test_servers_answer_to_a_host_that_is_not_served(
    wire: http.client.HTTPConnection, path: str
) -> None:
    status, error = on_the_wire(wire, "POST", path, Host="evil.example")
    assert (status, error["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("path", STREAMS)
def test_servers_answer_to_a_stream_that_is_posted_to(
    wire: http.client.HTTPConnection, path: str
) -> None:
    status, error = on_the_wire(wire, "POST", path, b"{}")
    assert (status, error["code"]) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("name", [*NASTY_PATHS[:-2], "%E2%80%AE"], ids=lambda name: name[:30])
@pytest.mark.parametrize(
    "path",
    ["/api/sessions/{}", "/api/sessions/{}/events", "/workbench-api/sessions/{}/events",
     "/workbench-api/agent/events?watch={}", "/api/sessions/x/events?token={}",
     "/api/sessions/x/events?last_event_id={}", "/api/{}", "/workbench-api/{}"],
)  # fmt: skip
def test_servers_answer_to_nasty_addresses(
    wire: http.client.HTTPConnection, path: str, name: str
) -> None:
    status, _ = on_the_wire(wire, "GET", path.format(name), Authorization="Bearer nonsense")
    assert status in (401, 404, 422)


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("value", ["\x01", "\xff\xfe", "Bearer \xff", "x" * 2000])
def test_servers_answer_to_nasty_headers(
    wire: http.client.HTTPConnection, path: str, value: str
) -> None:
    status, error = on_the_wire(
        wire, "GET", path, Authorization=value, Cookie=value, Last_Event_ID=value, Origin=value
    )
    assert (status, error["code"]) == (401, "INVALID_TOKEN")


def test_servers_answer_to_a_body_of_two_megabytes(wire: http.client.HTTPConnection) -> None:
    status, error = on_the_wire(
        wire, "POST", "/api/sessions", b" " * 2_000_000, Content_Type="application/json"
    )
    assert (status, error["code"]) == (413, "TOO_LARGE")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/workbench/", "/workbench/login/", "/admin/", "/admin/login/"]
)
def test_cookie_that_the_database_cannot_hold_is_no_error_of_pages(
    client: Client, path: str
) -> None:
    """A quoted cookie may spell any character; PostgreSQL takes no NUL."""
    answer = client.get(path, HTTP_COOKIE=r'support_session="\000aaaaaaaaaaaa"')
    assert answer.status_code < 500


@pytest.mark.django_db
def test_mistake_in_sql_is_not_held_to_be_an_outage() -> None:
    """To SQLite it is an operational error, as a missing file is."""
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        connection.cursor().execute("SELECT nothing FROM nowhere")
    assert outages.kind(caught.value) == ""


@pytest.mark.django_db
def test_forgotten_migrations_are_called_so() -> None:
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        connection.cursor().execute("SELECT 1 FROM nowhere")
    refused = refusals.of(caught.value, "a stream")
    assert (refused.status, refused.details) == (503, {"reason": "unmigrated"})
    assert "manage.py migrate" in refused.message

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sse_target RENAME TO elsewhere")
    for command in (
        ("send_event", "room", "message", "{}"),
        ("renew_epochs",),
        ("prune_events",),
    ):
        with pytest.raises(CommandError, match=r"manage\.py migrate"), transaction.atomic():
            call_command(*command)
