"""The record of a handoff: it stays, agents read and find it, and the customer never does."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from ai_chatbot.conversation import handoff, records
from ai_chatbot.conversation.records import Cause
from ai_chatbot.models import (
    ChatSession,
    HandoffRecord,
    Message,
    Outcome,
    Reason,
    ReplyTurn,
    Severity,
)
from tests.in_process import Colleague, Json, Visitor, events_of, make_agent

pytestmark = pytest.mark.django_db

TEXT, SUMMARY = "wants a parrot", "asked for birds three times"


@pytest.fixture
def alice() -> Colleague:
    return Colleague(make_agent("alice"))


@pytest.fixture
def visitor() -> Visitor:
    visitor = Visitor(nickname="Zoe")
    visitor.send("where is my lamp?")
    return visitor


def stored(visitor: Visitor) -> ChatSession:
    return ChatSession.objects.get(name=visitor.session)


def ask(visitor: Visitor, **cause: Any) -> None:
    with transaction.atomic():
        handoff.escalate_locked(
            handoff.lock(visitor.session), Cause(Reason.AI, TEXT, summary=SUMMARY, **cause)
        )


def answer(session: ChatSession, text: str, **fields: Any) -> Message:
    return Message.objects.create(session=session, role="assistant", content=text, **fields)


def state_of(visitor: Visitor, colleague: Colleague) -> Json:
    answer = colleague.get(f"/sessions/{visitor.session}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_record_is_in_the_agents_state(visitor: Visitor, alice: Colleague) -> None:
    assert state_of(visitor, alice)["handoff"] is None
    source = {"title": "Lamps", "url": "/lamps", "excerpt": "They shine."}
    answer(stored(visitor), "In the shop.", sources=[source])
    ask(visitor, severity=Severity.HIGH, priority=3, skills=("birds",))
    alice.post(f"/sessions/{visitor.session}/takeover")
    state = state_of(visitor, alice)
    record = HandoffRecord.objects.get()
    assert state["handoff"] == {
        "id": record.pk,
        "code": "ai",
        "text": TEXT,
        "severity": "high",
        "summary": SUMMARY,
        "question": "where is my lamp?",
        "tried": [source],
        "created_at": state["handoff"]["created_at"],
        "waited_seconds": record.waited_seconds,
        "agent": alice.person,
        "outcome": "live",
    }
    assert state["handoffs"] == [state["handoff"]]
    assert (state["priority"], state["vip"], state["skills"]) == ("high", False, ["birds"])
    assert state["former_agent"] is None


def test_record_stays_whatever_becomes_of_the_session(
    visitor: Visitor, alice: Colleague
) -> None:
    ask(visitor)
    alice.post(f"/sessions/{visitor.session}/takeover")
    for verb, outcome in (
        ("release", "released"),
        ("close", "released"),
        ("reopen", "released"),
    ):
        assert alice.post(f"/sessions/{visitor.session}/{verb}").status_code == 200
        state = state_of(visitor, alice)
        shown = state["handoff"]
        assert (shown["text"], shown["summary"], shown["outcome"]) == (TEXT, SUMMARY, outcome)
        assert state["former_agent"] == alice.person
    ask(visitor)
    assert [r["outcome"] for r in state_of(visitor, alice)["handoffs"]] == [
        "waiting",
        "released",
    ]
    alice.post(f"/sessions/{visitor.session}/close")
    assert state_of(visitor, alice)["handoff"]["outcome"] == "closed"


def test_state_shows_so_many_records(visitor: Visitor, alice: Colleague) -> None:
    for number in range(25):
        with transaction.atomic():
            records.begin(stored(visitor), Cause(text=str(number)))
    shown = state_of(visitor, alice)["handoffs"]
    assert [record["text"] for record in shown] == [str(n) for n in range(24, 4, -1)]


def test_search_finds_records_for_those_who_may_follow(
    visitor: Visitor, alice: Colleague
) -> None:
    ask(visitor, code="bird_words")
    Visitor().send("something else")
    bob = Colleague(make_agent("bob"))
    boss = Colleague(make_agent("boss", role="supervisor"))
    words = ("parrot", "BIRDS three", "bird_words")

    def found(colleague: Colleague) -> list[int]:
        return [len(colleague.get("/sessions", q=word).json()["items"]) for word in words]

    assert found(bob) == [1, 1, 1]
    alice.post(f"/sessions/{visitor.session}/takeover")
    assert found(alice) == found(boss) == [1, 1, 1]
    assert found(bob) == [0, 0, 0]
    alice.post(f"/sessions/{visitor.session}/release")
    assert found(bob) == [1, 1, 1]


# --- The customer's wire ----------------------------------------------------------------


OF_AGENTS = {
    "code", "severity", "summary", "question", "tried", "waited_seconds",
    "outcome", "handoff", "handoffs", "priority", "vip", "skills", "former_agent", "why",
    "notes", "transfer", "assists",
}  # fmt: skip


def keys(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield key
            yield from keys(value)
    elif isinstance(data, list):
        for value in data:
            yield from keys(value)


def test_nothing_of_a_record_is_on_the_customers_wire(
    visitor: Visitor, alice: Colleague
) -> None:
    """Through all that can become of a session: all answers, and all events of its stream."""
    read: list[Any] = []

    def look(*answers: Any) -> None:
        for response in (*answers, visitor.get(visitor.at())):
            assert response.status_code in (200, 201), response.content
            read.append(response.json())
        read.append(visitor.get(visitor.at("/messages")).json())

    boss = make_agent("boss", role="supervisor")
    look(visitor.post(visitor.at("/escalate"), {"reason": TEXT}))
    assert HandoffRecord.objects.get().text == TEXT
    look(visitor.delete(visitor.at("/escalate")))
    ask(visitor)
    look(visitor.send("hello?"))
    alice.post(f"/sessions/{visitor.session}/takeover")
    look()
    with transaction.atomic():
        handoff.requeue_locked(handoff.lock(visitor.session), Reason.AGENT_LOST)
    look()
    with transaction.atomic():
        session = handoff.take_over_locked(
            handoff.lock(visitor.session), boss.person, reason=Reason.ASSIGNED
        )
        handoff.take_over_locked(session, alice.agent.person, force=True)
    look()
    alice.post(f"/sessions/{visitor.session}/release")
    ask(visitor)
    with transaction.atomic():
        handoff.nobody_on_duty_locked(handoff.lock(visitor.session))
    look()
    with transaction.atomic():
        handoff.staff_back_locked(handoff.lock(visitor.session))
        handoff.leave_line_locked(handoff.lock(visitor.session))
        handoff.rejoin_line_locked(handoff.lock(visitor.session))
    look(visitor.post(visitor.at("/close")))
    alice.post(f"/sessions/{visitor.session}/reopen")
    look()
    assert HandoffRecord.objects.count() >= 5
    read += events_of(visitor.session)
    assert len(events_of(visitor.session, "status_change")) >= 10
    wire = json.dumps(read)
    assert "parrot" not in wire
    assert "birds" not in wire
    assert set(keys(read)) & OF_AGENTS == set()


# --- The summary without a model --------------------------------------------------------


def test_summary_tells_what_was_asked_answered_and_failed(visitor: Visitor) -> None:
    session = stored(visitor)
    session.turns.update(state=ReplyTurn.State.FAILED)
    for title, text in (("Lamps", "They  shine."), ("Bulbs", "Turn\nleft.")):
        answer(session, text, sources=[{"title": title, "url": "", "excerpt": ""}])
    answer(session, "Well", status=Message.Status.INTERRUPTED, reply_id=uuid.uuid4())
    visitor.send("still dark")
    session.turns.exclude(state=ReplyTurn.State.FAILED).delete()
    assert records.summarise(session).splitlines() == [
        "Asked: “still dark”",
        "The AI gave 2 answers, the last: “Turn left.”",
        "From: Bulbs; Lamps",
        "1 answer was not finished.",
        "1 answer failed.",
    ]
    visitor.post(visitor.at("/escalate"))
    assert HandoffRecord.objects.get().summary == records.summarise(session)


def test_summary_of_a_lost_agents_session_names_them(
    visitor: Visitor, alice: Colleague
) -> None:
    alice.post(f"/sessions/{visitor.session}/takeover")
    alice.post(f"/sessions/{visitor.session}/messages", {"content": "Hi", "client_id": "1"})
    with transaction.atomic():
        handoff.requeue_locked(handoff.lock(visitor.session), Reason.AGENT_LOST)
    latest, first = HandoffRecord.objects.all()
    assert (first.outcome, latest.outcome) == (Outcome.AGENT_LOST, Outcome.WAITING)
    assert latest.summary.splitlines()[-1] == "Has spoken with: Alice"


def test_summary_is_in_the_agents_language_and_bounded(visitor: Visitor, settings: Any) -> None:
    session = stored(visitor)
    ChatSession.objects.filter(pk=session.pk).update(language="zh-hans")
    for number in range(15):
        source = {"title": f"{number} " + "t" * 900, "url": "", "excerpt": ""}
        answer(session, "a" * 3000, sources=[source])
    visitor.send("q" * 4000)
    visitor.post(visitor.at("/escalate"))
    record = HandoffRecord.objects.get()
    assert record.summary.startswith("Asked: “qqq")
    assert "The AI gave 10 answers" in record.summary
    assert len(record.summary) <= 2000


def test_summary_of_a_session_in_which_nothing_was_said() -> None:
    visitor = Visitor()
    assert records.summarise(stored(visitor)) == ""
    assert visitor.post(visitor.at("/escalate")).status_code == 200
