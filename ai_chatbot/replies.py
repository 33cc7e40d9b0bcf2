"""The AI answering: turns are claimed, the backend's answer is streamed, stored or given up.

No transaction is open while a backend is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from django.db import DatabaseError, Error, transaction
from django.utils.translation import gettext as _
from django.utils.translation import override

from ai_chatbot import handoff, rules, turns, waiting
from ai_chatbot.backends import (
    BackendError,
    Conversation,
    Delta,
    HandOff,
    ReplyPart,
    Source,
    Sources,
    get_backend,
)
from ai_chatbot.models import ChatSession, Message, Reason, ReplyTurn
from ai_chatbot.turns import TurnLost
from sse import outages
from sse.hub import get_hub
from sse.supervisor import Pulse

logger = logging.getLogger(__name__)

# Pieces of an answer are gathered for so long, then stored and shown together.
FLUSH_SECONDS = 0.06
# How often a turn that has nothing to show looks whether it may still answer.
CHECK_SECONDS = 0.5
# How often a process looks for turns that nobody rang it for.
SWEEP_SECONDS = 2.0
TURNS_AT_ONCE = 64
# So many failures one after the other, and a person is asked for.
FAILURES_TOLERATED = 1
ATTEMPTS = 2


class _Bell:
    """Wakes this process's runner, from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def hang(self) -> None:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()

    def ring(self) -> None:
        """Without a runner in this process, another one's sweep finds the turn."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._event.clear()


bell = _Bell()


def owe(session: ChatSession, question: Message) -> None:
    """Have the AI answer, once the caller's transaction commits."""
    if turns.request(session, question):
        transaction.on_commit(bell.ring)


async def keep_answering(pulse: Pulse) -> None:
    """Answer turns for as long as the process serves."""
    bell.hang()
    hub = get_hub()
    running: set[asyncio.Task[None]] = set()
    swept_at = 0.0
    while True:
        pulse()
        try:
            if time.monotonic() - swept_at >= SWEEP_SECONDS:
                swept_at = time.monotonic()
                await hub.database(_sweep, purpose="chores")
            room = TURNS_AT_ONCE - len(running)
            for turn in await hub.database(turns.claim, room) if room else ():
                task = hub.spawn(answer(turn), f"turn {turn.pk}")
                running.add(task)
                task.add_done_callback(running.discard)
                task.add_done_callback(lambda _task: bell.ring())
        except DatabaseError as error:
            logger.warning("turns cannot be read: %s", error)
        await bell.wait(SWEEP_SECONDS)


def _sweep() -> None:
    """Take care of turns that a dead process left, and of places nobody announced."""
    for turn in turns.expired():
        logger.warning("turn %s of %s was left unfinished", turn.pk, turn.session.name)
        _give_up(turn, "process_lost", again=turn.attempt < ATTEMPTS)
    waiting.announce_places()


async def answer(turn: ReplyTurn) -> None:
    """Answer one claimed turn; whatever happens, the customer is not left without a word."""
    hub = get_hub()
    try:
        conversation, covered = await hub.database(turns.conversation, turn)
        if await asyncio.to_thread(rules.wants_a_person, conversation.question):
            await hub.database(_hand_over, turn, Reason.RULE, covered)
            return
        await hub.database(turns.start, turn)
        await _Answer(turn, covered).stream(conversation)
    except TurnLost:
        logger.info("turn %s of %s ended by others", turn.pk, turn.session.name)
    except BackendError as error:
        logger.warning("turn %s of %s: backend: %s", turn.pk, turn.session.name, error)
        await hub.database(_give_up, turn, error.code)
    except Error as error:
        # The lease runs out, and the turn is found again when the database is back.
        outages.note(f"turn {turn.pk} of {turn.session.name}", error)
    except Exception:
        logger.exception("turn %s of %s failed", turn.pk, turn.session.name)
        await hub.database(_give_up, turn, "failed")


class _Answer:
    """One answer while it is written."""

    def __init__(self, turn: ReplyTurn, covered: Message) -> None:
        self.turn = turn
        self.covered = covered
        self.sources: tuple[Source, ...] = ()
        self.hand_off: HandOff | None = None
        self._buffer = ""
        self._extended_at = time.monotonic()

    async def stream(self, conversation: Conversation) -> None:
        """Show the answer as it comes, then store it. Raises TurnLost, BackendError."""
        parts = get_backend().reply(conversation)
        coming: asyncio.Task[ReplyPart | None] | None = None
        try:
            while True:
                if coming is None:
                    coming = asyncio.ensure_future(_next(parts))
                await asyncio.wait({coming}, timeout=self._patience())
                if coming.done():
                    part, coming = coming.result(), None
                    if part is None or isinstance(part, HandOff):
                        self.hand_off = part
                        break
                    self._take(part)
                if self._patience() <= 0:
                    await self._extend()
        except BackendError:
            # What had come before it failed was meant to be seen.
            await self._extend()
            raise
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()
        if self._buffer:
            await self._extend()
        await self._finish()

    def _patience(self) -> float:
        """Seconds until something must be written to the database, shown or not."""
        since = time.monotonic() - self._extended_at
        return max(0.0, (FLUSH_SECONDS if self._buffer else CHECK_SECONDS) - since)

    def _take(self, part: ReplyPart) -> None:
        if isinstance(part, Delta):
            self._buffer += part.text
        elif isinstance(part, Sources):
            self.sources = part.sources

    async def _extend(self) -> None:
        text, self._buffer = self._buffer, ""
        await get_hub().database(turns.extend, self.turn, text)
        self._extended_at = time.monotonic()

    async def _finish(self) -> None:
        hub, turn = get_hub(), self.turn
        if self.hand_off is not None:
            await hub.database(
                _hand_over,
                turn,
                Reason.AI,
                self.covered,
                self.hand_off,
                self.sources,
            )
        elif turn.text:
            await hub.database(turns.finish, turn, turn.text, self.sources, self.covered)
        else:
            raise BackendError("unavailable", "the backend said nothing")
        bell.ring()


async def _next(parts: AsyncIterator[ReplyPart]) -> ReplyPart | None:
    try:
        return await anext(parts)
    except StopAsyncIteration:
        return None


@transaction.atomic
def _hand_over(
    turn: ReplyTurn,
    reason: Reason,
    covered: Message,
    wish: HandOff | None = None,
    sources: tuple[Source, ...] = (),
) -> None:
    """End the turn by asking for a person, with the AI's last words if it has any."""
    session = handoff.lock(turn.session.name)
    last_words, about = "", ""
    if wish is not None:
        last_words = wish.customer_message
        about = ": ".join(filter(None, (wish.reason, wish.summary)))
    text = "\n\n".join(filter(None, (turn.text, last_words)))
    if text:
        turns.finish(turn, text, sources, covered)
    else:
        turns.drop(turn)
    handoff.escalate_locked(session, reason=reason, text=about)


def _give_up(turn: ReplyTurn, why: str, *, again: bool = False) -> None:
    """End a turn that failed: try once more, apologise, or ask for a person."""
    try:
        with transaction.atomic():
            session = turns.fail(turn, why)
            if again:
                turns.request(session, turn.question, attempt=turn.attempt + 1)
            elif turns.failures_in_a_row(session) > FAILURES_TOLERATED:
                handoff.escalate_locked(session, reason=Reason.REPLY_FAILED)
            else:
                with override(session.language):
                    handoff.say(
                        session,
                        _(
                            "I could not answer just now. Please ask again, or ask for a "
                            "person from our team."
                        ),
                    )
        bell.ring()
    except TurnLost:
        logger.info("turn %s was ended by others meanwhile", turn.pk)
