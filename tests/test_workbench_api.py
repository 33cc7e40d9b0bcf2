"""What an agent can do over HTTP, call by call, and what others cannot."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.contrib import auth
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

import sse
from agent_workbench import accounts
from agent_workbench import tokens as agent_tokens
from agent_workbench.models import Agent, AgentToken
from ai_chatbot import events
from ai_chatbot.conversation import handoff, states
from ai_chatbot.models import ChatSession
from sse.log.targets import CONTROL
from sse.models import Target
from tests.harness.services import Services
from tests.in_process import (
    Api,
    Colleague,
    Json,
    Visitor,
    error_of,
    events_of,
    make_agent,
    make_session,
)

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
TAKEN = "/sessions/{}/takeover"


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """The real hash takes half a second, on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice() -> Colleague:
    return Colleague(make_agent("alice"))


@pytest.fixture
def bob() -> Colleague:
    return Colleague(make_agent("bob"))


@pytest.fixture
def visitor(alice: Colleague) -> Visitor:
    """A customer who waits in line for one of the agents."""
    waiting = Visitor(nickname="Zoë")
    assert waiting.post(waiting.at("/escalate"), {"reason": "broken lamp"}).status_code == 200
    return waiting


def log_in(username: str = "carol", password: str = PASSWORD, **client: Any) -> Any:
    api = Api("/workbench-api", **client)
    return api.post("/agent/login", {"username": username, "password": password})


# --- Logging in and out -----------------------------------------------------------------


@pytest.fixture
def carol() -> Agent:
    return accounts.create_agent("carol", PASSWORD, display_name="Carol C.", max_sessions=3)


def test_login_gives_tokens_and_makes_the_agent_available(carol: Agent) -> None:
    answer = log_in()
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"token", "expires_in", "refresh_token", "agent"}
    assert body["agent"] == {
        "id": carol.user_id,
        "name": "Carol C.",
        "username": "carol",
        "role": "agent",
        "status": "online",
        "sessions": 0,
        "max_sessions": 3,
        "languages": [],
        "skills": [],
    }
    assert body["expires_in"] == 12 * 3600
    profile = Api("/workbench-api", body["token"]).get("/agent/profile")
    assert (profile.status_code, profile.json()) == (200, body["agent"])
    (event,) = events_of(events.AGENTS, "presence")
    assert event["payload"] == {
        "agent": {"id": carol.user_id, "name": "Carol C."},
        "status": "online",
    }


@pytest.mark.parametrize("change", [{"password": "another"}, {"is_active": False}])
def test_what_changes_while_the_password_is_looked_at_counts(
    change: Json, carol: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = auth.authenticate

    def look_meanwhile(*args: Any, **kwargs: Any) -> Any:
        user = look(*args, **kwargs)
        changed = get_user_model().objects.get(pk=carol.user_id)
        for name, value in change.items():
            setattr(changed, name, value)
        changed.save()
        return user

    monkeypatch.setattr(auth, "authenticate", look_meanwhile)
    error_of(log_in(), 401)
    assert not AgentToken.objects.exists()


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("carol", "wrong"),
        ("carol", ""),
        ("carol", PASSWORD.upper()),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("customer", PASSWORD),
        ("former", PASSWORD),
    ],
)
def test_login_is_refused_alike_whatever_was_wrong(
    carol: Agent, username: str, password: str
) -> None:
    """Nobody learns which names exist, or who is no agent, or no longer one."""
    get_user_model().objects.create_user("customer", password=PASSWORD)
    former = accounts.create_agent("former", PASSWORD)
    former.user.is_active = False
    former.user.save()
    error = error_of(log_in(username, password), 401, "INVALID_LOGIN")
    assert error["message"] == "The username or the password is wrong."
    assert error["details"] == {}
    assert not AgentToken.objects.exists()


@pytest.mark.parametrize("body", [{}, {"username": "carol"}, {"username": 5, "password": 6}])
def test_login_needs_both_fields(body: Json) -> None:
    error_of(Api("/workbench-api").post("/agent/login", body), 422, "VALIDATION_ERROR")


def refreshed(refresh_token: str) -> Any:
    return Api("/workbench-api").post("/agent/refresh", {"refresh_token": refresh_token})


def opens(token: str) -> bool:
    answer = Api("/workbench-api", token).get("/agent/profile")
    if answer.status_code != 200:
        error_of(answer, 401, "INVALID_TOKEN")
    return answer.status_code == 200


def test_refreshing_gives_a_new_pair_and_voids_the_old_one(carol: Agent) -> None:
    first = log_in().json()
    answer = refreshed(first["refresh_token"])
    assert answer.status_code == 200
    second = answer.json()
    assert second["agent"]["username"] == "carol"
    assert second["expires_in"] == 12 * 3600
    assert (opens(first["token"]), opens(second["token"])) == (False, True)
    third = refreshed(second["refresh_token"]).json()
    assert (opens(second["token"]), opens(third["token"])) == (False, True)
    assert AgentToken.objects.count() == 2
    assert not events_of(CONTROL, "revoke")


