"""The AI's turns in the database: who owes an answer, how far it is, and who may go on.

Text is stored before it is shown, so whatever the customer has read of an answer can be kept
when the answer is interrupted, be it by a take-over or by the death of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from ai_chatbot import events
from ai_chatbot.backends import Conversation, Line, Source
from ai_chatbot.models import (
    MESSAGE_MAX_CHARACTERS,
    ChatSession,
    Message,
    MessageRole,
    ReplyTurn,
    Status,
)
from ai_chatbot.texts import REPLY_CHARACTERS, cut, storable

# A running turn whose process has not said a word for so long is anyone's.
LEASE = timedelta(seconds=8)
LINES_GIVEN = 40
# Taken care of in one sweep.
EXPIRED_AT_ONCE = 20
# An answer rests on few pages; with these bounds its message fits in an event, whatever its
# characters weigh.
SOURCES_KEPT = 5
SOURCE_CHARACTERS = 300
# The AI answers while nobody else will.
ANSWERED = (Status.BOT_ACTIVE, Status.AFTER_HOURS_EMAIL)
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
def claim(limit: int) -> list[int]:
    """Take up to `limit` turns that wait, and make them this process's for a LEASE."""
    rows = ReplyTurn.objects.filter(state=ReplyTurn.State.WAITING).order_by("pk")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    # Only their keys: what is wrong with one row must not hold up the others.
    claimed = list(rows.values_list("pk", flat=True)[:limit])
    ReplyTurn.objects.filter(pk__in=claimed).update(
        state=ReplyTurn.State.RUNNING, lease_until=timezone.now() + LEASE
    )
    return claimed


def load(pk: int) -> ReplyTurn:
    """The turn with its session and question. Raises TurnLost if they have been deleted."""
    turn = ReplyTurn.objects.select_related("session", "question").filter(pk=pk).first()
    if turn is None:
        raise TurnLost
    return turn


def expired() -> list[int]:
    """Running turns that were left by a process that died, the longest first."""
    return list(
        ReplyTurn.objects.filter(state=ReplyTurn.State.RUNNING, lease_until__lt=timezone.now())
        .order_by("lease_until")
        .values_list("pk", flat=True)[:EXPIRED_AT_ONCE]
    )


def conversation(turn: ReplyTurn) -> tuple[Conversation, Message]:
    """What the backend is given, and the last of the customer's messages it covers.

    Raises TurnLost if there is nothing to answer any more.
    """
    thread = list(turn.session.messages.order_by("-pk")[:LINES_GIVEN])[::-1]
    while thread and thread[-1].role != MessageRole.USER:
        thread.pop()
    if not thread:
        raise TurnLost
    lines = tuple(
        Line(message.role, message.content[:MESSAGE_MAX_CHARACTERS]) for message in thread
    )
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
        [_source_json(source) for source in sources[:SOURCES_KEPT]],
    )
    _end(turn, ReplyTurn.State.DONE)
    later = asked_since(session, covered.pk)
    if later is not None:
        request(session, later)
    return message


@transaction.atomic
def fail(turn: ReplyTurn, reason: str, *, left: bool = False) -> ChatSession:
    """End a turn that could not be finished; what was shown is kept.

    `left`: only if its process has still not said a word since its lease ran out.
    Raises TurnLost.
    """
    session = _lock(turn)
    if left and not _is_left(turn):
        raise TurnLost
    _abort(session, turn, reason, ReplyTurn.State.FAILED)
    return session


def set_aside(pk: int, *, left: bool = False) -> str:
    """End a turn that cannot be ended properly, without a word to anyone.

    Returns its session's name, empty if it had been ended meanwhile.
    """
    turn = ReplyTurn.objects.filter(pk=pk, state=ReplyTurn.State.RUNNING)
    if left:
        turn = turn.filter(lease_until__lt=timezone.now())
    name: str = turn.values_list("session__name", flat=True).first() or ""
    ended = turn.update(
        state=ReplyTurn.State.FAILED, finished_at=timezone.now(), lease_until=None
    )
    return name if ended else ""


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


def follow(session: ChatSession) -> None:
    """The session's turn, if it has one, goes on under the new epoch; under the session's lock.

    What it shows until it is finished may be dropped on the way, as before a barrier.
    """
    session.turns.filter(state__in=ACTIVE).update(ownership_epoch=session.ownership_epoch)


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
    return asked_since(session, turn.question_id)


def asked_since(session: ChatSession, message_id: int) -> Message | None:
    """The customer's last message after this one, if there is any."""
    return session.messages.filter(role=MessageRole.USER, pk__gt=message_id).last()


def owed(session: ChatSession) -> bool:
    """Whether the customer may wait for an answer of the AI."""
    return session.turns.filter(state__in=ACTIVE).exists()


def shown(session: ChatSession) -> dict[str, Any] | None:
    """The answer that is being written, as far as it is: `{reply_id, text}`."""
    turn = (
        session.turns.filter(state=ReplyTurn.State.RUNNING).exclude(started_cursor="").first()
    )
    return None if turn is None else {"reply_id": str(turn.reply_id), "text": turn.text}


def failures_in_a_row(session: ChatSession, since: datetime | None = None) -> int:
    """How many of the session's latest turns, of those that ended after `since`, came to
    nothing."""
    ended = session.turns.filter(~Q(state__in=ACTIVE))
    if since is not None:
        ended = ended.filter(finished_at__gt=since)
    count = 0
    for state in ended.order_by("-pk").values_list("state", flat=True):
        if state != ReplyTurn.State.FAILED:
            break
        count += 1
    return count


def _lock(turn: ReplyTurn) -> ChatSession:
    session = ChatSession.objects.select_for_update().filter(pk=turn.session_id).first()
    fresh = ReplyTurn.objects.select_for_update().filter(pk=turn.pk).first()
    if (
        session is None
        or fresh is None
        or fresh.state != ReplyTurn.State.RUNNING
        or session.ownership_epoch != fresh.ownership_epoch
        or session.status not in ANSWERED
    ):
        raise TurnLost
    turn.text, turn.lease_until = fresh.text, fresh.lease_until
    return session


def _is_left(turn: ReplyTurn) -> bool:
    return turn.lease_until is not None and turn.lease_until < timezone.now()


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
        content=cut(storable(text), REPLY_CHARACTERS),
        sources=sources,
        status=status,
    )
    session.last_message_at = message.created_at
    session.save(update_fields=["last_message_at", "updated_at"])
    events.message_added(message, ends_reply=True)
    return message


def _source_json(source: Source) -> dict[str, str]:
    url = storable(source.url)
    return {
        "title": cut(storable(source.title), SOURCE_CHARACTERS),
        # A part of an address leads nowhere.
        "url": url if len(url) <= SOURCE_CHARACTERS else "",
        "excerpt": cut(storable(source.excerpt), SOURCE_CHARACTERS),
    }


def _end(turn: ReplyTurn, state: ReplyTurn.State) -> None:
    turn.state = state
    turn.finished_at = timezone.now()
    turn.lease_until = None
    turn.save(update_fields=["state", "finished_at", "lease_until"])
