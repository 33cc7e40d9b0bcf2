"""The records of handoffs: why a person was asked for, and how it ended. For agents only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, override

from ai_chatbot import events
from ai_chatbot.conversation.people import Person
from ai_chatbot.models import (
    GOING_ON,
    ChatSession,
    HandoffRecord,
    Message,
    MessageRole,
    Outcome,
    Priority,
    Reason,
    ReplyTurn,
    Severity,
)

TEXT_CHARACTERS = 500
SUMMARY_CHARACTERS = 2000
QUESTION_CHARACTERS = 1000
SOURCES_NAMED = 5
ANSWERS_LOOKED_AT = 10
QUOTED_CHARACTERS = 200
SHOWN = 20
ANSWERING = (MessageRole.ASSISTANT, MessageRole.AGENT)


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
        summary=(cause.summary or summarise(session))[:SUMMARY_CHARACTERS],
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


def latest_of(session: ChatSession) -> list[dict[str, Any]]:
    """The latest first."""
    return [as_json(record) for record in session.handoffs.order_by("-pk")[:SHOWN]]


def summarise(session: ChatSession) -> str:
    """What has happened so far in a few lines, without a model and in the agents' language:
    the question, what was answered from which sources, and what failed."""
    asked = session.messages.filter(role=MessageRole.USER).order_by("-pk")
    said = session.messages.filter(role__in=ANSWERING).order_by("-pk")
    answers = [m for m in said[:ANSWERS_LOOKED_AT] if m.role == MessageRole.ASSISTANT]
    given = [m for m in answers if m.status == Message.Status.COMPLETE]
    latest_turns = session.turns.order_by("-pk").values_list("state", flat=True)
    failed = list(latest_turns[:ANSWERS_LOOKED_AT]).count(ReplyTurn.State.FAILED)
    lines = []
    with override(settings.LANGUAGE_CODE):
        if question := asked.first():
            lines.append(_("Asked: “%s”") % _short(question.content))
        if given:
            text = ngettext(
                "The AI gave %(count)d answer, the last: “%(answer)s”",
                "The AI gave %(count)d answers, the last: “%(answer)s”",
                len(given),
            )
            lines.append(text % {"count": len(given), "answer": _short(given[0].content)})
            titles = [_short(source["title"]) for source in _tried(session)]
            lines.append(_("From: %s") % "; ".join(titles) if titles else _("From no source."))
        elif question:
            lines.append(_("The AI has given no answer."))
        if unfinished := len(answers) - len(given):
            text = ngettext(
                "%d answer was not finished.", "%d answers were not finished.", unfinished
            )
            lines.append(text % unfinished)
        if failed:
            text = ngettext("%d answer failed.", "%d answers failed.", failed)
            lines.append(text % failed)
        if by_agents := [m for m in said[:ANSWERS_LOOKED_AT] if m.role == MessageRole.AGENT]:
            names = dict.fromkeys(message.agent_name for message in by_agents)
            lines.append(_("Has spoken with: %s") % ", ".join(names))
    return "\n".join(lines)


def _short(text: str) -> str:
    """On one line."""
    return Truncator(" ".join(text.split())).chars(QUOTED_CHARACTERS)


def _tried(session: ChatSession) -> list[dict[str, Any]]:
    """The sources of the AI's latest answers, each once, the latest first."""
    found: dict[str, dict[str, Any]] = {}
    answers = session.messages.filter(role=MessageRole.ASSISTANT).order_by("-pk")
    for sources in answers.values_list("sources", flat=True)[:ANSWERS_LOOKED_AT]:
        for source in sources:
            found.setdefault(source["title"], source)
    return list(found.values())[:SOURCES_NAMED]
