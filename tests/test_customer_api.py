"""What a customer can do over HTTP, call by call."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import httpx
import pytest
from pytest_django import Settings

import sse
from agent_workbench import presence
from agent_workbench.models import Agent, PresenceStatus
from ai_chatbot import events
from ai_chatbot.conversation import handoff, waiting
from ai_chatbot.models import ChatSession, Reason
from tests.harness.client import Clients
from tests.harness.services import Service, Services
from tests.in_process import Api, Colleague, Visitor, error_of, events_of, make_agent

pytestmark = pytest.mark.django_db

MESSAGE_FIELDS = {
    "id",
    "client_id",
    "reply_id",
    "role",
    "content",
    "created_at",
    "agent",
    "sources",
    "status",
    "feedback",
}


@pytest.fixture
def visitor() -> Visitor:
    return Visitor()


@pytest.fixture
def alice() -> Agent:
    return make_agent("alice")


def stored(visitor: Visitor) -> ChatSession:
    return ChatSession.objects.get(name=visitor.session)


# --- Beginning --------------------------------------------------------------------------


def test_new_session_comes_with_its_token_and_a_cursor() -> None:
    answer = Api("/api").post("/sessions", {})
    assert answer.status_code == 201
    created = answer.json()
    assert set(created) == {"session_name", "token", "status", "created_at", "cursor"}
    assert created["status"] == "bot_active"
    assert created["cursor"] == sse.cursor(created["session_name"])
    assert datetime.fromisoformat(created["created_at"]).tzinfo is not None


def test_sessions_names_and_tokens_are_unlike_each_other() -> None:
    created = [Visitor().created for _ in range(3)]
    for field in ("session_name", "token"):
        values = [each[field] for each in created]
        assert len(set(values)) == 3
        assert min(map(len, values)) >= 22


def test_new_session_keeps_what_the_customer_gave() -> None:
    metadata = {"page": "/lamps/3", "cart": [{"sku": "L-3", "n": 2}], "名": "值", "none": None}
    visitor = Visitor(
        nickname=" Zoë 🦉 ", email="zoe@example.com", language="zh-CN", metadata=metadata
    )
    session = stored(visitor)
    assert (session.nickname, session.email) == ("Zoë 🦉", "zoe@example.com")
    assert session.metadata == metadata
    assert visitor.state()["language"] == "zh-hans"


@pytest.mark.parametrize(
    ("asked", "browser", "language"),
    [
        ("zh", "en", "zh-hans"),
        ("EN-gb", "zh-CN", "en"),
        ("fr", "zh-CN", "en"),
        ("", "zh-CN,zh;q=0.9", "zh-hans"),
        ("", "fr", "en"),
        ("", "", "en"),
        ("../../etc", "", "en"),
    ],
)
def test_language_is_the_nearest_that_is_spoken_here(
    asked: str, browser: str, language: str
) -> None:
    api = Api("/api")
    created = api.call(
        "POST", "/sessions", {"language": asked}, headers={"Accept-Language": browser}
    ).json()
    api.token = created["token"]
    assert api.get(f"/sessions/{created['session_name']}").json()["language"] == language


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nickname", "x" * 101),
        ("nickname", 5),
        ("nickname", None),
        ("email", "zoe"),
        ("email", "zoe@"),
        ("email", "zoe@example.com, eve@example.com"),
        ("email", "x" * 250 + "@example.com"),
        ("language", "x" * 36),
        ("metadata", []),
        ("metadata", "page"),
        ("metadata", {"page": "x" * 8192}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_new_session_with_an_unacceptable_field_is_refused(field: str, value: Any) -> None:
    answer = Api("/api").post("/sessions", {field: value})
    details = error_of(answer, 422, "VALIDATION_ERROR")["details"]
    assert field in details["errors"][0]["field"]
    assert not ChatSession.objects.exists()


def test_longest_acceptable_values_are_accepted() -> None:
    visitor = Visitor(nickname="名" * 100, metadata={"a": "x" * 8000})
    assert stored(visitor).nickname == "名" * 100


# --- State and messages -----------------------------------------------------------------


def test_state_of_a_new_session(visitor: Visitor) -> None:
    state = visitor.state()
    assert state["session_name"] == visitor.session
    assert state["status"] == "bot_active"
    assert state["agent"] is state["queue"] is state["reply"] is None
    assert state["messages"] == []
    assert state["cursor"] == visitor.created["cursor"]


def test_state_shows_no_secrets_and_no_agents_matters(visitor: Visitor, alice: Agent) -> None:
    """The customer's state is not the agents': no address, no reason, no token."""
    visitor.post(visitor.at("/escalate"), {"reason": "secret reason"})
    text = visitor.get(visitor.at()).content.decode()
    assert visitor.token not in text
    assert stored(visitor).token_digest not in text
    assert "ownership_epoch" not in text


# As the contract has them.
REASONS = {
    "requested", "rule", "ai", "cancelled", "taken_over", "assigned", "transferred",
    "agent_lost", "agent_silent", "nobody_on_duty", "staff_back", "requeued", "customer_gone",
    "customer_back", "released", "closed_by_customer", "closed_by_agent", "idle", "reopened",
    "reply_failed",
}  # fmt: skip


def test_no_verb_shows_the_customer_what_is_written_for_agents(
    visitor: Visitor, alice: Agent
) -> None:
    secret = "REFUND-OVER-LIMIT"
    colleague = Colleague(alice)
    desk = f"/sessions/{visitor.session}"
    seen: list[str] = []
    for verb in (
        "ask", "leave", "ask", "takeover", "release", "ask", "end", "reopen", "ask", "close",
        "reopen", "go home", "ask", "takeover", "close",
    ):  # fmt: skip
        match verb:
            case "ask":
                answer = visitor.post(visitor.at("/escalate"), {"reason": secret})
                assert colleague.get(desk).json()["reason"] == secret
            case "leave":
                answer = visitor.delete(visitor.at("/escalate"))
            case "end":
                answer = visitor.post(visitor.at("/close"))
            case "go home":
                presence.choose(alice, PresenceStatus.OFFLINE)
                continue
            case _:
                assert colleague.post(f"{desk}/{verb}").status_code == 200
                answer = visitor.get(visitor.at("/messages"))
        seen += [answer.content.decode(), visitor.get(visitor.at()).content.decode()]
    changes = events_of(visitor.session, "status_change")
    assert {change["payload"]["reason"] for change in changes} == {
        "requested", "cancelled", "taken_over", "released", "closed_by_customer", "reopened",
        "closed_by_agent", "nobody_on_duty",
    }  # fmt: skip
    seen += [json.dumps(event) for event in events_of(visitor.session)]
    assert not [text for text in seen if secret in text]
    assert secret in json.dumps(events_of(events.AGENTS, "queue_update"))


def test_reasons_are_the_contracts() -> None:
    assert {str(reason) for reason in Reason} <= REASONS


def test_cursor_of_the_state_is_behind_everything_in_it(visitor: Visitor) -> None:
    visitor.send("one")
    state = visitor.state()
    assert state["cursor"] == sse.cursor(visitor.session)
    assert state["cursor"] != visitor.created["cursor"]


def test_sent_message_is_stored_shown_and_announced(visitor: Visitor) -> None:
    answer = visitor.send("  Grüße 你好 🦉\nsecond line  ", "abc")
    assert answer.status_code == 201
    message = answer.json()
    assert set(message) == MESSAGE_FIELDS
    assert message["content"] == "Grüße 你好 🦉\nsecond line"
    assert (message["client_id"], message["role"]) == ("abc", "user")
    assert (message["status"], message["sources"]) == ("complete", [])
    assert message["reply_id"] is message["agent"] is None
    assert visitor.state()["messages"] == [message]
    assert visitor.get(visitor.at("/messages")).json() == {"items": [message], "next": None}
    (event,) = events_of(visitor.session, "message")
    assert event["payload"] == message


def test_times_have_milliseconds_even_when_they_are_none(visitor: Visitor) -> None:
    """A client compares what the stream and the HTTP API say of one message."""
    visitor.send("on the second")
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    stored(visitor).messages.update(created_at=moment)
    ChatSession.objects.update(created_at=moment)
    state = visitor.state()
    assert state["created_at"] == "2026-01-02T03:04:05.000Z"
    assert state["messages"][0]["created_at"] == "2026-01-02T03:04:05.000Z"
    assert events.message_json(stored(visitor).messages.get()) == state["messages"][0]


def test_same_client_id_again_is_the_same_message(visitor: Visitor) -> None:
    first = visitor.send("hello", "abc")
    again = visitor.send("something else", "abc")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(visitor.state()["messages"]) == 1
    assert len(events_of(visitor.session, "message")) == 1


def test_client_id_counts_within_one_session(visitor: Visitor) -> None:
    other = Visitor()
    assert visitor.send("mine", "1").status_code == 201
    assert other.send("theirs", "1").status_code == 201
    assert visitor.send("mine", "2").status_code == 201
    assert visitor.send("case counts", "A").status_code == 201
    assert visitor.send("case counts", "a").status_code == 201


def test_repeated_client_id_is_answered_even_when_the_session_is_closed(
    visitor: Visitor,
) -> None:
    """The first answer was lost on the way: the message is there, so it is not refused."""
    first = visitor.send("hello", "abc").json()
    visitor.post(visitor.at("/close"))
    again = visitor.send("hello", "abc")
    assert (again.status_code, again.json()) == (200, first)


@pytest.mark.parametrize(
    "content", ["x" * 4000, "你" * 4000, "🦉" * 4000, "x" + "\n" * 50 + "y"]
)
def test_message_of_the_greatest_length(visitor: Visitor, content: str) -> None:
    answer = visitor.send(content)
    assert answer.status_code == 201
    assert answer.json()["content"] == content


@pytest.mark.parametrize("content", ["x" * 4001, "🦉" * 4001, "", "  \n\t ", None, 7, ["hi"]])
def test_unacceptable_content_is_refused(visitor: Visitor, content: Any) -> None:
    answer = visitor.post(visitor.at("/messages"), {"content": content, "client_id": "1"})
    error_of(answer, 422, "VALIDATION_ERROR")
    assert visitor.state()["messages"] == []


@pytest.mark.parametrize("client_id", ["", "x" * 101, None, 7])
def test_unacceptable_client_id_is_refused(visitor: Visitor, client_id: Any) -> None:
    answer = visitor.post(visitor.at("/messages"), {"content": "hi", "client_id": client_id})
    error_of(answer, 422, "VALIDATION_ERROR")
    assert visitor.state()["messages"] == []


def test_closed_session_takes_no_message(visitor: Visitor) -> None:
    visitor.post(visitor.at("/close"))
    before = visitor.state()
    error_of(visitor.send("hello?"), 409, "SESSION_CLOSED")
    assert visitor.state() == before


@pytest.mark.parametrize("status", ["pending_manual", "manual_live", "after_hours_email"])
def test_messages_are_taken_while_a_person_is_waited_for_or_there(
    visitor: Visitor, alice: Agent, status: str
) -> None:
    if status == "after_hours_email":
        Agent.objects.update(status="offline")
    handoff.escalate(visitor.session)
    if status == "manual_live":
        handoff.take_over(visitor.session, alice.person)
    assert visitor.state()["status"] == status
    assert visitor.send("still there?").status_code == 201
    assert visitor.state()["status"] == status
    # The AI answers only while no person is to.
    assert stored(visitor).turns.exists() == (status == "after_hours_email")


def test_older_messages_come_page_by_page_in_order(visitor: Visitor) -> None:
    sent = [visitor.send(f"m{n}").json() for n in range(60)]
    state = visitor.state()
    assert state["messages"] == sent[10:]
    page = visitor.get(visitor.at("/messages"), before=state["messages"][0]["id"]).json()
    assert page == {"items": sent[:10], "next": None}

    collected, query = [], {"limit": 7}
    while True:
        page = visitor.get(visitor.at("/messages"), **query).json()
        assert len(page["items"]) <= 7
        collected = page["items"] + collected
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert collected == sent


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"limit": "all"}, {"before": -1}, {"before": "x"},
     {"cursor": 2**63}],
    ids=str,
)  # fmt: skip
def test_unacceptable_page_is_refused(visitor: Visitor, query: dict[str, Any]) -> None:
    error_of(visitor.get(visitor.at("/messages"), **query), 422, "VALIDATION_ERROR")


# --- Asking for a person ----------------------------------------------------------------


def test_escalation_puts_the_customer_in_line(visitor: Visitor, alice: Agent) -> None:
    answer = visitor.post(visitor.at("/escalate"), {"reason": "broken lamp"})
    assert answer.status_code == 200
    state = answer.json()
    assert state == visitor.state()
    assert state["status"] == "pending_manual"
    assert state["queue"] == {
        "position": 1,
        "estimated_wait_seconds": None,
        "estimated_wait_max_seconds": None,
    }
    assert state["messages"][-1]["role"] == "system"
    (change,) = events_of(visitor.session, "status_change")
    assert change["payload"] == {
        "session_name": visitor.session,
        "status": "pending_manual",
        "previous": "bot_active",
        "reason": "requested",
        "agent": None,
    }


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"reason": ""}'])
def test_escalation_needs_no_reason(visitor: Visitor, alice: Agent, body: bytes) -> None:
    assert visitor.call("POST", visitor.at("/escalate"), body).status_code == 200
    assert visitor.state()["status"] == "pending_manual"


def test_escalation_without_agents_goes_to_email(visitor: Visitor) -> None:
    answer = visitor.post(visitor.at("/escalate"))
    assert answer.status_code == 200
    assert answer.json()["status"] == "after_hours_email"
    assert answer.json()["queue"] is None


def test_escalation_is_refused_while_one_is_pending_or_live(
    visitor: Visitor, alice: Agent
) -> None:
    visitor.post(visitor.at("/escalate"))
    for status in ("pending_manual", "manual_live"):
        before = visitor.state()
        assert before["status"] == status
        error = error_of(visitor.post(visitor.at("/escalate")), 409, "MANUAL_IN_PROGRESS")
        assert error["details"] == {"status": status}
        assert visitor.state() == before
        handoff.take_over(visitor.session, alice.person)


def test_escalation_with_a_too_long_reason_is_refused(visitor: Visitor, alice: Agent) -> None:
    answer = visitor.post(visitor.at("/escalate"), {"reason": "x" * 501})
    error_of(answer, 422, "VALIDATION_ERROR")
    assert visitor.state()["status"] == "bot_active"


def test_customer_leaves_the_line(visitor: Visitor, alice: Agent) -> None:
    visitor.post(visitor.at("/escalate"))
    answer = visitor.delete(visitor.at("/escalate"))
    assert answer.status_code == 200
    assert answer.json()["status"] == "bot_active"
    assert answer.json()["queue"] is None
    error_of(visitor.delete(visitor.at("/escalate")), 409, "NOT_PENDING")


# --- Stopping and closing ---------------------------------------------------------------


def test_stop_withdraws_an_answer_that_is_owed(visitor: Visitor) -> None:
    visitor.send("How long does delivery take?")
    assert stored(visitor).turns.get().state == "waiting"
    answer = visitor.post(visitor.at("/stop"))
    assert (answer.status_code, answer.json()["status"]) == (200, "bot_active")
    assert stored(visitor).turns.get().state == "aborted"
    # Nothing to stop is no error.
    assert visitor.post(visitor.at("/stop")).status_code == 200


def test_close_ends_the_conversation_and_repeating_it_changes_nothing(
    visitor: Visitor,
) -> None:
    visitor.send("bye")
    answer = visitor.post(visitor.at("/close"))
    assert (answer.status_code, answer.json()["status"]) == (200, "closed")
    (change,) = events_of(visitor.session, "status_change")
    assert change["payload"]["reason"] == "closed_by_customer"
    assert stored(visitor).turns.get().state == "aborted"
    assert visitor.post(visitor.at("/close")).json() == answer.json()
    for path, method in (("/escalate", "POST"), ("/messages", "POST")):
        body = {"content": "hi", "client_id": "x"}
        error_of(visitor.call(method, visitor.at(path), body), 409, "SESSION_CLOSED")
    error_of(visitor.delete(visitor.at("/escalate")), 409, "NOT_PENDING")


def test_closed_conversation_can_still_be_read(visitor: Visitor) -> None:
    sent = visitor.send("bye").json()
    visitor.post(visitor.at("/close"))
    assert visitor.state()["messages"][0] == sent
    assert visitor.get(visitor.at("/messages")).json()["items"][0] == sent


# --- What needs no session --------------------------------------------------------------


def test_config_says_what_a_window_shows_before_there_is_a_session() -> None:
    config = Api("/api").get("/config")
    assert config.status_code == 200
    body = config.json()
    assert body["greeting"]
    assert len(body["starter_questions"]) >= 2
    assert (body["hours"], body["open_now"], body["time_zone"]) == ({}, True, "UTC")
    assert [language["code"] for language in body["languages"]] == ["en", "zh-hans"]
    assert body["message_max_characters"] == 4000


def test_config_says_when_people_are_there(settings: Settings) -> None:
    settings.OPENING_HOURS = "mon-tue 09:00-12:00; tue 13:00-24:00"
    body = Api("/api").get("/config").json()
    assert body["hours"]["mon"] == [["09:00", "12:00"]]
    assert body["hours"]["tue"][0] == ["09:00", "12:00"]
    assert set(body["hours"]) == {"mon", "tue"}


def test_closing_time_at_midnight_is_shown_as_such(settings: Settings) -> None:
    settings.OPENING_HOURS = "mon 09:00-24:00"
    assert Api("/api").get("/config").json()["hours"] == {"mon": [["09:00", "24:00"]]}


def test_config_speaks_the_language_that_is_asked_for() -> None:
    english = Api("/api").get("/config", language="en").json()
    chinese = Api("/api").get("/config", language="zh").json()
    assert english["greeting"] != chinese["greeting"]


@pytest.mark.parametrize("prefix", ["/api", "/workbench-api"])
def test_health(prefix: str) -> None:
    answer = Api(prefix).get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["database"], body["sse"]["mode"]) == ("ok", "ok", "memory")
    for path in ("/livez", "/readyz"):
        answer = Api(prefix).get(path)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


# --- Rate limits ------------------------------------------------------------------------


@pytest.mark.usefixtures("rate_limits")
def test_one_address_begins_sixty_sessions_in_a_minute() -> None:
    for _ in range(60):
        Visitor()
    answer = Api("/api").post("/sessions", {})
    error_of(answer, 429, "TOO_MANY_REQUESTS")
    assert int(answer["Retry-After"]) >= 1
    assert ChatSession.objects.count() == 60
    assert Api("/api", REMOTE_ADDR="192.0.2.7").post("/sessions", {}).status_code == 201


@pytest.mark.usefixtures("rate_limits")
def test_one_session_sends_sixty_messages_in_a_minute(visitor: Visitor) -> None:
    other = Visitor()
    for _ in range(60):
        assert visitor.send().status_code == 201
    error_of(visitor.send(), 429, "TOO_MANY_REQUESTS")
    assert other.send().status_code == 201
    assert stored(visitor).messages.count() == 60


@pytest.mark.usefixtures("rate_limits")
def test_strangers_do_not_use_up_a_sessions_messages(visitor: Visitor) -> None:
    stranger = Api("/api", token="nonsense")
    for _ in range(61):
        body = {"content": "hi", "client_id": "1"}
        error_of(stranger.post(visitor.at("/messages"), body), 401)
    assert visitor.send().status_code == 201


@pytest.mark.usefixtures("rate_limits")
def test_one_session_escalates_twenty_times_in_a_minute(visitor: Visitor, alice: Agent) -> None:
    for _ in range(20):
        visitor.post(visitor.at("/escalate"))
    error_of(visitor.post(visitor.at("/escalate")), 429, "TOO_MANY_REQUESTS")


def begun_at(address: str) -> Visitor:
    return Visitor(from_address=address)


@pytest.mark.usefixtures("rate_limits", "alice")
def test_one_address_asks_for_a_person_thirty_times_in_a_minute() -> None:
    for _ in range(30):
        visitor = Visitor()
        assert visitor.post(visitor.at("/escalate")).status_code == 200
    visitor = Visitor()
    error_of(visitor.post(visitor.at("/escalate")), 429, "TOO_MANY_REQUESTS")
    visitor = begun_at("192.0.2.7")
    assert visitor.post(visitor.at("/escalate")).status_code == 200


def asked(visitor: Visitor) -> str:
    return visitor.post(visitor.at("/escalate")).json()["status"]


@pytest.mark.usefixtures("rate_limits", "alice")
def test_one_address_takes_so_many_places_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PLACES_PER_ADDRESS", 2)
    first, second, third = (begun_at(f"2001:db8::{number}") for number in range(3))
    assert [asked(visitor) for visitor in (first, second)] == ["pending_manual"] * 2
    assert asked(third) == "after_hours_email"
    assert "from your network" in third.state()["messages"][-1]["content"]
    assert asked(third) == "after_hours_email"
    # Wherever it asks from: what counts is who began it. In words it is no other way in.
    by_words = handoff.escalate(third.session, reason=Reason.RULE)
    assert by_words.status == "after_hours_email"
    assert asked(begun_at("2001:db8:0:1::")) == "pending_manual"
    first.delete(first.at("/escalate"))
    assert asked(third) == "pending_manual"


@pytest.mark.usefixtures("alice")
def test_places_are_not_counted_with_limits_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "PLACES_PER_ADDRESS", 1)
    assert [asked(Visitor()) for _ in range(3)] == ["pending_manual"] * 3


def test_address_is_not_stored() -> None:
    here, there = (stored(begun_at("192.0.2.7")) for _ in range(2))
    assert here.origin == there.origin != stored(begun_at("192.0.2.8")).origin
    for field in ChatSession._meta.fields:
        assert "192.0.2.7" not in str(getattr(here, field.attname))


def test_rate_limits_can_be_switched_off(visitor: Visitor, settings: Settings) -> None:
    settings.RATE_LIMITS = False
    assert {visitor.send().status_code for _ in range(70)} == {201}


# --- On a real server -------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(module_services: Services) -> Service:
    return module_services.start(AI_BACKEND="scripted", RATE_LIMITS="on")


def test_twenty_requests_at_once_with_one_client_id_store_one_message(
    service: Service, clients: Clients
) -> None:
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    body = {"content": "say: once", "client_id": "the one"}

    def send(_: int) -> tuple[int, dict[str, Any]]:
        answer = customer.http.post(customer.path("/messages"), json=body)
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(send, range(20)))

    assert sorted(status for status, _ in answers) == [200] * 19 + [201]
    assert len({message["id"] for _, message in answers}) == 1
    reply = stream.wait_for(lambda e: e.payload.get("role") == "assistant")
    assert [e.payload["role"] for e in stream.events("message")] == ["user", "assistant"]
    assert [m["id"] for m in customer.state()["messages"]] == [
        answers[0][1]["id"],
        reply.payload["id"],
    ]


def test_limits_hold_on_a_real_server(services: Services, clients: Clients) -> None:
    limited = services.start(RATE_LIMITS="on")
    customer = clients.customer(limited)
    body = {"content": "hello", "client_id": "1"}
    answers = [customer.http.post(customer.path("/messages"), json=body) for _ in range(61)]
    assert [answer.status_code for answer in answers] == [201] + [200] * 59 + [429]
    assert answers[-1].json()["error"]["code"] == "TOO_MANY_REQUESTS"
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_simultaneous_requests_take_no_more_places(service: Service, clients: Clients) -> None:
    clients.agent(service).stream().wait_for("connected")
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.9")
    with httpx.Client(base_url=service.api_url, transport=elsewhere, timeout=60) as http:
        begun = [http.post("/sessions", json={}).json() for _ in range(26)]
        at_once = Barrier(26)

        def ask(session: dict[str, str]) -> str:
            at_once.wait(30)
            headers = {"Authorization": f"Bearer {session['token']}"}
            path = f"/sessions/{session['session_name']}/escalate"
            # They wait for one another, on a busy machine longer than a request may.
            answer = http.post(path, json={}, headers=headers)
            while answer.status_code == 503:
                answer = http.post(path, json={}, headers=headers)
            return answer.json()["status"]

        with ThreadPoolExecutor(26) as threads:
            statuses = list(threads.map(ask, begun))
    assert sorted(statuses) == ["after_hours_email"] * 6 + ["pending_manual"] * 20
