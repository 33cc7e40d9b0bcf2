"""The AI's turns in the database: who owes an answer, how far it is, and who may go on.

Text is stored before it is shown, so whatever the customer has read of an answer can be kept
when the answer is interrupted, be it by a take-over or by the death of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from ai_chatbot import events
from ai_chatbot.backends import Conversation, Line, Source
from ai_chatbot.models import ChatSession, Message, MessageRole, ReplyTurn, Status

# A running turn whose process has not said a word for so long is anyone's.
LEASE = timedelta(seconds=8)
LINES_GIVEN = 40
ACTIVE = (ReplyTurn.State.WAITING, ReplyTurn.State.RUNNING)


class TurnLost(Exception):
    """The turn has ended, or the session has another owner: not one more character."""


def request(session: ChatSession, question: Message, *, attempt: int = 1) -> bool:
    """Owe the customer an answer, under the session's lock; False if one is owed already."""
    if owed(session):
        return False
    ReplyTurn.objects.create(
        session=session,
        question=question,
        ownership_epoch=session.ownership_epoch,
        attempt=attempt,
    )
    return True


@transaction.atomic
def claim(limit: int) -> list[ReplyTurn]:
    """Take up to `limit` turns that wait, and make them this process's for a LEASE."""
    rows = ReplyTurn.objects.filter(state=ReplyTurn.State.WAITING).order_by("pk")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True, of=("self",))
    claimed = list(rows.select_related("session", "question")[:limit])
    now = timezone.now()
    ReplyTurn.objects.filter(pk__in=[turn.pk for turn in claimed]).update(
        state=ReplyTurn.State.RUNNING, lease_until=now + LEASE
    )
    return claimed


def expired() -> list[ReplyTurn]:
    """Running turns that were left by a process that died."""
    return list(
        ReplyTurn.objects.filter(
            state=ReplyTurn.State.RUNNING, lease_until__lt=timezone.now()
        ).select_related("session", "question")[:20]
    )


def conversation(turn: ReplyTurn) -> tuple[Conversation, Message]:
    """What the backend is given, and the last of the customer's messages it covers."""
    thread = list(turn.session.messages.order_by("-pk")[:LINES_GIVEN])[::-1]
    while thread and thread[-1].role != MessageRole.USER:
        thread.pop()
    lines = tuple(Line(message.role, message.content) for message in thread)
    turn.question = thread[-1]
    return Conversation(turn.session.name, turn.session.language, lines), thread[-1]


@transaction.atomic
def start(turn: ReplyTurn) -> None:
    """Announce the answer. Raises TurnLost."""
    session = _lock(turn)
    turn.started_cursor = events.reply_started(session, turn.reply_id)
    turn.save(update_fields=["started_cursor", "question"])


def extend(turn: ReplyTurn, text: str = "") -> None:
    """Store the next piece of the answer and then show it; without text, hold the lease.

    One conditional statement, committed before the delta leaves. Raises TurnLost.
    """
    held = ReplyTurn.objects.filter(pk=turn.pk, state=ReplyTurn.State.RUNNING).update(
        text=turn.text + text, lease_until=timezone.now() + LEASE
    )
    if not held:
        raise TurnLost
    if text:
        events.reply_delta(
            turn.session.name,
            turn.reply_id,
            text,
            offset=len(turn.text),
            since=turn.started_cursor,
        )
        turn.text += text


@transaction.atomic
def finish(turn: ReplyTurn, text: str, sources: Sequence[Source], covered: Message) -> Message:
    """Store the answer as a message. Raises TurnLost if it may not be given any more.

    What the customer wrote after `covered` in the meantime is owed an answer of its own.
    """
    session = _lock(turn)
    message = _store(
        session,
        turn,
        text,
        Message.Status.COMPLETE,
        [{"title": s.title, "url": s.url, "excerpt": s.excerpt} for s in sources],
    )
    _end(turn, ReplyTurn.State.DONE)
    later = session.messages.filter(role=MessageRole.USER, pk__gt=covered.pk).last()
    if later is not None:
        request(session, later)
    return message