@pytest.mark.parametrize("age", [1, 3], ids=["the last", "an older one"])
def test_refresh_token_used_again_voids_all_of_its_login(carol: Agent, age: int) -> None:
    other = log_in().json()
    pairs = [log_in().json()]
    for _ in range(3):
        pairs.append(refreshed(pairs[-1]["refresh_token"]).json())
    error_of(refreshed(pairs[-1 - age]["refresh_token"]), 401, "INVALID_TOKEN")
    assert not opens(pairs[-1]["token"])
    error_of(refreshed(pairs[-1]["refresh_token"]), 401, "INVALID_TOKEN")
    assert [revoked["payload"]["subject"] for revoked in events_of(CONTROL, "revoke")] == [
        f"agent:{carol.pk}"
    ]
    # Another login of the same agent is none of its family.
    assert opens(other["token"])
    assert refreshed(other["refresh_token"]).status_code == 200


def test_request_that_came_second_by_a_hair_voids_nothing(
    carol: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double click, say: both were under way before either was done."""
    pair, first = log_in().json(), []
    exchange = agent_tokens._exchange

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(agent_tokens, "_exchange", exchange)
        first.append(refreshed(pair["refresh_token"]).json())
        return exchange(*args, **kwargs)

    monkeypatch.setattr(agent_tokens, "_exchange", overtaken)
    error_of(refreshed(pair["refresh_token"]), 401, "INVALID_TOKEN")
    assert opens(first[0]["token"])
    assert refreshed(first[0]["refresh_token"]).status_code == 200


def test_made_up_refresh_token_voids_nothing(carol: Agent) -> None:
    pair = log_in().json()
    secret, _, rest = pair["refresh_token"].partition(".")
    for nonsense in ("", ".", rest, f".{rest}", f"x{secret}.{rest}", pair["token"], "x" * 200):
        error_of(refreshed(nonsense), 401, "INVALID_TOKEN")
    assert opens(pair["token"])


def test_login_ends_however_often_it_is_refreshed(carol: Agent) -> None:
    pair = log_in().json()
    soon = timezone.now() + timedelta(hours=1)
    AgentToken.objects.update(family_ends_at=soon)
    pair = refreshed(pair["refresh_token"]).json()
    assert 3500 < pair["expires_in"] <= 3600
    assert set(AgentToken.objects.values_list("family_ends_at", "expires_at")) == {(soon, soon)}
    AgentToken.objects.update(expires_at=timezone.now())
    error_of(refreshed(pair["refresh_token"]), 401, "INVALID_TOKEN")
    assert not opens(pair["token"])


def test_login_is_good_for_thirty_days(carol: Agent) -> None:
    log_in()
    (end,) = set(AgentToken.objects.values_list("family_ends_at", flat=True))
    assert timedelta(days=29) < end - timezone.now() <= timedelta(days=30)


def test_refresh_token_of_a_time_before_families_is_exchanged(carol: Agent) -> None:
    pair = log_in().json()
    AgentToken.objects.update(family="", family_ends_at=None)
    later = refreshed(pair["refresh_token"])
    assert later.status_code == 200
    assert opens(later.json()["token"])
    error_of(refreshed(pair["refresh_token"]), 401, "INVALID_TOKEN")


def test_tokens_are_good_for_their_own_purpose_only(carol: Agent) -> None:
    tokens = log_in().json()
    as_access = Api("/workbench-api", tokens["refresh_token"]).get("/agent/profile")
    error_of(as_access, 401, "INVALID_TOKEN")
    as_refresh = Api("/workbench-api").post(
        "/agent/refresh", {"refresh_token": tokens["token"]}
    )
    error_of(as_refresh, 401, "INVALID_TOKEN")


def test_tokens_run_out(carol: Agent) -> None:
    tokens = log_in().json()
    AgentToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    error_of(Api("/workbench-api", tokens["token"]).get("/agent/profile"), 401, "INVALID_TOKEN")
    refresh = {"refresh_token": tokens["refresh_token"]}
    error_of(Api("/workbench-api").post("/agent/refresh", refresh), 401, "INVALID_TOKEN")
    log_in()
    # The dead ones were swept away.
    assert AgentToken.objects.count() == 2


def test_logout_ends_every_token_of_the_agent_and_of_nobody_else(
    carol: Agent, alice: Colleague
) -> None:
    here, there = log_in().json(), log_in().json()
    assert Api("/workbench-api", here["token"]).post("/agent/logout").status_code == 204
    for tokens in (here, there):
        ended = Api("/workbench-api", tokens["token"]).get("/agent/profile")
        error_of(ended, 401, "INVALID_TOKEN")
        refresh = {"refresh_token": tokens["refresh_token"]}
        error_of(Api("/workbench-api").post("/agent/refresh", refresh), 401, "INVALID_TOKEN")
    assert alice.get("/agent/profile").status_code == 200


def test_new_password_ends_what_was_given_for_the_old_one(
    carol: Agent, alice: Colleague
) -> None:
    before = log_in().json()
    carol.user.set_password("another horse battery")
    carol.user.save()

    error_of(Api("/workbench-api", before["token"]).get("/agent/profile"), 401, "INVALID_TOKEN")
    refresh = {"refresh_token": before["refresh_token"]}
    error_of(Api("/workbench-api").post("/agent/refresh", refresh), 401, "INVALID_TOKEN")
    assert [revoked["payload"]["subject"] for revoked in events_of(CONTROL, "revoke")] == [
        f"agent:{carol.pk}"
    ]
    after = log_in(password="another horse battery").json()
    carol.user.save()
    assert Api("/workbench-api", after["token"]).get("/agent/profile").status_code == 200
    assert alice.get("/agent/profile").status_code == 200


def test_agent_who_is_no_longer_active_is_out_at_once(carol: Agent) -> None:
    tokens = log_in().json()
    carol.user.is_active = False
    carol.user.save()
    error_of(Api("/workbench-api", tokens["token"]).get("/agent/profile"), 401)
    refresh = {"refresh_token": tokens["refresh_token"]}
    error_of(Api("/workbench-api").post("/agent/refresh", refresh), 401)


@pytest.mark.usefixtures("rate_limits")
def test_guessing_a_password_is_slow(carol: Agent, bob: Colleague) -> None:
    accounts.create_agent("dave", PASSWORD)
    for _ in range(5):
        error_of(log_in(password="guess"), 401)
    answer = log_in()
    error_of(answer, 429, "TOO_MANY_REQUESTS")
    assert int(answer["Retry-After"]) >= 1
    # Others are not locked out by it, nor is the same name from elsewhere.
    assert log_in("dave").status_code == 200
    assert log_in(REMOTE_ADDR="192.0.2.7").status_code == 200


@pytest.mark.usefixtures("rate_limits")
def test_guessing_names_from_one_address_is_slow(carol: Agent) -> None:
    for number in range(50):
        error_of(log_in(f"name{number}", "guess"), 401)
    error_of(log_in(), 429, "TOO_MANY_REQUESTS")
    assert log_in(REMOTE_ADDR="192.0.2.7").status_code == 200


@pytest.mark.usefixtures("rate_limits")
def test_right_password_clears_the_failures(carol: Agent) -> None:
    for _ in range(3):
        for _ in range(4):
            error_of(log_in(password="guess"), 401)
        assert log_in().status_code == 200


def test_login_is_not_throttled_with_limits_switched_off(carol: Agent) -> None:
    assert {log_in(password="guess").status_code for _ in range(10)} == {401}


# --- Presence ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["busy", "break", "offline"])
def test_agent_says_how_they_are(alice: Colleague, status: str) -> None:
    answer = alice.put("/agent/status", {"status": status})
    assert (answer.status_code, answer.json()) == (200, {"status": status})
    assert alice.get("/agent/status").json() == {"status": status}
    assert alice.get("/agent/profile").json()["status"] == status
    event = events_of(events.AGENTS, "presence")[-1]["payload"]
    assert event == {"agent": alice.person, "status": status}


def test_repeated_status_is_announced_once(alice: Colleague) -> None:
    before = len(events_of(events.AGENTS, "presence"))
    for _ in range(3):
        alice.put("/agent/status", {"status": "busy"})
    assert len(events_of(events.AGENTS, "presence")) == before + 1


@pytest.mark.parametrize("status", ["asleep", "", None, 1, "ONLINE"])
def test_unknown_status_is_refused(alice: Colleague, status: Any) -> None:
    error_of(alice.put("/agent/status", {"status": status}), 422, "VALIDATION_ERROR")
    assert alice.get("/agent/status").json() == {"status": "online"}


def test_login_does_not_undo_a_chosen_status(carol: Agent) -> None:
    api = Api("/workbench-api", log_in().json()["token"])
    for status in ("offline", "break"):
        api.put("/agent/status", {"status": status})
        assert log_in().json()["agent"]["status"] == status


# --- Lists ------------------------------------------------------------------------------


def names(page: Any) -> list[str]:
    assert page.status_code == 200, page.content
    return [item["session_name"] for item in page.json()["items"]]


def test_list_shows_sessions_newest_first_with_their_last_message(
    alice: Colleague, visitor: Visitor
) -> None:
    other = Visitor(nickname="Yan")
    sent = other.send("x" * 500).json()
    page = alice.get("/sessions").json()
    assert page["next"] is None
    newest, older = page["items"]
    assert newest == {
        "session_name": other.session,
        "nickname": "Yan",
        "language": "en",
        "status": "bot_active",
        "agent": None,
        "reason": "",
        "question": "",
        "priority": "normal",
        "vip": False,
        "why": [],
        "unanswered_since": None,
        "customer_gone_at": None,
        "has_contact": False,
        "created_at": other.created["created_at"],
        "escalated_at": None,
        "last_message": {
            "id": sent["id"],
            "role": "user",
            "content": "x" * 160,
            "created_at": sent["created_at"],
        },
    }
    assert (older["session_name"], older["reason"]) == (visitor.session, "broken lamp")
    assert older["escalated_at"] is not None


def test_list_is_filtered_by_status(alice: Colleague, visitor: Visitor) -> None:
    closed = Visitor()
    closed.post(closed.at("/close"))
    fresh = Visitor()
    assert names(alice.get("/sessions", status="pending_manual")) == [visitor.session]
    assert names(alice.get("/sessions", status="closed")) == [closed.session]
    assert names(alice.get("/sessions", status="bot_active")) == [fresh.session]
    assert names(alice.get("/sessions", status="manual_live")) == []


def test_list_is_filtered_by_agent(alice: Colleague, bob: Colleague) -> None:
    mine, theirs, nobodys = Visitor(), Visitor(), Visitor()
    alice.post(TAKEN.format(mine.session))
    bob.post(TAKEN.format(theirs.session))
    assert names(alice.get("/sessions", agent="mine")) == [mine.session]
    assert names(bob.get("/sessions", agent="mine")) == [theirs.session]
    assert names(alice.get("/sessions", agent="unassigned")) == [nobodys.session]
    assert names(alice.get("/sessions", agent=bob.person["id"])) == [theirs.session]
    assert names(alice.get("/sessions", agent=10**17)) == []
    assert len(names(alice.get("/sessions", agent="all"))) == 3


def test_list_is_searched_in_name_nickname_address_and_messages(alice: Colleague) -> None:
    by_nickname = Visitor(nickname="Ünal 100%")
    by_email = Visitor(email="someone@example.com")
    by_message = Visitor()
    by_message.send("my LAMP is broken, my lamp!")
    assert names(alice.get("/sessions", q="100%")) == [by_nickname.session]
    assert names(alice.get("/sessions", q="SOMEONE@")) == [by_email.session]
    assert names(alice.get("/sessions", q=" lamp ")) == [by_message.session]
    assert names(alice.get("/sessions", q=by_message.session[3:])) == [by_message.session]
    assert names(alice.get("/sessions", q="no such words")) == []
    assert names(alice.get("/sessions", session_name=by_message.session)) == [
        by_message.session
    ]
    for none in (by_message.session[3:], "zzz", "a\x00b"):
        assert names(alice.get("/sessions", session_name=none)) == []
    assert names(alice.get("/sessions", q="my_lamp")) == []
    assert names(alice.get("/sessions", q="lamp", status="closed")) == []


def test_list_comes_page_by_page(alice: Colleague) -> None:
    made = [Visitor().session for _ in range(5)]
    seen, query = [], {"limit": 2}
    while True:
        page = alice.get("/sessions", **query)
        seen += names(page)
        # One that is new in between does not shift the pages.
        Visitor()
        query["cursor"] = page.json()["next"]
        if query["cursor"] is None:
            break
    assert seen == made[::-1]


def test_queue_is_first_come_first_served_page_by_page(alice: Colleague) -> None:
    waiting = [Visitor() for _ in range(3)]
    for each in waiting:
        each.post(each.at("/escalate"))
    Visitor()
    first, second, third = (each.session for each in waiting)
    assert names(alice.get("/sessions/queue")) == [first, second, third]
    page = alice.get("/sessions/queue", limit=2)
    assert names(page) == [first, second]
    page = alice.get("/sessions/queue", limit=2, cursor=page.json()["next"])
    assert (names(page), page.json()["next"]) == ([third], None)


@pytest.mark.parametrize(
    "query",
    [{"status": "open"}, {"agent": "alice"}, {"agent": "-1"}, {"agent": ""}, {"limit": 0},
     {"limit": 201}, {"cursor": "abc"}, {"cursor": -1}, {"q": "x" * 201}],
    ids=str,
)  # fmt: skip
def test_unacceptable_filter_is_refused(alice: Colleague, query: Json) -> None:
    error_of(alice.get("/sessions", **query), 422, "VALIDATION_ERROR")


def test_state_shows_agents_what_the_customer_does_not_see(
    alice: Colleague, visitor: Visitor
) -> None:
    state = alice.get(f"/sessions/{visitor.session}")
    assert state.status_code == 200
    body = state.json()
    customers = visitor.state()
    assert {name: body[name] for name in customers if name != "cursor"} == {
        name: value for name, value in customers.items() if name != "cursor"
    }
    assert body["reason"] == "broken lamp"
    assert "email" in body
    assert "reason" not in customers
    assert body["cursor"] == sse.cursor(visitor.session, f"{visitor.session}:internal")


NAMES = ["workbench:agents", "sse:control", "cs_", "名" * 150, "x" * 150, "\U0001f98a:agent:1"]


@pytest.mark.parametrize("name", NAMES)
def test_agents_events_go_by_the_key_and_not_by_the_name(visitor: Visitor, name: str) -> None:
    """A name may change, and may be what another target is called."""
    username = visitor.session if name == "cs_" else name
    agent = make_agent(username, display_name="Dora")
    target = f"agent:{agent.user_id}"
    colleague = Colleague(agent)
    assert colleague.post(TAKEN.format(visitor.session)).status_code == 200
    visitor.send("one")
    user = get_user_model().objects.get(pk=agent.user_id)
    user.username = "renamed"
    user.save()
    visitor.send("two")
    assert [event["type"] for event in events_of(target)] == [
        "session_assigned",
        "queue_update",
        "queue_update",
    ]
    known = {visitor.session, events.AGENTS, target, f"{visitor.session}:internal", CONTROL}
    assert set(Target.objects.values_list("name", flat=True)) <= known
    others = [*events_of(events.AGENTS), *events_of(visitor.session), *events_of(CONTROL)]
    assert "session_assigned" not in {event["type"] for event in others}


def test_messages_are_listed_for_agents(alice: Colleague, visitor: Visitor) -> None:
    sent = [visitor.send(f"m{n}").json() for n in range(3)]
    path = f"/sessions/{visitor.session}/messages"
    page = alice.get(path, limit=2).json()
    assert page["items"] == sent[1:]
    above = alice.get(path, limit=2, cursor=page["next"]).json()
    assert above["items"][-1] == sent[0]
    assert above["items"][0]["role"] == "system"


# --- Other agents' live conversations ---------------------------------------------------


@pytest.fixture
def taken(alice: Colleague) -> Visitor:
    """A conversation that alice has, and in which words have fallen."""
    visitor = Visitor(nickname="Zoë", email="zoe@example.com")
    visitor.post(visitor.at("/escalate"), {"reason": "a wish"})
    visitor.send("before")
    alice.post(TAKEN.format(visitor.session))
    visitor.send("secret question")
    said = {"content": "secret answer", "client_id": "1"}
    assert alice.post(f"/sessions/{visitor.session}/messages", said).status_code == 201
    return visitor


@pytest.fixture
def chief() -> Colleague:
    return Colleague(make_agent("chief", role="admin"))


def test_live_conversation_is_read_by_its_agent_and_administrators_only(
    alice: Colleague, bob: Colleague, chief: Colleague, taken: Visitor
) -> None:
    for path in (f"/sessions/{taken.session}", f"/sessions/{taken.session}/messages"):
        error = error_of(bob.get(path), 403, "NOT_ASSIGNED")
        assert error["details"] == {"agent": alice.person}
        for agent in (alice, chief):
            assert "secret answer" in agent.get(path).content.decode()
    alice.post(f"/sessions/{taken.session}/release")
    assert "secret answer" in bob.get(f"/sessions/{taken.session}").content.decode()


def test_lists_show_of_others_live_conversations_whose_they_are(
    alice: Colleague, bob: Colleague, chief: Colleague, taken: Visitor
) -> None:
    for query in ({}, {"status": "manual_live"}, {"agent": alice.person["id"]}):
        (shown,) = bob.get("/sessions", **query).json()["items"]
        assert shown["session_name"] == taken.session
        assert (shown["nickname"], shown["agent"]) == ("Zoë", alice.person)
        assert (shown["last_message"], shown["reason"]) == (None, "")
        for agent in (alice, chief):
            (shown,) = agent.get("/sessions", **query).json()["items"]
            assert shown["last_message"]["content"] == "secret answer"
            assert shown["reason"] == "a wish"


def test_search_does_not_look_into_others_live_conversations(
    alice: Colleague, bob: Colleague, chief: Colleague, taken: Visitor
) -> None:
    for q in ("secret", "before", "zoe@example.com"):
        assert names(bob.get("/sessions", q=q)) == []
        assert names(bob.get("/sessions", q=q, agent=alice.person["id"])) == []
        for agent in (alice, chief):
            assert names(agent.get("/sessions", q=q)) == [taken.session]
    assert names(bob.get("/sessions", q="Zoë")) == [taken.session]
    assert names(bob.get("/sessions", q=taken.session)) == [taken.session]
    alice.post(f"/sessions/{taken.session}/release")
    assert names(bob.get("/sessions", q="secret")) == [taken.session]


def test_what_all_agents_hear_tells_nothing_of_live_conversations(taken: Visitor) -> None:
    heard = events_of(events.AGENTS)
    removed = [e["payload"] for e in heard if e["payload"].get("change") == "removed"]
    assert [each["session"]["last_message"] for each in removed] == [None]
    assert "secret" not in str(heard)


def test_refused_verb_answers_nothing_of_the_conversation(
    bob: Colleague, taken: Visitor
) -> None:
    before = taken.state()
    for verb in ("takeover", "release", "close", "reopen"):
        answer = bob.post(f"/sessions/{taken.session}/{verb}")
        assert answer.status_code in (403, 409)
        assert "secret" not in answer.content.decode()
    assert taken.state()["messages"] == before["messages"]


# --- The conversation -------------------------------------------------------------------


def test_agent_takes_over_talks_and_releases(alice: Colleague, visitor: Visitor) -> None:
    answer = alice.post(TAKEN.format(visitor.session))
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["agent"]) == ("manual_live", alice.person)
    assert visitor.state()["agent"] == alice.person

    body = {"content": "  How can I help?  ", "client_id": "1"}
    said = alice.post(f"/sessions/{visitor.session}/messages", body)
    assert said.status_code == 201
    message = said.json()
    assert (message["role"], message["content"]) == ("agent", "How can I help?")
    assert message["agent"] == alice.person
    assert visitor.state()["messages"][-1] == message
    assert events_of(visitor.session, "message")[-1]["payload"] == message
    again = alice.post(f"/sessions/{visitor.session}/messages", body)
    assert (again.status_code, again.json()) == (200, message)

    released = alice.post(f"/sessions/{visitor.session}/release")
    assert released.status_code == 200
    assert (released.json()["status"], released.json()["agent"]) == ("bot_active", None)
    late = alice.post(f"/sessions/{visitor.session}/messages", body | {"client_id": "2"})
    error_of(late, 403, "NOT_ASSIGNED")


@pytest.mark.parametrize("start", ["bot_active", "pending_manual", "after_hours_email"])
def test_takeover_from_every_status_that_allows_it(alice: Colleague, start: str) -> None:
    visitor = Visitor()
    if start != "bot_active":
        Agent.objects.update(status="online" if start == "pending_manual" else "offline")
        visitor.post(visitor.at("/escalate"))
    assert visitor.state()["status"] == start
    assert alice.post(TAKEN.format(visitor.session)).status_code == 200
    assert visitor.state()["status"] == "manual_live"


def test_second_agent_cannot_take_over(
    alice: Colleague, bob: Colleague, visitor: Visitor
) -> None:
    alice.post(TAKEN.format(visitor.session))
    error = error_of(bob.post(TAKEN.format(visitor.session)), 409, "ALREADY_TAKEN")
    assert error["details"] == {"agent": alice.person}
    # Not an administrator either, unless by force.
    chief = Colleague(make_agent("chief", role="admin"))
    error_of(chief.post(TAKEN.format(visitor.session)), 409, "ALREADY_TAKEN")
    assert alice.post(TAKEN.format(visitor.session)).status_code == 200
    assert visitor.state()["agent"] == alice.person


def test_only_the_assigned_agent_writes(
    alice: Colleague, bob: Colleague, visitor: Visitor
) -> None:
    chief = Colleague(make_agent("chief", role="admin"))
    path = f"/sessions/{visitor.session}/messages"
    body = {"content": "hello", "client_id": "1"}
    for agent in (alice, bob, chief):
        # Nobody has it yet.
        error_of(agent.post(path, body), 403, "NOT_ASSIGNED")
    alice.post(TAKEN.format(visitor.session))
    before = visitor.state()
    for agent in (bob, chief):
        error = error_of(agent.post(path, body), 403, "NOT_ASSIGNED")
        assert error["details"] == {"agent": alice.person}
    assert visitor.state() == before


def test_client_ids_of_agents_and_customers_do_not_meet(
    alice: Colleague, bob: Colleague, visitor: Visitor
) -> None:
    """Each side makes up its own; the same one is no repetition of the other's message."""
    visitor.send("mine", "1")
    alice.post(TAKEN.format(visitor.session))
    path = f"/sessions/{visitor.session}"
    said = alice.post(f"{path}/messages", {"content": "alice's", "client_id": "1"})
    assert said.status_code == 201
    alice.post(f"{path}/release")
    bob.post(f"{path}/takeover")
    said = bob.post(f"{path}/messages", {"content": "bob's", "client_id": "1"})
    assert (said.status_code, said.json()["content"]) == (201, "bob's")


@pytest.mark.parametrize("content", ["", " ", "x" * 4001, None])
def test_agents_messages_have_the_same_limits(
    alice: Colleague, visitor: Visitor, content: Any
) -> None:
    alice.post(TAKEN.format(visitor.session))
    path = f"/sessions/{visitor.session}/messages"
    answer = alice.post(path, {"content": content, "client_id": "1"})
    error_of(answer, 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("verb", ["release", "close"])
def test_only_its_agent_or_an_administrator_ends_a_live_session(
    alice: Colleague, bob: Colleague, visitor: Visitor, verb: str
) -> None:
    alice.post(TAKEN.format(visitor.session))
    path = f"/sessions/{visitor.session}/{verb}"
    error = error_of(bob.post(path), 403, "NOT_ASSIGNED")
    assert error["details"] == {"agent": alice.person}
    assert visitor.state()["status"] == "manual_live"
    chief = Colleague(make_agent("chief", role="admin"))
    assert chief.post(path).status_code == 200
    assert visitor.state()["status"] == ("bot_active" if verb == "release" else "closed")


def test_release_of_what_nobody_has_is_refused(alice: Colleague, visitor: Visitor) -> None:
    error = error_of(alice.post(f"/sessions/{visitor.session}/release"), 409, "NOT_LIVE")
    assert error["details"] == {"status": "pending_manual"}


def test_agent_closes_and_reopens(alice: Colleague, visitor: Visitor) -> None:
    path = f"/sessions/{visitor.session}"
    error_of(alice.post(f"{path}/reopen"), 409, "ILLEGAL_TRANSITION")
    closed = alice.post(f"{path}/close")
    assert (closed.status_code, closed.json()["status"]) == (200, "closed")
    change = events_of(visitor.session, "status_change")[-1]["payload"]
    assert change["reason"] == "closed_by_agent"
    error_of(alice.post(f"{path}/takeover"), 409, "SESSION_CLOSED")
    body = {"content": "hello", "client_id": "1"}
    error_of(alice.post(f"{path}/messages", body), 409, "SESSION_CLOSED")
    assert alice.post(f"{path}/close").status_code == 200
    opened = alice.post(f"{path}/reopen")
    assert (opened.status_code, opened.json()["status"]) == (200, "bot_active")
    assert visitor.send("I am back").status_code == 201


def test_unknown_session_is_not_found(alice: Colleague) -> None:
    body = {"content": "hello", "client_id": "1"}
    for method, rest in (
        ("GET", ""),
        ("GET", "/messages"),
        ("POST", "/takeover"),
        ("POST", "/messages"),
        ("POST", "/release"),
        ("POST", "/close"),
        ("POST", "/reopen"),
    ):
        answer = alice.call(method, f"/sessions/cs_unknown{rest}", body)
        error_of(answer, 404, "SESSION_NOT_FOUND")
    assert not ChatSession.objects.exists()


# --- Who is asking ----------------------------------------------------------------------

CALLS = [
    ("GET", "/agent/profile"),
    ("GET", "/agent/status"),
    ("PUT", "/agent/status"),
    ("POST", "/agent/logout"),
    ("GET", "/agents"),
    ("GET", "/agents/available"),
    ("GET", "/audit"),
    ("GET", "/sessions"),
    ("GET", "/sessions/queue"),
    ("GET", "/sessions/{}"),
    ("GET", "/sessions/{}/messages"),
    ("POST", "/sessions/{}/takeover"),
    ("POST", "/sessions/{}/messages"),
    ("POST", "/sessions/{}/release"),
    ("POST", "/sessions/{}/close"),
    ("POST", "/sessions/{}/reopen"),
    ("POST", "/sessions/{}/assign"),
    ("POST", "/sessions/{}/requeue"),
    ("PUT", "/sessions/{}/priority"),
    ("GET", "/agent/notices"),
    ("POST", "/agent/notices/{}/read"),
    ("POST", "/sessions/{}/transfer"),
    ("GET", "/transfer-requests/pending"),
    ("POST", "/transfer-requests/{}/respond"),
    ("DELETE", "/transfer-requests/{}"),
    ("POST", "/assist-requests"),
    ("GET", "/assist-requests/pending"),
    ("POST", "/assist-requests/{}/answer"),
    ("DELETE", "/assist-requests/{}"),
    ("GET", "/sessions/{}/notes"),
    ("POST", "/sessions/{}/notes"),
    ("PUT", "/sessions/{}/notes/{}"),
    ("DELETE", "/sessions/{}/notes/{}"),
]
BODY = {"content": "hello", "client_id": "1", "status": "online"}


def filled(path: str, visitor: Visitor) -> str:
    """With the session's name, and ids of what there is not."""
    return path.replace("/sessions/{}", f"/sessions/{visitor.session}").replace("{}", "1")


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_needs_an_agent(
    method: str, path: str, visitor: Visitor, alice: Colleague
) -> None:
    before = alice.get(f"/sessions/{visitor.session}").json()
    for token in ("", "nonsense", visitor.token, alice.token[:-1], alice.token.swapcase()):
        stranger = Api("/workbench-api", token)
        answer = stranger.call(method, filled(path, visitor), BODY)
        error_of(answer, 401, "INVALID_TOKEN")
    assert alice.get(f"/sessions/{visitor.session}").json() == before


def test_every_documented_call_was_tried_without_a_token() -> None:
    paths = Api("/workbench-api").get("/openapi.json").json()["paths"]
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path.removeprefix("/workbench-api")))
        for path, methods in paths.items()
        for method in methods
    }
    assert documented - set(CALLS) == {("POST", "/agent/login"), ("POST", "/agent/refresh")}


