"""The AI answering: turns are claimed, the backend's answer is streamed, stored or given up.

No transaction is open while a backend is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import Error, transaction
from django.utils.translation import gettext as _
from django.utils.translation import override
from prometheus_client import CollectorRegistry, Counter

from ai_chatbot import handoff_rules, turns
from ai_chatbot.backends import (
    CODES,
    BackendError,
    Conversation,
    Delta,
    HandOff,
    ReplyPart,
    Source,
    Sources,
    get_backend,
)
from ai_chatbot.bells import Bell
from ai_chatbot.conversation import handoff
from ai_chatbot.conversation.records import Cause
from ai_chatbot.exceptions import SessionNotFound
from ai_chatbot.loops import LoopDetector
from ai_chatbot.models import ChatSession, HandoffRule, Message, Reason, ReplyTurn
from ai_chatbot.texts import cut, reach, says_something, storable, whole
from ai_chatbot.turns import TurnLost
from sse.process import outages
from sse.process.runtime import get_runtime
from sse.process.supervisor import Pulse

logger = logging.getLogger(__name__)

# Pieces of an answer are gathered for so long, then stored and shown together.
FLUSH_SECONDS = 0.06
# How often a turn that has nothing to show looks whether it may still answer.
CHECK_SECONDS = 0.5
# How often a process looks for turns that nobody rang it for.
SWEEP_SECONDS = 2.0
TURNS_AT_ONCE = 64
# So many processes may die over a turn.
ATTEMPTS = 2
# What an answer that is full gives its backend to name the sources.
SOURCES_SECONDS = 1.0
# What a backend gets to let go of an answer; its place is free afterwards in any case.
CLOSE_SECONDS = 2.0

METRICS = CollectorRegistry()
FAILURES = Counter(
    "ai_turn_failures", "Turns of the AI that failed, by why", ["code"], registry=METRICS
)


bell = Bell()


def owe(session: ChatSession, question: Message) -> None:
    """Have the AI answer, once the caller's transaction commits."""
    if turns.request(session, question):
        transaction.on_commit(bell.ring, robust=True)


async def keep_answering(pulse: Pulse) -> None:
    """Answer turns for as long as the process serves."""
    bell.hang()
    runtime = get_runtime()
    running = _running(runtime.loop)
    while True:
        pulse()
        try:
            room = TURNS_AT_ONCE - len(running)
            for pk in await runtime.database(turns.claim, room) if room > 0 else ():
                task = runtime.spawn(answer(pk), f"turn {pk}")
                running.add(task)
                task.add_done_callback(running.discard)
                task.add_done_callback(lambda _task: bell.ring())
        except Error as error:
            if not outages.kind(error):
                raise
            outages.note("turns cannot be read", error)
        await bell.wait(SWEEP_SECONDS)


async def keep_sweeping(pulse: Pulse) -> None:
    """Take care of what dead processes left, for as long as the process serves.

    Apart from the answering, which must not wait for a row that somebody has locked.
    """
    runtime = get_runtime()
    while True:
        pulse()
        try:
            await runtime.database(_sweep, purpose="chores")
        except Error as error:
            if not outages.kind(error):
                raise
            outages.note("turns that were left cannot be read", error)
        await asyncio.sleep(SWEEP_SECONDS)


# Of each loop, so that work that is started anew knows what its forerunner left.
_turns_running: WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Task[None]]] = (
    WeakKeyDictionary()
)


def _running(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[None]]:
    return _turns_running.setdefault(loop, set())


def _sweep() -> None:
    """Take care of turns that a dead process left."""
    for pk in turns.expired():
        logger.warning("turn %s was left unfinished", pk)
        _give_up(pk, "process_lost", left=True)


async def answer(pk: int) -> None:
    """Answer one claimed turn; whatever happens, the customer is not left without a word."""
    runtime = get_runtime()
    try:
        turn = await runtime.database(turns.load, pk)
        conversation, covered = await runtime.database(turns.conversation, turn)
        question = conversation.question
        cause = await runtime.database(handoff_rules.decide, turn.session, question)
        if cause is not None:
            await runtime.database(_hand_over, turn, cause, covered)
            return
        await runtime.database(turns.start, turn)
        await _Answer(turn, covered).stream(conversation)
    except (TurnLost, SessionNotFound):
        logger.info("turn %s ended by others", pk)
    except BackendError as error:
        logger.warning("turn %s: backend: %s", pk, error)
        await _end(pk, error.code if error.code in CODES else "failed")
    except Exception as error:
        if outages.kind(error):
            # The lease runs out, and the turn is found again when the database is back.
            outages.note(f"turn {pk}", error)
            return
        logger.exception("turn %s failed", pk)
        await _end(pk, "failed")