@transaction.atomic
def fail(turn: ReplyTurn, reason: str) -> ChatSession:
    """End a turn that could not be finished; what was shown is kept. Raises TurnLost."""
    session = _lock(turn)
    _abort(session, turn, reason, ReplyTurn.State.FAILED)
    return session


@transaction.atomic
def drop(turn: ReplyTurn) -> None:
    """End a turn that shows nothing, since a person is to answer. Raises TurnLost."""
    _abort(_lock(turn), turn, "handed_over")


def abort_active(session: ChatSession, reason: str) -> bool:
    """End the session's turn, if it has one, under the session's lock; whether it had."""
    turn = session.turns.select_for_update().filter(state__in=ACTIVE).first()
    if turn is None:
        return False
    _abort(session, turn, reason)
    return True


def stop(session: ChatSession) -> Message | None:
    """End the answer at the customer's wish, under the session's lock.

    Returns the last of what the customer wrote while it was being given, which is still owed
    an answer.
    """
    turn = session.turns.select_for_update().filter(state__in=ACTIVE).first()
    if turn is None:
        return None
    _abort(session, turn, "stopped")
    if not turn.started_cursor:
        return None
    return session.messages.filter(role=MessageRole.USER, pk__gt=turn.question_id).last()


def owed(session: ChatSession) -> bool:
    """Whether the customer may wait for an answer of the AI."""
    return session.turns.filter(state__in=ACTIVE).exists()


def shown(session: ChatSession) -> dict[str, Any] | None:
    """The answer that is being written, as far as it is: `{reply_id, text}`."""
    turn = (
        session.turns.filter(state=ReplyTurn.State.RUNNING).exclude(started_cursor="").first()
    )
    return None if turn is None else {"reply_id": str(turn.reply_id), "text": turn.text}


def failures_in_a_row(session: ChatSession) -> int:
    """How many of the session's latest turns came to nothing."""
    count = 0
    for state in (
        session.turns.filter(~Q(state__in=ACTIVE))
        .order_by("-pk")
        .values_list("state", flat=True)
    ):
        if state != ReplyTurn.State.FAILED:
            break
        count += 1
    return count


def _lock(turn: ReplyTurn) -> ChatSession:
    session = ChatSession.objects.select_for_update().get(pk=turn.session_id)
    fresh = ReplyTurn.objects.select_for_update().get(pk=turn.pk)
    if (
        fresh.state != ReplyTurn.State.RUNNING
        or session.ownership_epoch != fresh.ownership_epoch
        or session.status != Status.BOT_ACTIVE
    ):
        raise TurnLost
    turn.text = fresh.text
    return session


def _abort(
    session: ChatSession,
    turn: ReplyTurn,
    reason: str,
    state: ReplyTurn.State = ReplyTurn.State.ABORTED,
) -> None:
    if turn.started_cursor:
        events.reply_aborted(session, turn.reply_id, reason)
    if turn.text:
        _store(session, turn, turn.text, Message.Status.INTERRUPTED, [])
    _end(turn, state)


def _store(
    session: ChatSession,
    turn: ReplyTurn,
    text: str,
    status: Message.Status,
    sources: list[dict[str, str]],
) -> Message:
    message = Message.objects.create(
        session=session,
        role=MessageRole.ASSISTANT,
        reply_id=turn.reply_id,
        content=text,
        sources=sources,
        status=status,
    )
    session.last_message_at = message.created_at
    session.save(update_fields=["last_message_at", "updated_at"])
    events.message_added(message, ends_reply=True)
    return message


def _end(turn: ReplyTurn, state: ReplyTurn.State) -> None:
    turn.state = state
    turn.finished_at = timezone.now()
    turn.lease_until = None
    turn.save(update_fields=["state", "finished_at", "lease_until"])