def test_identity_is_never_read_from_a_body(
    alice: Colleague, bob: Colleague, visitor: Visitor
) -> None:
    """Who the caller claims to be is ignored; the token says it."""
    claims = {
        "agent": bob.person,
        "agent_id": bob.person["id"],
        "username": "bob",
        "role": "admin",
        "user": "bob",
    }
    taken = alice.post(TAKEN.format(visitor.session), claims)
    assert taken.json()["agent"] == alice.person
    said = alice.post(f"/sessions/{visitor.session}/messages", BODY | claims | {"role": "user"})
    assert (said.json()["role"], said.json()["agent"]) == ("agent", alice.person)
    alice.put("/agent/status", {"status": "busy", **claims})
    assert bob.get("/agent/status").json() == {"status": "online"}
    assert alice.get("/agent/profile").json()["role"] == "agent"
    visitor.post(visitor.at("/messages"), BODY | {"role": "agent", "agent": bob.person})
    assert visitor.state()["messages"][-1]["role"] == "user"


# --- The session cookie of the pages ----------------------------------------------------


@pytest.fixture
def page(carol: Agent) -> Api:
    """Logged in as the console's page is: by cookie, and with CSRF in force."""
    api = Api("/workbench-api", enforce_csrf_checks=True)
    api.client.force_login(carol.user)
    return api


