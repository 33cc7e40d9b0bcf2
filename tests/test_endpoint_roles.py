"""What each caller gets at every address of both APIs, and at every stream.

A new endpoint needs its line in TABLE: the statuses for the seven CALLERS, in their order, and
what else the call takes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from pytest_django import Settings

from agent_workbench import assignment, assists, notes, streams, transfers
from agent_workbench.models import Agent, Notice
from agent_workbench.urls import events as workbench_events
from ai_chatbot import links
from ai_chatbot import streams as customer_streams
from ai_chatbot.conversation import handoff
from ai_chatbot.models import ChatSession, Message, Reason
from ai_chatbot.urls import events as customer_events
from config import api as config_api
from sse.exceptions import Refused
from tests.in_process import Api, Colleague, Json, Visitor, asking, make_agent

# Who may what does not depend on the database.
pytestmark = [pytest.mark.django_db, pytest.mark.database_independent]

PASSWORD = "correct horse battery"
CALLERS = ("anonymous", "customer", "other customer", "agent", "owner", "supervisor", "admin")
METHODS = {"get", "post", "put", "patch", "delete"}


class World:
    """A session that `owner` has, whose customer is `customer`, and who else may call."""

    def __init__(self, given: str) -> None:
        self.customer, self.other = Visitor(nickname="Zoe"), Visitor(nickname="Yan")
        self.agents = {
            name: make_agent(name, role="agent" if name in ("agent", "owner") else name)
            for name in CALLERS[3:]
        }
        assert self.customer.send("hello?").status_code == 201
        self.name = self.customer.session
        GIVEN[given](self)
        self.session = ChatSession.objects.get(name=self.name)
        self.tokens = {
            "anonymous": "",
            "customer": self.customer.token,
            "other customer": self.other.token,
            **{name: Colleague(agent).token for name, agent in self.agents.items()},
        }

    @property
    def owner(self) -> Agent:
        return self.agents["owner"]

    def asked_to_take(self, name: str) -> Json:
        request = transfers.ask(self.name, self.owner, self.agents[name])
        return {"request_id": request.pk}

    def asked_to_help(self, name: str) -> Json:
        return {"request_id": assists.ask(self.name, self.owner, self.agents[name], "?").pk}

    def noted(self) -> Json:
        return {"note_id": notes.write(self.name, self.owner, content="hm")[0].pk}

    def an_answer(self) -> Message:
        return Message.objects.create(session=self.session, role="assistant", content="hm")

    def a_notice(self) -> Notice:
        kind = Notice.Kind.CUSTOMER_WAITS
        return Notice.objects.create(agent=self.owner, kind=kind, session=self.session)


def _live(world: World) -> None:
    assignment.take_over(world.name, world.owner)


def _pending(world: World) -> None:
    handoff.escalate(world.name)


def _email(world: World) -> None:
    _pending(world)
    with transaction.atomic():
        handoff.nobody_on_duty_locked(handoff.lock(world.name))


def _closed(world: World) -> None:
    _live(world)
    handoff.close(world.name, world.owner.person, reason=Reason.CLOSED_BY_AGENT)


# What the session is when the call comes. `bot`: with the AI.
GIVEN: dict[str, Callable[[World], None]] = {
    "bot": lambda world: None,
    "pending": _pending,
    "live": _live,
    "email": _email,
    "closed": _closed,
}

Made = Callable[[World], Json]


@dataclass(frozen=True)
class Row:
    """`codes`: for each of CALLERS. `body`, and what stands in the address beside the
    session's name (`at`), may be made from the world."""

    codes: str
    body: Json | Made | None = None
    given: str = "live"
    at: Made = field(default=lambda world: {})


def message(number: str) -> Json:
    return {"content": "hello", "client_id": number}


