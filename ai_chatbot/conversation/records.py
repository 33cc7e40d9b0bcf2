"""The records of handoffs: why a person was asked for, and how it ended. For agents only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from ai_chatbot import events
from ai_chatbot.conversation.people import Person
from ai_chatbot.models import (
    GOING_ON,
    ChatSession,
    HandoffRecord,
    MessageRole,
    Outcome,
    Priority,
    Reason,
    Severity,
)

TEXT_CHARACTERS = 500
SUMMARY_CHARACTERS = 2000
QUESTION_CHARACTERS = 1000
SOURCES_NAMED = 5
ANSWERS_LOOKED_AT = 10


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a person is asked for.

    `text`, the customer's wish or the AI's reason, and `summary` are for agents and never for
    customers. `code`: a rule's own, else the reason. `priority`: at least this. `unasked`: the
    customer, who did not ask, is told that somebody does.
    """

    reason: Reason = Reason.REQUESTED
    text: str = ""
    code: str = ""
    severity: Severity = Severity.MEDIUM
    summary: str = ""
    priority: Priority = Priority.LOW
    skills: tuple[str, ...] = ()
    unasked: bool = False


def begin(session: ChatSession, cause: Cause) -> HandoffRecord:
    """Under the session's lock. One that goes on is ended as put back in line."""
    end(session, Outcome.REQUEUED)
    question = session.messages.filter(role=MessageRole.USER).last()
    return HandoffRecord.objects.create(
        session=session,
        code=cause.code or cause.reason,
        text=cause.text[:TEXT_CHARACTERS],
        severity=cause.severity,
        summary=cause.summary[:SUMMARY_CHARACTERS],
        question=question.content[:QUESTION_CHARACTERS] if question else "",
        tried=_tried(session),
        created_at=timezone.now(),
    )


def take(session: ChatSession, agent: Person, reason: Reason) -> None:
    """An agent has the session now, who may not have been asked for."""
    record = going_on(session) or begin(session, Cause(reason))
    now = timezone.now()
    record.agent_id, record.agent_name = agent.id, agent.name
    record.outcome = Outcome.LIVE
    record.taken_at = now
    record.waited_seconds = max(0, round((now - record.created_at).total_seconds()))
    record.save()


def end(session: ChatSession, outcome: Outcome) -> None:
    """End the one that goes on, if any does."""
    session.handoffs.filter(outcome__in=GOING_ON).update(
        outcome=outcome, ended_at=timezone.now()
    )


def stand(session: ChatSession, outcome: Outcome) -> None:
    """The one that goes on waits in line, or by email."""
    session.handoffs.filter(outcome__in=GOING_ON).update(outcome=outcome)


def going_on(session: ChatSession) -> HandoffRecord | None:
    return session.handoffs.filter(outcome__in=GOING_ON).first()


def as_json(record: HandoffRecord) -> dict[str, Any]:
    return {
        "id": record.pk,
        "code": record.code,
        "text": record.text,
        "severity": record.severity,
        "summary": record.summary,
        "question": record.question,
        "tried": record.tried,
        "created_at": events.stamp(record.created_at),
        "waited_seconds": record.waited_seconds,
        "agent": events.person(record.agent_id, record.agent_name),
        "outcome": record.outcome,
    }


def _tried(session: ChatSession) -> list[dict[str, Any]]:
    """The sources of the AI's latest answers, each once, the latest first."""
    found: dict[str, dict[str, Any]] = {}
    answers = session.messages.filter(role=MessageRole.ASSISTANT).order_by("-pk")
    for sources in answers.values_list("sources", flat=True)[:ANSWERS_LOOKED_AT]:
        for source in sources:
            found.setdefault(source["title"], source)
    return list(found.values())[:SOURCES_NAMED]