def with_csrf(api: Api) -> Json:
    api.client.cookies["support_csrf"] = "a" * 32
    return {"X-CSRFToken": "a" * 32}


def test_page_reads_by_its_cookie_and_writes_with_csrf(page: Api, visitor: Visitor) -> None:
    assert page.get("/agent/profile").json()["username"] == "carol"
    take_over = TAKEN.format(visitor.session)
    error_of(page.post(take_over), 403)
    assert visitor.state()["status"] == "pending_manual"
    page.client.cookies["support_csrf"] = "a" * 32
    error_of(page.call("POST", take_over, {}, headers={"X-CSRFToken": "b" * 32}), 403)
    answer = page.call("POST", take_over, {}, headers=with_csrf(page))
    assert answer.status_code == 200
    assert answer.json()["agent"]["name"] == "Carol C."


def test_every_writing_call_by_cookie_needs_csrf(page: Api, visitor: Visitor) -> None:
    for method, path in CALLS:
        if method != "GET":
            answer = page.call(method, filled(path, visitor), BODY)
            assert error_of(answer, 403)["code"].startswith("CSRF")


def test_bearer_token_needs_no_csrf(page: Api, alice: Colleague, visitor: Visitor) -> None:
    """And it wins over the cookie: the caller is who the token says."""
    page.token = alice.token
    answer = page.post(TAKEN.format(visitor.session))
    assert (answer.status_code, answer.json()["agent"]) == (200, alice.person)


