"""What an answer may cost, and what one that cannot be given costs the others: nothing.

The runner works in this process, on the hub's loop, with backends of this module.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from ai_chatbot import replies, turns
from ai_chatbot.backends import (
    BackendError,
    Conversation,
    Delta,
    HandOff,
    ReplyPart,
    Source,
    Sources,
)
from ai_chatbot.conversation import verbs
from ai_chatbot.models import Article, ChatSession, Message, ReplyTurn, Status
from sse.log.encoding import DATA_MAX_BYTES
from tests import openai_server
from tests.harness.waiting import wait_until
from tests.hubs import at_work
from tests.in_process import browser, events_of, make_agent, make_session

pytestmark = pytest.mark.django_db(transaction=True)

SENTENCE = "I can help you with your order."
SOURCE = Source("Bananas", "/help/bananas/", "Bananas are green.")


class Backend:
    """Does what the question names."""

    held = threading.Event()
    ended: list[str] = []

    def reply(self, asked: Conversation) -> AsyncIterator[ReplyPart]:
        parts: Callable[[], AsyncIterator[ReplyPart]] = getattr(
            self, asked.question.replace(" ", "_"), self.fine
        )
        return parts()

    async def fine(self) -> AsyncIterator[ReplyPart]:
        yield Delta("All is well.")

    async def nothing_but_empty_pieces(self) -> AsyncIterator[ReplyPart]:
        while True:
            yield Delta("")
            await asyncio.sleep(0.01)

    async def nothing_but_sources(self) -> AsyncIterator[ReplyPart]:
        while True:
            yield Sources((SOURCE,))
            await asyncio.sleep(0.01)

    async def nothing_but_white_space(self) -> AsyncIterator[ReplyPart]:
        yield Delta(" \n")
        yield Delta("\u3000\u200b ")

    async def one_word_now_and_then(self) -> AsyncIterator[ReplyPart]:
        for number in count():
            yield Delta(f" w{number}")
            await asyncio.sleep(0.05)

    async def words_for_ever(self) -> AsyncIterator[ReplyPart]:
        yield Sources((SOURCE,))
        for number in count():
            yield Delta(f"This is sentence number {number}. ")
            await asyncio.sleep(0)

    async def all_at_once(self) -> AsyncIterator[ReplyPart]:
        yield Delta("".join(f"{number} " for number in range(200_000)))

    async def the_same_for_ever(self) -> AsyncIterator[ReplyPart]:
        try:
            while True:
                for word in SENTENCE.split():
                    yield Delta(f"{word} ")
                    await asyncio.sleep(0.02)
        finally:
            self.ended.append("the same")

    async def never_lets_go(self) -> AsyncIterator[ReplyPart]:
        yield Delta("Some words")
        while not self.held.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue

    async def odd_characters(self) -> AsyncIterator[ReplyPart]:
        for piece in ("a\x00b \ud83e", "\udeb4 \udeb4", " \x1b[0m\n\tend"):
            yield Delta(piece)

    async def more_than_fits(self) -> AsyncIterator[ReplyPart]:
        yield Delta("See there.")
        yield Sources((Source("🪴" * 9000, "/" + "x" * 9000, '"\n' * 9000),) * 99)

    async def a_person_at_length(self) -> AsyncIterator[ReplyPart]:
        yield HandOff("r\x00" * 9000, "🪴" * 30_000, "\x01🪴\ud83e" * 30_000)

    async def cancels_itself(self) -> AsyncIterator[ReplyPart]:
        raise asyncio.CancelledError
        yield

    async def fails_when_it_may(self) -> AsyncIterator[ReplyPart]:
        yield Delta("Some words")
        await asyncio.to_thread(self.held.wait)
        raise BackendError("cut", "the connection went")

    async def fails_at_length(self) -> AsyncIterator[ReplyPart]:
        raise BackendError("c" * 70_000, "m")
        yield


@pytest.fixture(autouse=True)
def runner(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.AI_BACKEND = f"{__name__}.Backend"
    monkeypatch.setattr(replies, "SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(replies, "CHECK_SECONDS", 0.05)
    Backend.held.clear()
    Backend.ended.clear()
    with at_work(replies.keep_answering, replies.keep_sweeping):
        yield
        Backend.held.set()


def ask(question: str, session: str = "") -> str:
    """The name of the session, a new one by default, in which the question was asked."""
    session = session or make_session()
    verbs.write(session, content=question, client_id=uuid.uuid4().hex)
    return session


def said(session: str) -> list[tuple[str, str, str]]:
    return [
        (message.role, message.status, message.content)
        for message in Message.objects.filter(session__name=session).exclude(role="user")
    ]


def answer_to(session: str) -> Message:
    """The complete answer, once it is there."""
    return wait_until(
        lambda: Message.objects.filter(
            session__name=session, role="assistant", status="complete"
        ).first(),
        what=f"an answer in {session}",
    )


def ended(session: str, state: str = ReplyTurn.State.FAILED) -> ReplyTurn:
    return wait_until(
        lambda: ReplyTurn.objects.filter(session__name=session, state=state).first(),
        what=f"a turn of {session} that has {state}",
    )


def failures(code: str) -> float:
    return replies.FAILURES.labels(code)._value.get()


# --- Silent and endless backends ----------------------------------------------------------


@pytest.mark.parametrize("question", ["nothing but empty pieces", "nothing but sources"])
def test_patience_counts_from_the_last_word(settings: Any, question: str) -> None:
    settings.AI_PATIENCE_SECONDS = 0.2
    before = failures("timeout")
    session = ask(question)
    ended(session)
    ((role, _, text),) = said(session)
    assert (role, "could not answer" in text) == ("system", True)
    wait_until(lambda: failures("timeout") == before + 1, what="the failure to be counted")


def test_answer_that_does_not_end_is_ended_and_kept_as_interrupted(settings: Any) -> None:
    settings.AI_ANSWER_SECONDS = 0.3
    session = ask("one word now and then")
    ended(session)
    (_, status, text), (role, _, _) = said(session)
    assert (status, role) == ("interrupted", "system")
    assert text.startswith("w0 w1")


def test_what_is_asked_during_an_answer_that_fails_is_answered() -> None:
    session = ask("fails when it may")
    wait_until(lambda: events_of(session, "reply_started"), what="the answer to begin")
    ask("and another thing", session)
    Backend.held.set()
    assert answer_to(session).content == "All is well."
    assert [role for role, _, _ in said(session)] == ["assistant", "system", "assistant"]


def test_white_space_is_no_answer() -> None:
    session = ask("nothing but white space")
    ended(session)
    assert [role for role, _, _ in said(session)] == ["system"]


def test_answer_ends_at_its_bound_at_the_end_of_a_sentence_with_its_sources() -> None:
    message = answer_to(ask("words for ever"))
    assert 1800 <= len(message.content) <= 2000
    assert message.content.endswith(".")
    assert [source["url"] for source in message.sources] == [SOURCE.url]
    events = events_of(message.session.name, "message")
    assert events[-1]["payload"]["content"] == message.content


def test_piece_of_a_megabyte_is_no_more_than_an_answer() -> None:
    message = answer_to(ask("all at once"))
    assert 1900 < len(message.content) <= 2000
    assert message.content.endswith("…")


def test_going_round_in_circles_is_no_answer() -> None:
    before = failures("loop")
    session = ask("the same for ever")
    ended(session)
    kept, apology = said(session)
    assert kept[:2] == ("assistant", "interrupted")
    assert kept[2].count(SENTENCE) <= 2
    assert apology[0] == "system"
    assert Backend.ended == ["the same"]
    wait_until(lambda: failures("loop") == before + 1, what="the failure to be counted")


def test_server_is_told_when_its_model_goes_round_in_circles(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai_server.running() as server:
        settings.AI_BACKEND = "openai"
        settings.OPENAI_BASE_URL = server.url
        session = ask("again")
        ended(session)
        assert server.wait_until_idle()
    *kept, (role, _, _) = said(session)
    assert role == "system"
    assert all(status == "interrupted" for _, status, _ in kept)


def test_backend_that_does_not_let_go_keeps_no_place(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replies, "CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(replies, "TURNS_AT_ONCE", 1)
    settings.AI_PATIENCE_SECONDS = 0.2
    stuck = ask("never lets go")
    ended(stuck)
    # The one place is free again.
    answer_to(ask("fine"))
    assert "does not let go" in caplog.text


def test_backend_that_cancels_itself_costs_only_its_answer() -> None:
    session = ask("cancels itself")
    ended(session)
    answer_to(ask("fine", session))


def test_message_made_to_hold_the_process_is_answered(settings: Any) -> None:
    settings.AI_BACKEND = "offline"
    answer_to(ask("找" + "个" * 3900))


# --- Sizes and characters -----------------------------------------------------------------


def test_passage_that_is_longer_than_an_event_is_answered_in_part(settings: Any) -> None:
    settings.AI_BACKEND = "offline"
    body = " ".join(f"Bananas have {number} colours." for number in range(3000))
    Article.objects.create(slug="fruit", title="Bananas", url="/help/fruit/", body=body)
    message = answer_to(ask("bananas?"))
    assert message.content.endswith("colours.")
    assert len(message.content) <= 2000
    assert message.sources[0]["url"] == "/help/fruit/"


def test_characters_that_cannot_be_stored_are_left_out() -> None:
    assert answer_to(ask("odd characters")).content == "ab 🪴 \ufffd [0m\n\tend"


def test_what_a_backend_adds_fits_in_an_event() -> None:
    message = answer_to(ask("more than fits"))
    assert len(message.sources) == turns.SOURCES_KEPT
    (event,) = events_of(message.session.name, "message")[-1:]
    assert event["payload"]["sources"] == message.sources


def test_heaviest_answer_fits_in_an_event(settings: Any) -> None:
    settings.AI_ANSWER_CHARACTERS = 8000
    session = ChatSession.objects.get(name=make_session())
    verbs.write(session.name, content="fine", client_id="1")
    source = Source('🪴"' * 150, "\\" * 300, "🪴\n" * 150)
    turn = ended(session.name, ReplyTurn.State.DONE)
    turn.state, turn.reply_id = ReplyTurn.State.RUNNING, uuid.uuid4()
    turn.save()
    covered = session.messages.filter(role="user").get()
    turns.finish(turn, "🪴" * 8000, [source] * 9, covered)
    payload = events_of(session.name, "message")[-1]["payload"]
    assert len(payload["content"]) == 8000
    assert len(str(payload).encode()) < DATA_MAX_BYTES


def test_hand_over_at_length_reaches_a_person() -> None:
    make_agent()
    session = ask("a person at length")
    wait_until(
        lambda: ChatSession.objects.get(name=session).status == Status.PENDING_MANUAL,
        what="the hand-over",
    )
    assert said(session)[0][0] == "assistant"


def test_error_with_a_code_of_its_own_is_an_error_like_any() -> None:
    session = ask("fails at length")
    ended(session)
    assert events_of(session, "reply_aborted")[0]["payload"]["reason"] == "failed"


# --- One piece does not stop the others ---------------------------------------------------


def test_what_is_deleted_in_the_window_is_lost_and_no_error() -> None:
    turn = leave(ask_unheard(make_session()), lease_until=timezone.now() + turns.LEASE)
    ChatSession.objects.get(pk=turn.session_id).delete()
    for step in (
        lambda: turns.load(turn.pk),
        lambda: turns.conversation(turn),
        lambda: turns.start(turn),
        lambda: turns.extend(turn, "x"),
        lambda: turns.finish(turn, "x", [SOURCE], turn.question),
        lambda: turns.fail(turn, "failed"),
        lambda: turns.drop(turn),
    ):
        with pytest.raises(turns.TurnLost):
            step()
    replies._give_up(turn.pk, "process_lost", left=True)


def test_session_deleted_under_an_answer_ends_only_that() -> None:
    session = ask("one word now and then")
    wait_until(
        lambda: ReplyTurn.objects.filter(session__name=session, text__contains="w1").exists(),
        what="the first words",
    )
    ChatSession.objects.get(name=session).delete()
    answer_to(ask("fine"))


def ask_unheard(session: str) -> Message:
    """A question to which nobody owes an answer yet."""
    return Message.objects.create(
        session=ChatSession.objects.get(name=session), role="user", content="fine"
    )


def leave(question: Message, *, attempt: int = 1, **fields: Any) -> ReplyTurn:
    """A turn as a process leaves it that dies in the middle of it."""
    return ReplyTurn.objects.create(
        session=question.session,
        question=question,
        ownership_epoch=question.session.ownership_epoch,
        state=ReplyTurn.State.RUNNING,
        attempt=attempt,
        **{"lease_until": timezone.now() - timedelta(seconds=1)} | fields,
    )


def test_turn_that_a_process_died_over_is_tried_once_more() -> None:
    session = make_session()
    leave(ask_unheard(session))
    assert answer_to(session).content == "All is well."


def test_turn_that_two_processes_died_over_goes_to_a_person_who_is_announced() -> None:
    make_agent()
    session = make_session()
    leave(ask_unheard(session), attempt=2)
    wait_until(
        lambda: ChatSession.objects.get(name=session).status == Status.PENDING_MANUAL,
        what="the hand-over",
    )
    assert "could not answer" in said(session)[0][2]
    assert [e["payload"]["reason"] for e in events_of(session, "status_change")] == [
        "reply_failed"
    ]


def test_turn_whose_process_is_heard_of_again_is_not_given_up() -> None:
    # A sweep found it before it held its lease again.
    turn = leave(ask_unheard(make_session()), lease_until=timezone.now() + turns.LEASE)
    replies._give_up(turn.pk, "process_lost", left=True)
    assert turns.set_aside(turn.pk, left=True) == ""
    turn.refresh_from_db()
    assert turn.state == ReplyTurn.State.RUNNING


def test_turn_that_cannot_be_ended_is_set_aside_and_a_person_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_agent()
    session = make_session()
    # What was shown of it is to be kept as a message, and its id is taken.
    taken = Message.objects.create(
        session=ChatSession.objects.get(name=make_session()),
        role="assistant",
        content="x",
        reply_id=uuid.uuid4(),
    )
    leave(ask_unheard(session), reply_id=taken.reply_id, text="shown")
    other = make_session()
    leave(ask_unheard(other))

    assert answer_to(other).content == "All is well."
    wait_until(
        lambda: ChatSession.objects.get(name=session).status == Status.PENDING_MANUAL,
        what="a person to be asked for",
    )
    assert ended(session).lease_until is None
    assert "is set aside" in caplog.text


def test_question_that_cannot_even_be_read_stops_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for attempt in (1, 2):
        question = ask_unheard(make_session())
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE ai_chatbot_message SET sources = %s WHERE id = %s",
                # Deeper than Python's recursion goes.
                ["[" * 995 + "]" * 995, question.pk],
            )
        leave(question, attempt=attempt)
        assert answer_to(ask("fine")).content == "All is well."
        ended(question.session.name)
    assert "is set aside" in caplog.text


def test_rules_are_read_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    wants = replies.handoff_rules.rules.wants_a_person

    def wants_a_person(text: str) -> bool:
        seen.append(threading.current_thread().name)
        return wants(text)

    monkeypatch.setattr(replies.handoff_rules.rules, "wants_a_person", wants_a_person)
    answer_to(ask("fine"))
    assert seen
    assert "sse-hub" not in seen


def test_failures_are_told_to_prometheus() -> None:
    session = ask("nothing but white space")
    ended(session)
    wait_until(
        lambda: (
            b'ai_turn_failures_total{code="unavailable"}' in browser().get("/metrics").content
        ),
        what="the number",
    )
