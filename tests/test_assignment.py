"""Who gets which conversation: within what each agent may have, by hand and by itself."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

from agent_workbench import assignment
from agent_workbench.exceptions import AtCapacity
from agent_workbench.models import Agent, Notice
from ai_chatbot import events
from ai_chatbot.conversation import handoff
from ai_chatbot.models import ChatSession, HandoffRecord, Reason
from sse.targets import CONTROL
from tests.in_process import Colleague, error_of, events_of, make_agent, make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Colleague:
    return Colleague(make_agent("alice"))


@pytest.fixture
def bob() -> Colleague:
    return Colleague(make_agent("bob"))


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
    assert assignment.live_of(agent) == 3


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