async def _end(pk: int, why: str) -> None:
    try:
        await get_runtime().database(_give_up, pk, why)
    except Error as error:
        # No thread for it in time. It is found again like any that is left.
        outages.note(f"the end of turn {pk}", error)


class _Answer:
    """One answer while it is written."""

    def __init__(self, turn: ReplyTurn, covered: Message) -> None:
        self.turn = turn
        self.covered = covered
        self.sources: tuple[Source, ...] = ()
        self.hand_off: HandOff | None = None
        # All that came; what has been shown of it is the turn's.
        self.text = ""
        self._half = ""
        self._loops = LoopDetector()
        self._most: int = settings.AI_ANSWER_CHARACTERS
        self._full = False
        self._ends_at = time.monotonic() + settings.AI_ANSWER_SECONDS
        self._said_at = self._extended_at = time.monotonic()

    async def stream(self, conversation: Conversation) -> None:
        """Show the answer as it comes, then store it. Raises TurnLost, BackendError."""
        parts = get_backend().reply(conversation)
        coming: asyncio.Task[ReplyPart | None] | None = None
        try:
            while not self._is_over():
                if coming is None:
                    coming = asyncio.ensure_future(_next(parts))
                await asyncio.wait({coming}, timeout=self._patience())
                if coming.done():
                    part, coming = _result(coming), None
                    if part is None or isinstance(part, HandOff):
                        self.hand_off = part
                        break
                    self._take(part)
                if self._patience() <= 0:
                    await self._extend()
        except BackendError as error:
            # What had come before it failed was meant to be seen.
            if error.code != "loop":
                await self._extend(to_the_end=True)
            raise
        finally:
            await _close(parts, coming)
        await self._extend(to_the_end=True)
        await self._finish()

    def _is_over(self) -> bool:
        """Has it been given all it may take? Raises BackendError if that was for nothing."""
        now = time.monotonic()
        if self._full and now >= self._ends_at:
            return True
        if now >= self._ends_at:
            raise BackendError("timeout", f"no end after {settings.AI_ANSWER_SECONDS:g} s")
        if now - self._said_at >= settings.AI_PATIENCE_SECONDS:
            raise BackendError("timeout", f"no word for {settings.AI_PATIENCE_SECONDS:g} s")
        return False

    def _patience(self) -> float:
        """Seconds until something must be written to the database, shown or not."""
        since = time.monotonic() - self._extended_at
        unseen = len(self._showable()) > len(self.turn.text)
        return max(0.0, (FLUSH_SECONDS if unseen else CHECK_SECONDS) - since)

    def _take(self, part: ReplyPart) -> None:
        if isinstance(part, Delta):
            self._say(part.text)
        elif isinstance(part, Sources):
            self.sources = part.sources

    def _say(self, piece: str) -> None:
        """Add to the text, as far as there is room. Raises BackendError if it is a loop."""
        if self._full:
            return
        # One more than there is room for tells that there was more.
        room = self._most + 1 - len(self.text)
        piece, self._half = whole(self._half + piece[: room + 1])
        piece = storable(piece)[:room]
        if says_something(piece):
            self._said_at = time.monotonic()
        elif not self.text:
            return
        self.text = self.text + piece if self.text else piece.lstrip()
        if self._loops.finds_loop(piece):
            raise BackendError("loop", "the answer goes round in circles")
        if len(self.text) > self._most:
            self._full = True
            self._ends_at = min(self._ends_at, time.monotonic() + SOURCES_SECONDS)

    def _showable(self) -> str:
        """What may be shown already: not the white space at the end, nor what may be cut."""
        return self.text[: self._most - reach(self._most)].rstrip()

    async def _extend(self, *, to_the_end: bool = False) -> None:
        """Show what has not been shown, or hold the lease. Raises TurnLost."""
        text = cut(self.text.rstrip(), self._most) if to_the_end else self._showable()
        await get_runtime().database(turns.extend, self.turn, text[len(self.turn.text) :])
        self._extended_at = time.monotonic()

    async def _finish(self) -> None:
        runtime, turn = get_runtime(), self.turn
        if self.hand_off is not None:
            wish = self.hand_off
            cause = Cause(Reason.AI, storable(wish.reason), summary=storable(wish.summary))
            await runtime.database(
                _hand_over, turn, cause, self.covered, wish.customer_message, self.sources
            )
        elif says_something(turn.text):
            await runtime.database(turns.finish, turn, turn.text, self.sources, self.covered)
        else:
            raise BackendError("unavailable", "the backend said nothing")
        bell.ring()