# After "#", what is special about a second line for the same endpoint.
#                 anonymous, customer, other customer, agent, owner, supervisor, admin
TABLE: dict[str, Row | str] = {
    # The customer's. A token of an agent's is none there.
    "POST /api/sessions": Row("201 201 201 201 201 201 201", {}),
    "POST /api/sessions/resume": Row(
        "200 200 200 200 200 200 200", lambda w: {"link": links.to(w.session)}
    ),
    "POST /api/sessions/resume #made up": Row("403 403 403 403 403 403 403", {"link": "x"}),
    "GET /api/config": "200 200 200 200 200 200 200",
    "GET /api/sessions/{session_name}": "401 200 403 401 401 401 401",
    "GET /api/sessions/{session_name}/messages": "401 200 403 401 401 401 401",
    "POST /api/sessions/{session_name}/messages": Row(
        "401 201 403 401 401 401 401", message("2")
    ),
    "POST /api/sessions/{session_name}/messages/{message_id}/feedback": Row(
        "401 200 403 401 401 401 401",
        {"helpful": True},
        at=lambda w: {"message_id": w.an_answer().pk},
    ),
    "POST /api/sessions/{session_name}/escalate": Row(
        "401 200 403 401 401 401 401", {}, given="bot"
    ),
    "DELETE /api/sessions/{session_name}/escalate": Row(
        "401 200 403 401 401 401 401", given="pending"
    ),
    "POST /api/sessions/{session_name}/stop": Row("401 200 403 401 401 401 401", given="bot"),
    "POST /api/sessions/{session_name}/close": "401 200 403 401 401 401 401",
    "POST /api/sessions/{session_name}/contact": Row(
        "401 200 403 401 401 401 401", {"email": "zoe@example.com"}
    ),
    "STREAM /api/sessions/{session_name}/events": "401 200 403 401 401 401 401",
    # The agents'. A customer's token is none there.
    "POST /workbench-api/agent/login": Row(
        "200 200 200 200 200 200 200", {"username": "owner", "password": PASSWORD}
    ),
    "POST /workbench-api/agent/refresh": Row(
        "401 401 401 401 401 401 401", {"refresh_token": "made up"}
    ),
    "POST /workbench-api/agent/logout": "401 401 401 204 204 204 204",
    "GET /workbench-api/agent/profile": "401 401 401 200 200 200 200",
    "GET /workbench-api/agent/status": "401 401 401 200 200 200 200",
    "PUT /workbench-api/agent/status": Row("401 401 401 200 200 200 200", {"status": "busy"}),
    "GET /workbench-api/agent/notices": "401 401 401 200 200 200 200",
    "POST /workbench-api/agent/notices/{notice_id}/read": Row(
        "401 401 401 404 204 404 404", at=lambda w: {"notice_id": w.a_notice().pk}
    ),
    "GET /workbench-api/audit": "401 401 401 403 403 403 200",
    "GET /workbench-api/agents": "401 401 401 200 200 200 200",
    "GET /workbench-api/agents/available": "401 401 401 200 200 200 200",
    "GET /workbench-api/sessions": "401 401 401 200 200 200 200",
    "GET /workbench-api/sessions/queue": "401 401 401 200 200 200 200",
    "GET /workbench-api/sessions/{session_name}": "401 401 401 403 200 200 200",
    "GET /workbench-api/sessions/{session_name} #bot": Row(
        "401 401 401 200 200 200 200", given="bot"
    ),
    "GET /workbench-api/sessions/{session_name} #pending": Row(
        "401 401 401 200 200 200 200", given="pending"
    ),
    "GET /workbench-api/sessions/{session_name} #closed": Row(
        "401 401 401 200 200 200 200", given="closed"
    ),
    "GET /workbench-api/sessions/{session_name}/messages": "401 401 401 403 200 200 200",
    "POST /workbench-api/sessions/{session_name}/messages": Row(
        "401 401 401 403 201 403 403", message("2")
    ),
    "POST /workbench-api/sessions/{session_name}/messages #email": Row(
        "401 401 401 201 201 201 201", message("2"), given="email"
    ),
    "POST /workbench-api/sessions/{session_name}/takeover": Row(
        "401 401 401 409 200 409 409", {}
    ),
    "POST /workbench-api/sessions/{session_name}/takeover #pending": Row(
        "401 401 401 200 200 200 200", {}, given="pending"
    ),
    "POST /workbench-api/sessions/{session_name}/takeover #force": Row(
        "401 401 401 403 403 200 200", {"force": True}
    ),
    "POST /workbench-api/sessions/{session_name}/release": "401 401 401 403 200 200 200",
    "POST /workbench-api/sessions/{session_name}/close": "401 401 401 403 200 200 200",
    "POST /workbench-api/sessions/{session_name}/close #pending": Row(
        "401 401 401 200 200 200 200", given="pending"
    ),
    "POST /workbench-api/sessions/{session_name}/reopen": Row(
        "401 401 401 200 200 200 200", given="closed"
    ),
    "POST /workbench-api/sessions/{session_name}/assign": Row(
        "401 401 401 403 403 200 200",
        lambda w: {"agent_id": w.agents["agent"].user_id},
    ),
    "POST /workbench-api/sessions/{session_name}/requeue": "401 401 401 403 200 200 200",
    "PUT /workbench-api/sessions/{session_name}/priority": Row(
        "401 401 401 403 200 200 200", {"priority": "high"}
    ),
    "POST /workbench-api/sessions/{session_name}/transfer": Row(
        "401 401 401 403 200 200 200", lambda w: {"to_agent": w.agents["agent"].user_id}
    ),
    "POST /workbench-api/sessions/{session_name}/transfer #queue": Row(
        "401 401 401 403 200 200 200", {"to_agent": None}
    ),
    "GET /workbench-api/transfer-requests/pending": "401 401 401 200 200 200 200",
    "POST /workbench-api/transfer-requests/{request_id}/respond": Row(
        "401 401 401 200 403 403 403", {"accept": True}, at=lambda w: w.asked_to_take("agent")
    ),
    "POST /workbench-api/transfer-requests/{request_id}/respond #another's": Row(
        "401 401 401 404 403 200 403",
        {"accept": True},
        at=lambda w: w.asked_to_take("supervisor"),
    ),
    "DELETE /workbench-api/transfer-requests/{request_id}": Row(
        "401 401 401 403 200 200 200", at=lambda w: w.asked_to_take("agent")
    ),
    "POST /workbench-api/assist-requests": Row(
        "401 401 401 403 200 403 403",
        lambda w: {
            "session_name": w.name,
            "to_agent": w.agents["agent"].user_id,
            "question": "?",
        },
    ),
    "GET /workbench-api/assist-requests/pending": "401 401 401 200 200 200 200",
    "POST /workbench-api/assist-requests/{request_id}/answer": Row(
        "401 401 401 200 403 403 403", {"answer": "!"}, at=lambda w: w.asked_to_help("agent")
    ),
    "POST /workbench-api/assist-requests/{request_id}/answer #another's": Row(
        "401 401 401 404 403 403 200", {"answer": "!"}, at=lambda w: w.asked_to_help("admin")
    ),
    "DELETE /workbench-api/assist-requests/{request_id}": Row(
        "401 401 401 403 200 200 200", at=lambda w: w.asked_to_help("agent")
    ),
    "GET /workbench-api/sessions/{session_name}/notes": "401 401 401 403 200 200 200",
    "GET /workbench-api/sessions/{session_name}/notes #pending": Row(
        "401 401 401 200 200 200 200", given="pending"
    ),
    "POST /workbench-api/sessions/{session_name}/notes": Row(
        "401 401 401 403 201 201 201", {"content": "hm"}
    ),
    "PUT /workbench-api/sessions/{session_name}/notes/{note_id}": Row(
        "401 401 401 403 200 403 403", {"content": "hm"}, at=lambda w: w.noted()
    ),
    "DELETE /workbench-api/sessions/{session_name}/notes/{note_id}": Row(
        "401 401 401 403 204 403 204", at=lambda w: w.noted()
    ),
    "STREAM /workbench-api/agent/events": "401 401 401 200 200 200 200",
    "STREAM /workbench-api/sessions/{session_name}/events": "401 401 401 403 200 200 200",
    # Whom the owner has asked for help, or to take it.
    "GET /workbench-api/sessions/{session_name} #asked": Row(
        "401 401 401 200 200 200 200", at=lambda w: w.asked_to_take("agent")
    ),
    "STREAM /workbench-api/sessions/{session_name}/events #asked": Row(
        "401 401 401 200 200 200 200", at=lambda w: w.asked_to_help("agent")
    ),
    "STREAM /workbench-api/sessions/{session_name}/events #pending": Row(
        "401 401 401 200 200 200 200", given="pending"
    ),
}