def test_bad_token_is_not_rescued_by_a_cookie(page: Api) -> None:
    page.token = "nonsense"
    error_of(page.get("/agent/profile"), 401, "INVALID_TOKEN")


def test_user_who_is_no_agent_is_told_so(visitor: Visitor) -> None:
    user = get_user_model().objects.create_user("customer", password=PASSWORD)
    chief = get_user_model().objects.create_superuser("root", password=PASSWORD)
    for logged_in in (user, chief):
        api = Api("/workbench-api")
        api.client.force_login(logged_in)
        for method, path in CALLS:
            error_of(api.call(method, filled(path, visitor), BODY), 403, "NOT_AN_AGENT")
    assert visitor.state()["status"] == "pending_manual"


def test_cookie_of_an_agent_who_is_no_longer_active_is_void(page: Api, carol: Agent) -> None:
    carol.user.is_active = False
    carol.user.save()
    error_of(page.get("/agent/profile"), 401, "INVALID_TOKEN")


def test_logout_by_cookie_ends_the_cookie_as_well(page: Api) -> None:
    answer = page.call("POST", "/agent/logout", {}, headers=with_csrf(page))
    assert answer.status_code == 204
    error_of(page.get("/agent/profile"), 401, "INVALID_TOKEN")


# --- What each service serves -----------------------------------------------------------


