"""Who gets which conversation: within what each agent may have, by hand and by itself."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import Settings

from agent_workbench import agents, assignment, watch
from agent_workbench.exceptions import AtCapacity
from agent_workbench.models import Agent, Notice
from ai_chatbot import events
from ai_chatbot.conversation import handoff, states
from ai_chatbot.conversation import waiting as line
from ai_chatbot.conversation.timetable import DAYS
from ai_chatbot.exceptions import AlreadyTaken
from ai_chatbot.models import AuditEntry, ChatSession, HandoffRecord, Priority, Reason
from sse.log.targets import CONTROL
from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.redis import RedisServer
from tests.harness.services import Services
from tests.in_process import Colleague, error_of, events_of, make_agent, make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def sue() -> Colleague:
    return Colleague(make_agent("sue", role="supervisor", status="break"))


@pytest.fixture
def chief() -> Colleague:
    return Colleague(make_agent("chief", role="admin", status="break"))


def waiting(**fields: Any) -> str:
    """The name of a session in line, with these fields."""
    name = make_session()
    handoff.escalate(name, text="broken lamp")
    ChatSession.objects.filter(name=name).update(**fields)
    return name


def live_with(agent: Colleague, **fields: Any) -> str:
    name = waiting(**fields)
    handoff.take_over(name, agent.agent.person)
    return name


def limit(agent: Colleague, sessions: int) -> None:
    Agent.objects.filter(pk=agent.agent.pk).update(max_sessions=sessions)


def owner_of(name: str) -> int | None:
    return ChatSession.objects.get(name=name).agent_id


def status_of(name: str) -> str:
    return ChatSession.objects.get(name=name).status


def at_once(*acts: Any) -> list[Any]:
    """Each in a thread with a connection of its own; what it gave, or raised."""
    gate = Barrier(len(acts))

    def run(act: Any) -> Any:
        try:
            gate.wait(10)
            return act()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


# --- How many at once -------------------------------------------------------------------


def test_agent_takes_over_up_to_the_limit(alice: Colleague) -> None:
    limit(alice, 2)
    for _ in range(2):
        assert alice.post(f"/sessions/{waiting()}/takeover").status_code == 200
    name = waiting()
    error = error_of(alice.post(f"/sessions/{name}/takeover"), 409, "AT_CAPACITY")
    assert error["details"] == {"max_sessions": 2, "sessions": 2}
    assert status_of(name) == "pending_manual"


def test_what_one_has_already_needs_no_room(alice: Colleague) -> None:
    name = live_with(alice)
    limit(alice, 1)
    assert alice.post(f"/sessions/{name}/takeover").status_code == 200


def test_lowered_limit_takes_nothing_away(alice: Colleague) -> None:
    names = [live_with(alice) for _ in range(3)]
    limit(alice, 1)
    error = error_of(alice.post(f"/sessions/{waiting()}/takeover"), 409, "AT_CAPACITY")
    assert error["details"] == {"max_sessions": 1, "sessions": 3}
    assert {owner_of(name) for name in names} == {alice.agent.user_id}


@pytest.mark.parametrize("end", ["release", "close", "requeue"])
def test_ended_conversation_makes_room(alice: Colleague, end: str) -> None:
    limit(alice, 1)
    name, other = live_with(alice), waiting()
    error_of(alice.post(f"/sessions/{other}/takeover"), 409, "AT_CAPACITY")
    assert alice.post(f"/sessions/{name}/{end}").status_code == 200
    assert alice.post(f"/sessions/{other}/takeover").status_code == 200


def test_who_has_it_is_said_before_how_many_one_has(alice: Colleague, bob: Colleague) -> None:
    limit(alice, 1)
    live_with(alice)
    error_of(alice.post(f"/sessions/{live_with(bob)}/takeover"), 409, "ALREADY_TAKEN")


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_do_not_exceed_an_agents_limit() -> None:
    agent = make_agent("alice")
    Agent.objects.update(max_sessions=3)
    names = [waiting() for _ in range(20)]

    results = at_once(*(lambda name=name: assignment.take_over(name, agent) for name in names))

    refused = [result for result in results if isinstance(result, AtCapacity)]
    taken = [result for result in results if isinstance(result, ChatSession)]
    assert (len(taken), len(refused)) == (3, 17)
    assert {refusal.details["sessions"] for refusal in refused} == {3}
    assert agent.live == 3


# --- By force ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "may"), [("agent", False), ("supervisor", True), ("admin", True)]
)
def test_force_takes_from_another_and_beyond_the_limit(
    alice: Colleague, role: str, may: bool
) -> None:
    caller = Colleague(make_agent("carol", role=role))
    limit(caller, 1)
    live_with(caller)
    name = live_with(alice)
    answer = caller.post(f"/sessions/{name}/takeover", {"force": True})
    if not may:
        assert error_of(answer, 403, "NOT_PERMITTED")["details"] == {"role": role}
        assert owner_of(name) == alice.agent.user_id
        return
    assert (answer.status_code, answer.json()["agent"]) == (200, caller.person)
    change = events_of(name, "status_change")[-1]["payload"]
    assert (change["previous"], change["status"], change["reason"]) == (
        "manual_live",
        "manual_live",
        "taken_over",
    )
    assert change["agent"] == caller.person


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("takeover", {"force": "yes"}),
        ("takeover", {"force": 1}),
        ("assign", {"agent_id": True}),
        ("assign", {"agent_id": "1"}),
        ("assign", {"agent_id": 1.0}),
    ],
)
def test_what_only_looks_like_an_answer_is_none(sue: Colleague, verb: str, body: Any) -> None:
    name = waiting()
    error_of(sue.post(f"/sessions/{name}/{verb}", body), 422, "VALIDATION_ERROR")
    assert owner_of(name) is None


def test_former_owner_hears_of_it_and_loses_the_streams(
    alice: Colleague, sue: Colleague
) -> None:
    name = live_with(alice)
    sue.post(f"/sessions/{name}/takeover", {"force": True})
    notice = Notice.objects.get()
    assert (notice.agent, notice.kind) == (alice.agent, "session_moved")
    (event,) = events_of(events.agent_target(alice.agent.user_id), "notice")
    assert event["payload"]["id"] == notice.pk
    assert event["payload"]["session_name"] == name
    assert event["payload"]["details"] == {"by": "Sue", "owner": sue.person}
    revoked = events_of(CONTROL, "revoke")[-1]["payload"]
    assert revoked == {"subject": f"follow:{name}", "unless": f"agent:{sue.agent.pk}"}
    error_of(alice.get(f"/sessions/{name}"), 403, "NOT_ASSIGNED")
    # Nothing of it is on the customer's own stream.
    assert not events_of(name, "notice")


def test_what_is_taken_from_nobody_is_told_to_nobody(alice: Colleague, sue: Colleague) -> None:
    sue.post(f"/sessions/{waiting()}/takeover", {"force": True})
    assert not Notice.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_supervisors_who_take_from_each_other_at_once_both_get_theirs() -> None:
    sue, tom = (make_agent(name, role="supervisor") for name in ("sue", "tom"))
    for _ in range(5):
        hers, his = waiting(), waiting()
        handoff.take_over(hers, sue.person)
        handoff.take_over(his, tom.person)
        results = at_once(
            lambda his=his: assignment.take_over(his, sue, force=True),
            lambda hers=hers: assignment.take_over(hers, tom, force=True),
        )
        assert [type(result) for result in results] == [ChatSession, ChatSession]
        assert (owner_of(hers), owner_of(his)) == (tom.user_id, sue.user_id)


# --- By a supervisor --------------------------------------------------------------------


def assign(by: Colleague, name: str, agent: Colleague) -> Any:
    return by.post(f"/sessions/{name}/assign", {"agent_id": agent.agent.user_id})


@pytest.mark.parametrize("start", ["bot_active", "pending_manual", "after_hours_email", "live"])
def test_supervisor_gives_a_conversation_to_an_agent(
    alice: Colleague, bob: Colleague, sue: Colleague, start: str
) -> None:
    if start == "live":
        name = live_with(bob)
    elif start == "bot_active":
        name = make_session()
    else:
        if start == "after_hours_email":
            Agent.objects.update(status="break")
        name = waiting()
        Agent.objects.filter(role="agent").update(status="online")
        assert status_of(name) == start
    answer = assign(sue, name, alice)
    assert answer.status_code == 200, answer.content
    assert answer.json()["agent"] == alice.person
    assert events_of(name, "status_change")[-1]["payload"]["reason"] == "assigned"
    (told,) = events_of(events.agent_target(alice.agent.user_id), "session_assigned")
    assert told["payload"]["session"]["session_name"] == name
    assert Notice.objects.count() == (start == "live")
    assert not HandoffRecord.objects.filter(outcome="waiting").exists()


@pytest.mark.parametrize("status", ["online", "busy"])
def test_agent_on_duty_is_given_conversations(
    alice: Colleague, sue: Colleague, status: str
) -> None:
    name = waiting()
    Agent.objects.filter(pk=alice.agent.pk).update(status=status)
    assert assign(sue, name, alice).status_code == 200


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"status": "offline"}, {"why": "offline"}),
        ({"status": "break"}, {"why": "break"}),
        ({"seen_at": None}, {"why": "offline"}),
        ({"max_sessions": 1}, {"why": "full", "max_sessions": 1, "sessions": 1}),
        ({}, {"why": "inactive"}),
    ],
    ids=str,
)
def test_agent_who_cannot_take_it_is_not_given_it(
    alice: Colleague, bob: Colleague, sue: Colleague, fields: Any, why: Any
) -> None:
    live_with(alice)
    name = waiting()
    if fields:
        Agent.objects.filter(pk=alice.agent.pk).update(**fields)
    else:
        alice.agent.user.is_active = False
        alice.agent.user.save()
    error = error_of(assign(sue, name, alice), 409, "AGENT_UNAVAILABLE")
    assert error["details"] == why
    assert status_of(name) == "pending_manual"


def test_giving_it_to_who_has_it_changes_nothing(alice: Colleague, sue: Colleague) -> None:
    name = live_with(alice)
    limit(alice, 1)
    assert assign(sue, name, alice).status_code == 200
    assert len(events_of(name, "status_change")) == 2


def test_unfit_assignments_are_refused(alice: Colleague, sue: Colleague) -> None:
    name = waiting()
    for agent_id in (2**63 - 1, 2**31, 10**6):
        answer = sue.post(f"/sessions/{name}/assign", {"agent_id": agent_id})
        error_of(answer, 404, "AGENT_NOT_FOUND")
    for agent_id in (0, -1, 2**63, "alice", None, 1.5):
        answer = sue.post(f"/sessions/{name}/assign", {"agent_id": agent_id})
        error_of(answer, 422, "VALIDATION_ERROR")
    error_of(assign(sue, "cs_unknown", alice), 404, "SESSION_NOT_FOUND")
    handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER)
    error_of(assign(sue, name, alice), 409, "SESSION_CLOSED")


@pytest.mark.parametrize("role", ["agent", "supervisor", "admin"])
def test_only_supervisors_and_administrators_assign(
    alice: Colleague, bob: Colleague, role: str
) -> None:
    caller = Colleague(make_agent("carol", role=role))
    for name in (waiting(), live_with(bob), live_with(caller)):
        answer = assign(caller, name, alice)
        if role == "agent":
            error_of(answer, 403, "NOT_PERMITTED")
        else:
            assert answer.status_code == 200


# --- Back into the line -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "status"), [("owner", 200), ("agent", 403), ("supervisor", 200), ("admin", 200)]
)
def test_owner_or_supervisor_puts_it_back_in_line(
    alice: Colleague, who: str, status: int
) -> None:
    name = live_with(alice)
    caller = alice if who == "owner" else Colleague(make_agent("carol", role=who))
    answer = caller.post(f"/sessions/{name}/requeue")
    if status == 403:
        error_of(answer, 403, "NOT_ASSIGNED")
        assert owner_of(name) == alice.agent.user_id
        return
    assert (answer.status_code, answer.json()["status"]) == (200, "pending_manual")
    assert answer.json()["agent"] is None
    assert events_of(name, "status_change")[-1]["payload"]["reason"] == "requeued"
    # Who did it knows.
    assert Notice.objects.count() == (who != "owner")


@pytest.mark.parametrize("closed", [True, False])
def test_only_what_an_agent_has_is_put_back(alice: Colleague, closed: bool) -> None:
    name = waiting()
    if closed:
        handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER)
    error_of(alice.post(f"/sessions/{name}/requeue"), 409, "NOT_LIVE")


def test_waiting_and_closed_sessions_have_the_priority_they_may_have(
    alice: Colleague, bob: Colleague
) -> None:
    name = waiting()
    put = {"priority": "urgent"}
    answer = bob.put(f"/sessions/{name}/priority", put)
    assert answer.status_code == 200, answer.content
    shown = events_of(events.AGENTS, "queue_update")[-1]["payload"]
    assert (shown["change"], shown["session"]["priority"]) == ("updated", "urgent")
    # Once more is nothing.
    told = len(events_of(events.AGENTS))
    bob.put(f"/sessions/{name}/priority", put)
    assert len(events_of(events.AGENTS)) == told

    own = live_with(alice)
    error_of(bob.put(f"/sessions/{own}/priority", put), 403, "NOT_ASSIGNED")
    assert alice.put(f"/sessions/{own}/priority", put).status_code == 200
    assert ChatSession.objects.get(name=own).priority == Priority.URGENT
    for priority in ("highest", "", None, 4, "URGENT"):
        answer = alice.put(f"/sessions/{own}/priority", {"priority": priority})
        error_of(answer, 422, "VALIDATION_ERROR")
    handoff.close(own, None, reason=Reason.CLOSED_BY_CUSTOMER)
    error_of(alice.put(f"/sessions/{own}/priority", put), 409, "SESSION_CLOSED")


def test_priority_moves_places_and_the_customers_are_told(alice: Colleague) -> None:
    first, second = waiting(), waiting()
    line.announce_places()
    alice.put(f"/sessions/{second}/priority", {"priority": "high"})
    line.announce_places()
    places = [
        [event["payload"]["position"] for event in events_of(name, "queue_position")]
        for name in (first, second)
    ]
    assert places == [[1, 2], [2, 1]]
    # The customer learns nothing of why.
    assert "high" not in str(events_of(second)) + str(events_of(first))


# --- The line ---------------------------------------------------------------------------


def test_queue_says_why_each_stands_where_it_does(alice: Colleague) -> None:
    fields = [
        ({"priority": Priority.URGENT}, ["urgent"]),
        ({"priority": Priority.HIGH, "ahead": True, "vip": True}, ["high", "ahead", "vip"]),
        ({"priority": Priority.HIGH}, ["high"]),
        ({"ahead": True}, ["ahead"]),
        ({"vip": True}, ["vip"]),
        ({}, []),
        ({}, []),
        ({"priority": Priority.LOW, "vip": True}, ["low", "vip"]),
    ]
    names = [waiting(**each) for each, _ in reversed(fields)][::-1]
    # Of the two with nothing to tell them apart, who asked first is first.
    names[5], names[6] = names[6], names[5]

    rows, cursor = [], None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = alice.get("/sessions/queue", **query).json()
        rows += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["items"]) == 3
    assert [row["session_name"] for row in rows] == names
    assert [row["why"] for row in rows] == [why for _, why in fields]
    places = [states.state(name)["queue"]["position"] for name in names]
    assert places == list(range(1, 9))


def test_what_was_taken_back_stands_ahead_and_says_so(alice: Colleague) -> None:
    earlier = waiting()
    name = live_with(alice)
    alice.post(f"/sessions/{name}/requeue")
    rows = alice.get("/sessions/queue").json()["items"]
    assert [(row["session_name"], row["why"]) for row in rows] == [
        (name, ["ahead"]),
        (earlier, []),
    ]


# --- Who could have it ------------------------------------------------------------------


def test_agents_are_listed_with_how_they_are(
    alice: Colleague, bob: Colleague, sue: Colleague
) -> None:
    live_with(alice)
    gone = live_with(alice)
    handoff.close(gone, alice.agent.person, reason=Reason.CLOSED_BY_AGENT)
    Agent.objects.filter(pk=alice.agent.pk).update(languages=["en"], skills=["billing"])
    former = make_agent("former")
    former.user.is_active = False
    former.user.save()

    body = alice.get("/agents").json()
    assert body["next"] is None
    assert [agent["username"] for agent in body["items"]] == ["alice", "bob", "sue"]
    assert body["items"][0] == {
        "id": alice.agent.user_id,
        "name": "Alice",
        "username": "alice",
        "role": "agent",
        "status": "online",
        "sessions": 1,
        "max_sessions": 5,
        "languages": ["en"],
        "skills": ["billing"],
    }
    assert alice.get("/agent/profile").json() == body["items"][0]
    assert body["items"][2]["status"] == "break"


@pytest.mark.parametrize("path", ["/agents", "/agents/available"])
def test_agents_come_page_by_page_in_one_query(
    alice: Colleague, path: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(6):
        make_agent(f"agent{number}")
    found, cursor = [], None
    for _ in range(3):
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = alice.get(path, **query).json()
        found += [agent["username"] for agent in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert found == ["alice", *(f"agent{number}" for number in range(6))]
    # One of them is about the watch.
    with django_assert_max_num_queries(2):
        listed = agents.everyone() if path == "/agents" else agents.available()
        [agents.as_json(agent) for agent in listed.select_related("user")]


def test_available_is_who_may_be_given_a_conversation(alice: Colleague, sue: Colleague) -> None:
    limit(alice, 1)
    make_agent("busy", status="busy")
    make_agent("offline", status="offline")
    make_agent("resting", status="break")
    Agent.objects.filter(pk=make_agent("lost").pk).update(seen_at=None)

    def available() -> list[str]:
        return [agent["username"] for agent in sue.get("/agents/available").json()["items"]]

    assert available() == ["alice", "busy"]
    live_with(alice)
    assert available() == ["busy"]


# --- By itself --------------------------------------------------------------------------


@pytest.fixture(params=["round_robin", "least_busy"])
def way(request: pytest.FixtureRequest, settings: Settings) -> str:
    settings.ASSIGNMENT = request.param
    return request.param


@pytest.fixture
def round_robin(settings: Settings) -> None:
    settings.ASSIGNMENT = "round_robin"


@pytest.fixture
def least_busy(settings: Settings) -> None:
    settings.ASSIGNMENT = "least_busy"


def become(agent: Colleague, **fields: Any) -> None:
    Agent.objects.filter(pk=agent.agent.pk).update(**fields)


def owners(*names: str) -> list[str]:
    """Who has them, by the name that customers see; nobody is ""."""
    found = dict(ChatSession.objects.values_list("name", "agent_name"))
    return [found[name] for name in names]


def drained() -> int:
    """What rounds gave until one had nothing to give."""
    given = 0
    while more := assignment.drain():
        given += more
    return given


def test_nobody_is_assigned_unless_it_is_switched_on(alice: Colleague) -> None:
    name = waiting()
    assert assignment.drain() == 0
    assert status_of(name) == "pending_manual"


def test_who_waits_is_given_to_who_is_there(alice: Colleague, way: str) -> None:
    name = waiting()
    assert assignment.drain() == 1
    assert owners(name) == ["Alice"]
    change = events_of(name, "status_change")[-1]["payload"]
    assert (change["status"], change["reason"]) == ("manual_live", "assigned")
    assert change["agent"] == alice.person
    (told,) = events_of(events.agent_target(alice.agent.user_id), "session_assigned")
    assert told["payload"]["session"]["session_name"] == name
    revoked = events_of(CONTROL, "revoke")[-1]["payload"]
    assert revoked == {"subject": f"follow:{name}", "unless": f"agent:{alice.agent.pk}"}
    entry = AuditEntry.objects.get(action="assign")
    assert (entry.actor_id, entry.details["agent"]) == (None, alice.agent.user_id)
    assert not Notice.objects.exists()
    assert assignment.drain() == 0


def test_line_is_drained_in_its_order(alice: Colleague, way: str) -> None:
    last, third, second, first = (
        waiting(priority=Priority.LOW),
        waiting(),
        waiting(vip=True),
        waiting(priority=Priority.HIGH),
    )
    limit(alice, 1)
    for name in (first, second, third, last):
        assert assignment.drain() == 1
        assert owners(name) == ["Alice"]
        alice.post(f"/sessions/{name}/close")


def test_limits_are_kept_and_the_rest_waits(alice: Colleague, bob: Colleague, way: str) -> None:
    limit(alice, 2)
    limit(bob, 1)
    names = [waiting() for _ in range(5)]
    assert assignment.drain() == 3
    assert sorted(owners(*names[:3])) == ["Alice", "Alice", "Bob"]
    assert owners(*names[3:]) == ["", ""]
    assert assignment.drain() == 0


def test_round_robin_goes_round(alice: Colleague, bob: Colleague, round_robin: None) -> None:
    carol = Colleague(make_agent("carol"))
    names = [waiting() for _ in range(6)]
    assert assignment.drain() == 6
    assert owners(*names) == ["Alice", "Bob", "Carol"] * 2
    # Whose turn it is is stored, and not how many they have.
    for name in (names[0], names[3]):
        handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER)
    become(carol, status="break")
    names = [waiting() for _ in range(3)]
    assert assignment.drain() == 3
    assert owners(*names) == ["Alice", "Bob", "Alice"]


def test_least_busy_has_the_fewest(alice: Colleague, bob: Colleague, least_busy: None) -> None:
    for _ in range(2):
        live_with(alice)
    names = [waiting() for _ in range(4)]
    assert assignment.drain() == 4
    assert owners(*names[:2]) == ["Bob", "Bob"]
    assert sorted(owners(*names[2:])) == ["Alice", "Bob"]


@pytest.mark.parametrize(
    ("fields", "active"),
    [
        ({"status": "offline"}, True),
        ({"status": "break"}, True),
        ({"status": "busy"}, True),
        ({"seen_at": None}, True),
        ({"seen_at": timezone.now() - timedelta(minutes=10)}, True),
        ({}, False),
    ],
    ids=["offline", "break", "busy", "unseen", "gone", "inactive"],
)
def test_who_cannot_come_is_given_nothing(
    alice: Colleague, way: str, fields: Any, active: bool
) -> None:
    name = waiting()
    become(alice, **fields)
    alice.agent.user.is_active = active
    alice.agent.user.save()
    assert assignment.drain() == 0
    assert owners(name) == [""]


def test_nothing_is_assigned_outside_hours(
    alice: Colleague, way: str, settings: Settings
) -> None:
    name = waiting()
    settings.OPENING_HOURS = f"{DAYS[(timezone.now().weekday() + 3) % 7]} 09:00-10:00"
    assert assignment.drain() == 0
    assert owners(name) == [""]


@pytest.mark.parametrize(
    ("spoken", "language", "fits"),
    [
        ([], "fr", True),
        (["en"], "en", True),
        (["en"], "fr", False),
        (["de", "fr"], "fr", True),
        (["en-gb"], "en", True),
        (["en"], "en-us", True),
        (["zh"], "zh-hans", True),
        (["zh-hant"], "zh-Hans", True),
        (["EN"], "en", True),
        (["e"], "en", False),
        (["en"], "", True),
    ],
)
def test_agent_speaks_the_customers_language(
    alice: Colleague, way: str, spoken: list[str], language: str, fits: bool
) -> None:
    become(alice, languages=spoken)
    name = waiting(language=language)
    assert assignment.drain() == fits
    assert owners(name) == ["Alice" if fits else ""]


@pytest.mark.parametrize(
    ("has", "needed", "fits"),
    [
        ([], [], True),
        (["billing"], [], True),
        ([], ["billing"], False),
        (["returns"], ["billing"], False),
        (["billing", "vip"], ["billing"], True),
        (["billing"], ["billing", "vip"], False),
        (["Billing"], ["billing"], True),
    ],
)
def test_agent_has_all_the_skills_that_are_needed(
    alice: Colleague, way: str, has: list[str], needed: list[str], fits: bool
) -> None:
    become(alice, skills=has)
    name = waiting(skills=needed)
    assert assignment.drain() == fits
    assert owners(name) == ["Alice" if fits else ""]


def test_whom_nobody_fits_blocks_nobody(alice: Colleague, bob: Colleague, way: str) -> None:
    become(alice, languages=["en"])
    become(bob, languages=["de"], max_sessions=1)
    french, *german = (waiting(language=language) for language in ("fr", "de", "de"))
    names = [waiting() for _ in range(2)]
    assert assignment.drain() == 3
    assert owners(french, *german, *names) == ["", "Bob", "", "Alice", "Alice"]


def test_the_agent_before_comes_first(alice: Colleague, bob: Colleague, way: str) -> None:
    name = live_with(bob)
    bob.post(f"/sessions/{name}/release")
    live_with(bob)
    handoff.escalate(name)
    become(bob, assigned_at=timezone.now())
    assert assignment.drain() == 1
    assert owners(name) == ["Bob"]


def test_the_agent_before_is_passed_over_when_full_or_away(
    alice: Colleague, bob: Colleague, way: str
) -> None:
    names = [live_with(bob), live_with(bob)]
    for name, fields in zip(names, ({"max_sessions": 1}, {"status": "break"}), strict=True):
        bob.post(f"/sessions/{name}/release")
        handoff.escalate(name)
        become(bob, **fields)
        assert assignment.drain() == 1
        assert owners(name) == ["Alice"]


@pytest.mark.parametrize("reason", [Reason.AGENT_LOST, Reason.AGENT_SILENT, Reason.REQUEUED])
def test_what_was_just_taken_from_an_agent_goes_to_another(
    alice: Colleague, bob: Colleague, way: str, reason: Reason
) -> None:
    name = live_with(bob)
    live_with(alice)
    become(alice, assigned_at=timezone.now())
    take_from(name, reason)
    assert assignment.drain() == 1
    assert owners(name) == ["Alice"]


def take_from(name: str, reason: Reason) -> None:
    with transaction.atomic():
        handoff.requeue_locked(handoff.lock(name), reason)


@pytest.mark.parametrize(
    ("reason", "back"),
    [(Reason.AGENT_LOST, True), (Reason.AGENT_SILENT, True), (Reason.REQUEUED, False)],
)
def test_it_goes_back_where_nobody_else_can_unless_it_was_put_back_by_hand(
    alice: Colleague, way: str, reason: Reason, back: bool
) -> None:
    name = live_with(alice)
    take_from(name, reason)
    assert assignment.drain() == back
    HandoffRecord.objects.update(ended_at=timezone.now() - timedelta(seconds=61))
    assert assignment.drain() == (not back)
    assert owners(name) == ["Alice"]


def test_after_a_minute_the_agent_before_comes_first_again(
    alice: Colleague, bob: Colleague, way: str
) -> None:
    name = live_with(bob)
    take_from(name, Reason.AGENT_LOST)
    HandoffRecord.objects.update(ended_at=timezone.now() - timedelta(seconds=61))
    assert assignment.drain() == 1
    assert owners(name) == ["Bob"]


@pytest.mark.parametrize(
    "before", ["full", "offline", "language", "skill", "limit"], ids="by {}".format
)
def test_line_moves_when_what_held_it_up_is_gone(
    alice: Colleague, sue: Colleague, way: str, before: str
) -> None:
    fields = {
        "full": {"max_sessions": 1},
        "offline": {"status": "offline"},
        "language": {"languages": ["fr"]},
        "skill": {"skills": []},
        "limit": {"max_sessions": 1},
    }[before]
    other = live_with(alice)
    name = waiting(skills=["billing"] if before == "skill" else [])
    become(alice, **({"skills": ["billing"]} | fields))
    assert assignment.drain() == 0
    if before == "full":
        alice.post(f"/sessions/{other}/close")
    elif before == "offline":
        alice.put("/agent/status", {"status": "online"})
    else:
        become(alice, max_sessions=5, languages=["en"], skills=["billing"])
    assert assignment.drain() == 1
    assert owners(name) == ["Alice"]


def test_round_has_a_bound_and_the_next_goes_on(
    alice: Colleague, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "GIVEN_AT_ONCE", 2)
    names = [waiting() for _ in range(5)]
    assert [assignment.drain() for _ in range(4)] == [2, 2, 1, 0]
    assert set(owners(*names)) == {"Alice"}


def test_session_that_cannot_be_given_blocks_nobody(
    alice: Colleague,
    way: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assignment, "_failed", set())
    broken, name = waiting(skills=[7]), waiting()
    assert assignment.drain() == 1
    assert owners(broken, name) == ["", "Alice"]
    assignment.drain()
    assert caplog.text.count("cannot be assigned") == 1


def test_customer_who_is_gone_is_given_to_nobody_until_back(
    alice: Colleague, sue: Colleague, way: str
) -> None:
    limit(alice, 1)
    gone, behind = waiting(customer_gone_at=timezone.now()), waiting()
    assert assignment.drain() == 1
    assert owners(gone, behind) == ["", "Alice"]
    assert states.state(gone)["queue"]["position"] == 1
    handoff.close(behind, None, reason=Reason.CLOSED_BY_CUSTOMER)
    assert assignment.drain() == 0
    later = waiting()
    ChatSession.objects.filter(name=gone).update(customer_gone_at=None)
    assert assignment.drain() == 1
    assert owners(gone, later) == ["Alice", ""]


@pytest.mark.parametrize("how", ["takeover", "assign"])
def test_customer_who_is_gone_can_be_taken_by_hand(
    alice: Colleague, sue: Colleague, way: str, how: str
) -> None:
    name = waiting(customer_gone_at=timezone.now())
    if how == "takeover":
        answer = alice.post(f"/sessions/{name}/takeover")
    else:
        answer = sue.post(f"/sessions/{name}/assign", {"agent_id": alice.agent.user_id})
    assert answer.status_code == 200
    assert owners(name) == ["Alice"]


def test_customer_who_goes_between_the_choice_and_the_lock_is_not_given(
    alice: Colleague, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = assignment._assign_waiting

    def too_late(pk: int, agent: Agent) -> Any:
        ChatSession.objects.filter(pk=pk).update(customer_gone_at=timezone.now())
        return give(pk, agent)

    monkeypatch.setattr(assignment, "_assign_waiting", too_late)
    name = waiting()
    assert assignment.drain() == 0
    assert owners(name) == [""]


def test_watch_assigns(alice: Colleague, way: str) -> None:
    name = waiting()
    watch.look()
    assert owners(name) == ["Alice"]


def test_what_changes_between_the_choice_and_the_lock_counts(
    alice: Colleague, bob: Colleague, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chosen agent goes on a break before the locks are held: somebody else gets it."""
    give = assignment._assign_waiting

    def too_late(pk: int, agent: Agent) -> Any:
        monkeypatch.setattr(assignment, "_assign_waiting", give)
        become(alice, status="break")
        return give(pk, agent)

    monkeypatch.setattr(assignment, "_assign_waiting", too_late)
    name = waiting()
    assert assignment.drain() == 1
    assert owners(name) == ["Bob"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("drains", [2, 6])
def test_drains_at_once_give_each_session_once_and_exceed_no_limit(
    way: str, drains: int
) -> None:
    agents = [make_agent(f"agent{number}") for number in range(4)]
    Agent.objects.update(max_sessions=3)
    names = [waiting() for _ in range(20)]

    given = at_once(*[drained] * drains)

    assert all(isinstance(number, int) for number in given), given
    drained()
    assert [agent.live for agent in agents] == [3] * 4
    assert sum(map(bool, owners(*names))) == 12
    for name in names:
        changes = [event["payload"] for event in events_of(name, "status_change")]
        assert [change["reason"] for change in changes[1:]] in ([], ["assigned"])
    told = [
        event["payload"]["session"]["session_name"]
        for agent in agents
        for event in events_of(events.agent_target(agent.user_id), "session_assigned")
    ]
    assert sorted(told) == sorted(name for name in names if owners(name) != [""])


@pytest.mark.django_db(transaction=True)
def test_drain_against_agents_who_help_themselves_exceeds_no_limit(way: str) -> None:
    agents = [make_agent(f"agent{number}") for number in range(3)]
    Agent.objects.update(max_sessions=2)
    names = [waiting() for _ in range(9)]

    results = at_once(
        drained,
        *(
            lambda agent=agent, name=name: assignment.take_over(name, agent)
            for agent, name in zip(agents * 3, names, strict=True)
        ),
    )

    unexpected = [
        result for result in results if not isinstance(result, int | ChatSession | AtCapacity)
    ]
    assert all(isinstance(result, AlreadyTaken) for result in unexpected), results
    drained()
    assert [agent.live for agent in agents] == [2] * 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("postgresql")
def test_who_writes_while_being_given_is_not_passed_by_those_behind(way: str) -> None:
    """A session that somebody has locked is left for the next round, and its place with it."""
    agent = make_agent("alice")
    Agent.objects.update(max_sessions=2)
    first, second, third = (waiting() for _ in range(3))
    locked, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            handoff.lock(first)
            locked.set()
            assert done.wait(10)

    def drain_meanwhile() -> int:
        assert locked.wait(10)
        try:
            return assignment.drain()
        finally:
            done.set()

    _, given = at_once(hold, drain_meanwhile)
    assert given == 1
    assert owners(first, second, third) == ["", "Alice", ""]
    assert assignment.drain() == 1
    assert owners(first, third) == ["Alice", ""]
    assert agent.live == 2


def test_two_services_keep_the_line_moving(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    """As somebody asks, as an agent comes, and as conversations end."""
    chatbot, workbench = services.pair(redis_server, ASSIGNMENT="least_busy")
    password = "a long passphrase"
    for name in ("dana", "erik"):
        workbench.database.create_agent(name, password, "--max-sessions", "1")
    dana = clients.agent(workbench, "dana", password)
    customers = [clients.customer(chatbot) for _ in range(4)]
    streams = [customer.stream(after=customer.cursor) for customer in customers]
    for customer, stream in zip(customers, streams, strict=True):
        customer.escalate()
        stream.wait_for(expect.status("pending_manual"))

    def served(number: int) -> str:
        change = streams[number].wait_for(expect.status("manual_live"))
        assert change.payload["reason"] == "assigned"
        return str(change.payload["agent"]["name"])

    assert served(0) == "dana"
    erik = clients.agent(workbench, "erik", password)
    assert served(1) == "erik"
    dana.close(customers[0].session)
    assert served(2) == "dana"
    erik.release(customers[1].session)
    assert served(3) == "erik"


@pytest.mark.django_db(transaction=True)
def test_session_that_two_rounds_give_to_different_agents_goes_to_one() -> None:
    alice, bob = make_agent("alice"), make_agent("bob")
    for _ in range(5):
        name = waiting()
        pk = ChatSession.objects.get(name=name).pk
        chosen = [Agent.objects.with_live().get(pk=agent.pk) for agent in (alice, bob)]
        results = at_once(
            *(
                lambda agent=agent, pk=pk: assignment._assign_waiting(pk, agent)
                for agent in chosen
            )
        )
        given = [result for result in results if isinstance(result, datetime)]
        assert len(given) == 1, results
        changes = [event["payload"]["status"] for event in events_of(name, "status_change")]
        assert changes == ["pending_manual", "manual_live"]
        handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER)