STREAMS = {
    "STREAM /api/sessions/{session_name}/events": customer_streams.of_customer,
    "STREAM /workbench-api/agent/events": streams.of_agent,
    "STREAM /workbench-api/sessions/{session_name}/events": streams.of_session,
}


def served() -> Iterator[str]:
    """Every operation of both documents, and every stream."""
    for prefix in ("/api", "/workbench-api"):
        for path, operations in Api(prefix).get("/openapi.json").json()["paths"].items():
            yield from (f"{m.upper()} {path}" for m in operations if m in METHODS)
    for patterns, prefix in ((customer_events, "api"), (workbench_events, "workbench-api")):
        for pattern in patterns:
            route = re.sub(r"<slug:(.*?)>", r"{\1}", str(pattern.pattern))
            yield f"STREAM /{prefix}/{route}"


def test_every_endpoint_has_its_line() -> None:
    documented = set(served())
    assert len(documented) > 25
    assert {line.partition(" #")[0] for line in TABLE} == documented


@pytest.mark.parametrize(
    ("chatbot", "workbench"), [(True, True), (True, False), (False, True)], ids=str
)
def test_no_service_has_other_endpoints(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, chatbot: bool, workbench: bool
) -> None:
    settings.SERVES_CHATBOT, settings.SERVES_WORKBENCH = chatbot, workbench
    monkeypatch.setattr(config_api, "_api", lambda prefix, title, router: router)
    routers = config_api.served()
    assert set(routers) <= {"api", "workbench-api"}
    known = [config_api.chatbot_router, config_api.workbench_router]
    assert all(router in known for router in routers.values())


