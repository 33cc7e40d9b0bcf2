"""Requests for help: a colleague reads and answers, and never owns the conversation."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from agent_workbench import access, assignment, assists, transfers
from agent_workbench.models import Agent, AssistRequest, Note
from ai_chatbot import events
from ai_chatbot.conversation import handoff
from ai_chatbot.exceptions import ConversationError
from ai_chatbot.models import ChatSession, Reason
from sse.log.targets import CONTROL
from sse.models import Event
from tests.in_process import Colleague, Json, Visitor, error_of, events_of, make_agent

pytestmark = pytest.mark.django_db

SECRET = "does the lamp have a warranty?"
ANSWER = "two years, tell her"


def try_asking(sender: Colleague, name: str, to: Any, question: Any = SECRET) -> Any:
    body = {"session_name": name, "to_agent": to, "question": question}
    return sender.post("/assist-requests", body)


def ask(sender: Colleague, name: str, to: Any, question: str = SECRET) -> Json:
    asked = try_asking(sender, name, to, question)
    assert asked.status_code == 200, asked.content
    request: Json = asked.json()
    return request


def answer(agent: Colleague, request: Json, text: str = ANSWER) -> Any:
    return agent.post(f"/assist-requests/{request['id']}/answer", {"answer": text})


def close(agent: Colleague, request: Json) -> Any:
    return agent.delete(f"/assist-requests/{request['id']}")


def open_for(agent: Colleague) -> list[int]:
    found = agent.get("/assist-requests/pending")
    assert found.status_code == 200, found.content
    return [item["id"] for item in found.json()["items"]]


def told(agent: Colleague, kind: str) -> list[Json]:
    return [e["payload"] for e in events_of(events.agent_target(agent.agent.user_id), kind)]


def may_read(agent: Colleague, name: str) -> bool:
    found = agent.get(f"/sessions/{name}")
    if found.status_code == 200:
        return True
    error_of(found, 403, "NOT_ASSIGNED")
    return False


def stored(request: Json) -> str:
    return AssistRequest.objects.get(pk=request["id"]).state


def revoked() -> list[str]:
    return [e["payload"]["subject"] for e in events_of(CONTROL)]


def test_colleague_reads_and_answers_and_never_owns(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str
) -> None:
    before = timezone.now()
    assert not may_read(bob, live)
    request = ask(alice, live, bob.agent.user_id)
    assert request.pop("created_at") >= events.stamp(before)
    assert request == {
        "id": request["id"],
        "session_name": live,
        "from_agent": alice.person,
        "to_agent": bob.person,
        "question": SECRET,
        "answer": "",
        "status": "open",
        "answered_at": None,
    }
    [event] = told(bob, "assist_request")
    assert event == {**request, "created_at": event["created_at"]}
    assert open_for(alice) == open_for(bob) == [request["id"]]
    assert [a["id"] for a in alice.get(f"/sessions/{live}").json()["assists"]] == [
        request["id"]
    ]
    assert may_read(bob, live)
    assert not may_read(carol, live)
    # Reads and notes, and nothing that the owner does.
    noted = bob.post(f"/sessions/{live}/notes", {"content": "let me see"})
    assert noted.status_code == 201
    message = {"content": "hello", "client_id": "1"}
    error_of(bob.post(f"/sessions/{live}/messages", message), 403, "NOT_ASSIGNED")
    error_of(bob.post(f"/sessions/{live}/takeover"), 409, "ALREADY_TAKEN")
    for verb in ("release", "close", "requeue"):
        error_of(bob.post(f"/sessions/{live}/{verb}"), 403, "NOT_ASSIGNED")
    error_of(try_asking(bob, live, carol.agent.user_id), 403, "NOT_ASSIGNED")
    error_of(bob.post(f"/sessions/{live}/transfer", {"to_agent": "carol"}), 403, "NOT_ASSIGNED")

    given = answer(bob, request)
    assert given.status_code == 200, given.content
    assert (given.json()["status"], given.json()["answer"]) == ("answered", ANSWER)
    assert given.json()["answered_at"] is not None
    for party in (alice, bob):
        assert [each["answer"] for each in told(party, "assist_answer")] == [ANSWER]
        assert open_for(party) == []
    state = alice.get(f"/sessions/{live}").json()
    assert state["assists"] == []
    assert [(n["author"], n["content"]) for n in state["notes"]] == [
        (bob.person, "let me see"),
        (bob.person, ANSWER),
    ]
    assert ChatSession.objects.get(name=live).agent_id == alice.agent.user_id
    # The right has ended, and what was open by it.
    assert not may_read(bob, live)
    error_of(bob.post(f"/sessions/{live}/notes", {"content": "x"}), 403, "NOT_ASSIGNED")
    assert revoked()[-1] == access.guest_subject(live, bob.agent)


def test_answering_twice_is_answering_once(alice: Colleague, bob: Colleague, live: str) -> None:
    request = ask(alice, live, "bob")
    first = answer(bob, request).json()
    log = Event.objects.count()
    assert answer(bob, request).json() == first
    assert (Event.objects.count(), Note.objects.count()) == (log, 1)
    error_of(answer(bob, request, "something else"), 409, "ASSIST_ENDED")
    error_of(close(alice, request), 409, "ASSIST_ENDED")


def test_asking_twice_is_asking_once(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str
) -> None:
    dave = Colleague(make_agent("dave"))
    request = ask(alice, live, "bob")
    # What else has ended meanwhile is told of then, too.
    left = ask(alice, live, "dave")
    dave.agent.user.is_active = False
    dave.agent.user.save()
    assert ask(alice, live, "bob") == request
    assert [each["id"] for each in told(alice, "assist_answer")] == [left["id"]]
    assert len(told(bob, "assist_request")) == 1
    details = error_of(try_asking(alice, live, "bob", "and?"), 409, "ASSIST_OPEN")["details"]
    assert details["assist"]["id"] == request["id"]
    assert ask(alice, live, "carol")["id"] != request["id"]
    answer(bob, request)
    assert ask(alice, live, "bob")["id"] != request["id"]


def test_who_asked_needs_no_answer_any_more(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    for _ in range(2):
        closed = close(alice, request)
        assert (closed.status_code, closed.json()["status"]) == (200, "closed")
    assert [each["status"] for each in told(bob, "assist_answer")] == ["closed"]
    assert not may_read(bob, live)
    assert revoked()[-1] == access.guest_subject(live, bob.agent)
    error_of(answer(bob, request), 409, "ASSIST_ENDED")
    assert not Note.objects.exists()


def test_end_of_one_right_of_two_ends_no_streams(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    """Asked to help and to take it: one of both is enough to read on."""
    request = ask(alice, live, "bob")
    transfers.ask(live, alice.agent, bob.agent)
    answer(bob, request)
    assert may_read(bob, live)
    assert revoked() == []


def test_refusals(
    alice: Colleague, bob: Colleague, carol: Colleague, chief: Colleague, live: str
) -> None:
    error_of(try_asking(alice, live, alice.agent.user_id), 422, "ASSIST_OF_ONESELF")
    error_of(try_asking(alice, "cs_nobody", "bob"), 404, "SESSION_NOT_FOUND")
    error_of(try_asking(alice, live, "nobody"), 404, "AGENT_NOT_FOUND")
    error_of(try_asking(alice, Visitor().session, "bob"), 409, "NOT_LIVE")
    # Who may read it anyway, and does not have it.
    error_of(try_asking(chief, live, "bob"), 403, "NOT_ASSIGNED")
    for question in ("", " ", None, "x" * 4001, "\x00"):
        error_of(try_asking(alice, live, "bob", question), 422, "VALIDATION_ERROR")
    error_of(try_asking(alice, live, None), 422, "VALIDATION_ERROR")
    carol.agent.user.is_active = False
    carol.agent.user.save()
    error_of(try_asking(alice, live, "carol"), 409, "AGENT_UNAVAILABLE")
    assert not AssistRequest.objects.exists()


def test_request_is_its_parties_alone(
    alice: Colleague, bob: Colleague, carol: Colleague, chief: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    for foreign in (answer(carol, request), close(carol, request)):
        error_of(foreign, 404, "ASSIST_NOT_FOUND")
    for missing in (0, 10**9, 2**63 - 1):
        error_of(answer(bob, {"id": missing}), 404, "ASSIST_NOT_FOUND")
    for not_asked in (alice, chief):
        error_of(answer(not_asked, request), 403, "NOT_YOUR_REQUEST")
    error_of(close(bob, request), 403, "NOT_YOUR_REQUEST")
    assert open_for(carol) == []
    assert stored(request) == "open"
    assert close(chief, request).status_code == 200


def test_request_stays_open_when_the_session_changes_hands(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    passed_on = transfers.ask(live, alice.agent, carol.agent)
    transfers.answer(passed_on.pk, carol.agent, accept=True)
    assists_of = carol.get(f"/sessions/{live}").json()["assists"]
    assert [each["id"] for each in assists_of] == [request["id"]]
    assert may_read(bob, live)
    # Who asked is a stranger to it now; whoever has it may do without the answer.
    assert not may_read(alice, live)
    assert close(carol, request).status_code == 200
    assert not may_read(bob, live)


def test_colleague_who_becomes_the_owner_is_not_asked_any_more(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    passed_on = transfers.ask(live, alice.agent, bob.agent)
    transfers.answer(passed_on.pk, bob.agent, accept=True)
    assert stored(request) == "closed"
    assert [each["status"] for each in told(alice, "assist_answer")] == ["closed"]
    assert may_read(bob, live)


LEAVES: dict[str, Callable[[str, Colleague], object]] = {
    "release": lambda name, alice: handoff.release(name, alice.agent.person),
    "close": lambda name, _: handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER),
    "lost": lambda name, _: _requeue(name),
}


@transaction.atomic
def _requeue(name: str) -> None:
    handoff.requeue_locked(handoff.lock(name), Reason.AGENT_LOST)


@pytest.mark.parametrize("how", LEAVES)
def test_request_is_void_once_the_session_is_not_live(
    how: str, alice: Colleague, bob: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    LEAVES[how](live, alice)
    error_of(answer(bob, request), 409, "ASSIST_ENDED")
    assert open_for(alice) == open_for(bob) == []
    for _ in range(2):
        transfers.expire()
    assert stored(request) == "closed"
    for party in (alice, bob):
        assert [each["status"] for each in told(party, "assist_answer")] == ["closed"]
    assert not Note.objects.exists()
    # And it does not come back with the session.
    if how != "close":
        assignment.take_over(live, alice.agent)
        assert not may_read(bob, live)


def test_request_to_one_who_was_deactivated_ends(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    bob.agent.user.is_active = False
    bob.agent.user.save()
    assert open_for(alice) == []
    transfers.expire()
    assert stored(request) == "closed"


def test_request_to_one_who_was_deleted_is_gone(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    ask(alice, live, "bob")
    bob.agent.user.delete()
    assert alice.get(f"/sessions/{live}").json()["assists"] == []
    assert open_for(alice) == []


def test_customer_hears_nothing_of_it(
    alice: Colleague, bob: Colleague, visitor: Visitor, live: str
) -> None:
    before = events_of(live)
    state = visitor.state()
    answer(bob, ask(alice, live, "bob"))
    close(alice, ask(alice, live, "bob", "and?"))
    assert events_of(live) == before
    assert visitor.state() == state
    assert SECRET not in str(events_of(events.AGENTS))
    assert ANSWER not in str(events_of(events.AGENTS))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rival", ["answer", "close", "closed session", "sweep", "forced"])
def test_one_answer_of_twenty_at_once(
    rival: str, alice: Colleague, bob: Colleague, chief: Colleague, live: str
) -> None:
    key = ask(alice, live, "bob")["id"]
    others: dict[str, Callable[[], object]] = {
        "answer": lambda: assists.answer(key, bob.agent, ANSWER).state,
        "close": lambda: assists.close(key, alice.agent).state,
        "closed session": lambda: handoff.close(live, None, reason=Reason.IDLE).status,
        "sweep": transfers.expire,
        "forced": lambda: assignment.take_over(live, chief.agent, force=True).status,
    }
    calls = [*[others["answer"]] * 10, *[others[rival]] * 10]
    barrier = Barrier(len(calls))

    def one(call: Callable[[], object]) -> object:
        try:
            barrier.wait(20)
            return call()
        except ConversationError as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as threads:
        outcomes = [each.result(60) for each in [threads.submit(one, c) for c in calls]]
    transfers.expire()
    answered = "answered" in outcomes
    state = AssistRequest.objects.get(pk=key).state
    assert state == ("answered" if answered else "closed")
    assert Note.objects.count() == int(answered)
    assert [each["status"] for each in told(alice, "assist_answer")] == [state]
    assert not Agent.objects.filter(pk=bob.agent.pk, user__chat_sessions__isnull=False).exists()