def _result(come: asyncio.Task[ReplyPart | None]) -> ReplyPart | None:
    if come.cancelled():
        # By the backend itself, which must not end the turn's own task.
        raise BackendError("cut", "the backend was cancelled")
    return come.result()


async def _close(
    parts: AsyncIterator[ReplyPart], coming: asyncio.Task[ReplyPart | None] | None
) -> None:
    """Have the backend let go. One that does not, within CLOSE_SECONDS, is left to itself."""
    closing = get_runtime().spawn(_closed(parts, coming), "the end of an answer")
    await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
    if not closing.done():
        logger.error("the backend does not let go of an answer; it is left to itself")


async def _closed(
    parts: AsyncIterator[ReplyPart], coming: asyncio.Task[ReplyPart | None] | None
) -> None:
    if coming is not None:
        coming.cancel()
        await asyncio.wait({coming})
        if not coming.cancelled() and (error := coming.exception()):
            logger.info("the backend was stopped and said: %s", type(error).__name__)
    close = getattr(parts, "aclose", None)
    if close is not None:
        await close()


async def _next(parts: AsyncIterator[ReplyPart]) -> ReplyPart | None:
    try:
        return await anext(parts)
    except StopAsyncIteration:
        return None


@transaction.atomic
def _hand_over(
    turn: ReplyTurn,
    cause: Cause,
    covered: Message,
    last_words: str = "",
    sources: tuple[Source, ...] = (),
) -> None:
    """End the turn by asking for a person, with the AI's last words if it has any."""
    session = handoff.lock(turn.session.name)
    text = "\n\n".join(filter(None, (turn.text, last_words)))
    if text:
        turns.finish(turn, text, sources, covered)
    else:
        turns.drop(turn)
    handoff.escalate_locked(session, cause)


def _give_up(pk: int, why: str, *, left: bool = False) -> None:
    """End a turn that failed: try once more, apologise, or ask for a person.

    `left`: its process is taken for dead, and the turn given up only if it still is.
    What the database is to blame for is left to a sweep.
    """
    try:
        _end_failed(turns.load(pk), why, left=left)
    except TurnLost:
        logger.info("turn %s was ended by others meanwhile", pk)
        return
    except Exception as error:
        if outages.kind(error):
            outages.note(f"the end of turn {pk}", error)
            return
        logger.exception("turn %s cannot be ended; it is set aside", pk)
        _set_aside(pk, left=left)
    FAILURES.labels(why).inc()
    bell.ring()


@transaction.atomic
def _end_failed(turn: ReplyTurn, why: str, *, left: bool) -> None:
    session = turns.fail(turn, why, left=left)
    if left and turn.attempt < ATTEMPTS:
        turns.request(session, turn.question, attempt=turn.attempt + 1)
        return
    cause = handoff_rules.decide_on(session, HandoffRule.Kind.FAILURES)
    if cause is None and left:
        cause = Cause(Reason.REPLY_FAILED)
    if cause is not None:
        with override(session.language):
            handoff.say(
                session,
                _(
                    "I am sorry, I could not answer this. I am asking a person from our team "
                    "to take over."
                ),
            )
        handoff.escalate_locked(session, cause)
    else:
        with override(session.language):
            handoff.say(
                session,
                _(
                    "I could not answer just now. Please ask again, or ask for a "
                    "person from our team."
                ),
            )
        later = turns.asked_since(session, turn.question_id)
        if later is not None:
            turns.request(session, later)


def _set_aside(pk: int, *, left: bool) -> None:
    """So that it is tried no more; a person is asked for, if that can be done."""
    name = ""
    try:
        name = turns.set_aside(pk, left=left)
        if name:
            handoff.escalate(name, reason=Reason.REPLY_FAILED)
    except Exception:
        logger.exception("no person could be asked for in %s", name or f"turn {pk}'s session")