def call(line: str, row: Row, world: World, token: str) -> tuple[int, Any]:
    endpoint = line.partition(" #")[0]
    method, _, path = endpoint.partition(" ")
    named = {"session_name": world.name, **row.at(world)}
    if method == "STREAM":
        in_path = {name: named[name] for name in re.findall(r"{(.*?)}", path)}
        try:
            STREAMS[endpoint](asking(token), **in_path)
        except Refused as refusal:
            return refusal.status, refusal.code
        return 200, None
    body = row.body(world) if callable(row.body) else row.body
    answer = Api("", token).call(method, path.format(**named), body)
    return answer.status_code, answer.content


@pytest.mark.parametrize("line", TABLE, ids=str)
def test_each_caller_gets_what_the_table_says(line: str, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    assert django_settings.RATE_LIMITS is False
    entry = TABLE[line]
    row = Row(entry) if isinstance(entry, str) else entry
    expected = dict(zip(CALLERS, map(int, row.codes.split()), strict=True))
    world = World(row.given)
    world.owner.user.set_password(PASSWORD)
    world.owner.user.save()
    world.tokens["owner"] = Colleague(world.owner).token
    got, said = {}, {}
    for caller in CALLERS:
        with transaction.atomic():
            # As if the others had not called.
            got[caller], said[caller] = call(line, row, world, world.tokens[caller])
            transaction.set_rollback(True)
    assert got == expected, said


def test_table_is_sane() -> None:
    """Nobody without a token gets in anywhere that is not open to all."""
    for line, entry in TABLE.items():
        codes = (entry if isinstance(entry, str) else entry.codes).split()
        assert codes[0] == "401" or len(set(codes)) == 1, line