def test_each_service_serves_its_own_product(services: Services) -> None:
    chatbot = services.start("ai_chatbot")
    workbench = services.start("agent_workbench")
    body = {"username": "alice", "password": chatbot.database.demo_password()}
    with httpx.Client(trust_env=False, timeout=20) as http:
        # The workbench alone is at /api as well.
        for prefix in ("/workbench-api", "/api"):
            answer = http.post(f"{workbench.base_url}{prefix}/agent/login", json=body)
            assert answer.status_code == 200
            headers = {"Authorization": f"Bearer {answer.json()['token']}"}
            listed = http.get(f"{workbench.base_url}{prefix}/sessions", headers=headers)
            assert listed.json() == {"items": [], "next": None}
            schema = http.get(f"{workbench.base_url}{prefix}/openapi.json").json()
            assert f"{prefix}/agent/login" in schema["paths"]
            assert all(path.startswith(f"{prefix}/") for path in schema["paths"])
            docs = http.get(f"{workbench.base_url}{prefix}/docs")
            assert f"{prefix}/openapi.json" in docs.text
            assert http.get(f"{workbench.base_url}{prefix}/health").json()["status"] == "ok"
            stream = http.get(f"{workbench.base_url}{prefix}/agent/events")
            assert stream.json()["error"]["code"] == "INVALID_TOKEN"
        for path in ("/api/config", "/chat/", "/widget.js"):
            assert http.get(f"{workbench.base_url}{path}").status_code == 404
        assert http.get(f"{workbench.base_url}/").headers["Location"] == "/workbench/"
        assert http.post(f"{workbench.base_url}/api/sessions", json={}).status_code in (
            401,
            405,
        )

        for path in (
            "/workbench-api/agent/login",
            "/workbench-api/health",
            "/workbench-api/openapi.json",
            "/workbench-api/agent/events",
            "/api/agent/login",
            "/api/agent/events",
        ):
            answer = http.post(f"{chatbot.base_url}{path}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
        assert http.get(f"{chatbot.base_url}/workbench/").status_code == 404
        assert http.post(f"{chatbot.base_url}/api/sessions", json={}).status_code == 201


@pytest.mark.parametrize(("reader", "path"), [("state", ""), ("older_messages", "/messages")])
def test_what_another_agent_takes_while_it_is_read_is_not_shown(
    reader: str,
    path: str,
    alice: Colleague,
    bob: Colleague,
    visitor: Visitor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, taken = getattr(states, reader), []

    def read_too_late(*args: Any, **kwargs: Any) -> Any:
        if not taken:
            taken.append(True)
            assert alice.post(TAKEN.format(visitor.session)).status_code == 200
        return read(*args, **kwargs)

    monkeypatch.setattr(states, reader, read_too_late)
    error_of(bob.get(f"/sessions/{visitor.session}{path}"), 403, "NOT_ASSIGNED")


@pytest.mark.parametrize("path", ["/sessions", "/sessions/queue"])
def test_long_list_asks_the_database_as_often_as_a_short_one(path: str) -> None:
    alice = Colleague(make_agent("alice"))
    for _ in range(6):
        handoff.escalate(make_session())
    asked = []
    for limit in (2, 6):
        with CaptureQueriesContext(connection) as queries:
            assert len(alice.get(path, limit=limit).json()["items"]) == limit
        asked.append(len(queries))
    assert asked[0] == asked[1]
