"""The two APIs called inside the test's own process, by Django's test client."""

import json
import uuid
from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.client import ClientHandler

from agent_workbench import presence, tokens
from agent_workbench.models import Agent, PresenceStatus, Role
from ai_chatbot.conversation import verbs
from sse.models import Event

Json = dict[str, Any]


@cache
def _handler(enforce_csrf_checks: bool) -> ClientHandler:
    return ClientHandler(enforce_csrf_checks)


def browser(*, enforce_csrf_checks: bool = False, **defaults: Any) -> Client:
    """Django's client on a handler that all share: a new one lists every static file first."""
    client = Client(**defaults)
    client.handler = _handler(enforce_csrf_checks)
    return client


class Api:
    """One caller of one API: JSON in, a response out, the token in the header."""

    def __init__(self, prefix: str, token: str = "", **client: Any) -> None:
        self.prefix = prefix
        self.token = token
        self.client = browser(**client)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> HttpResponse:
        """`body`: what becomes JSON, or bytes that are sent as they are."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if self.token:
            options.setdefault("headers", {}).setdefault(
                "Authorization", f"Bearer {self.token}"
            )
        options.setdefault("content_type", "application/json")
        return self.client.generic(method, f"{self.prefix}{path}", body or b"", **options)

    def get(self, path: str, **query: Any) -> HttpResponse:
        return self.call("GET", path, query_params=query)

    def post(self, path: str, body: Any = None) -> HttpResponse:
        return self.call("POST", path, {} if body is None else body)

    def put(self, path: str, body: Any) -> HttpResponse:
        return self.call("PUT", path, body)

    def delete(self, path: str) -> HttpResponse:
        return self.call("DELETE", path)


class Visitor(Api):
    """A customer with a session of their own."""

    def __init__(self, *, from_address: str = "127.0.0.1", **fields: Any) -> None:
        super().__init__("/api", REMOTE_ADDR=from_address)
        created = self.post("/sessions", fields)
        assert created.status_code == 201, created.content
        self.created: Json = created.json()
        self.session: str = self.created["session_name"]
        self.token = self.created["token"]

    def at(self, rest: str = "") -> str:
        return f"/sessions/{self.session}{rest}"

    def state(self) -> Json:
        answer = self.get(self.at())
        assert answer.status_code == 200, answer.content
        return answer.json()

    def send(self, content: str = "hello", client_id: str = "") -> HttpResponse:
        body = {"content": content, "client_id": client_id or uuid.uuid4().hex}
        return self.post(self.at("/messages"), body)


class Colleague(Api):
    """An agent with a token, online; no password."""

    def __init__(self, agent: Agent) -> None:
        super().__init__("/workbench-api", tokens.issue(agent)["token"])
        self.agent = agent
        self.person = {"id": agent.user_id, "name": agent.display_name}


def asking(token: str = "", **query: str) -> HttpRequest:
    """What a stream's function is given by somebody who is not logged in."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = RequestFactory().get("/", query, headers=headers)
    request.user = AnonymousUser()
    return request


def make_agent(
    username: str = "alice",
    *,
    role: str = Role.AGENT,
    status: str = PresenceStatus.ONLINE,
    display_name: str = "",
) -> Agent:
    """Seen just now, with the status that is asked for."""
    agent = Agent.objects.create(
        user=get_user_model().objects.create(username=username, is_staff=role == Role.ADMIN),
        display_name=display_name or username.title(),
        role=role,
    )
    return presence.choose(agent, status)


def make_session(nickname: str = "", language: str = "en") -> str:
    """The name of a new session with the AI."""
    session, _ = verbs.begin(nickname=nickname, email="", language=language, metadata={})
    return session.name


def error_of(response: HttpResponse, status: int | None = None, code: str = "") -> Json:
    """The contract's error object, checked to be nothing else, and a client's error."""
    assert response["Content-Type"].startswith("application/json"), response.content
    body = json.loads(response.content)
    assert list(body) == ["error"], body
    error = body["error"]
    assert sorted(error) == ["code", "details", "message"], body
    assert isinstance(error["details"], dict)
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["code"] == error["code"].upper()
    assert 400 <= response.status_code < 500, body
    if status is not None:
        assert response.status_code == status, body
    if code:
        assert error["code"] == code, body
    return error


def events_of(target: str, *types: str) -> list[Json]:
    """What the log holds for a target, in order: `{type, payload, timestamp}`."""
    rows = Event.objects.filter(target__name=target).order_by("seq")
    events = [json.loads(row.data) for row in rows]
    return [event for event in events if not types or event["type"] in types]
