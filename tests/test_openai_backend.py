"""The `openai` backend against a local server that speaks the protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ai_chatbot.backends import (
    BackendError,
    Conversation,
    Delta,
    HandOff,
    Line,
    ReplyPart,
    Source,
    Sources,
    get_backend,
)
from ai_chatbot.models import Article
from tests.openai_server import ARGUMENTS, OpenAIServer, running

pytestmark = [pytest.mark.database_independent, pytest.mark.django_db(transaction=True)]

KEY = "sk-a-secret-nobody-should-see"
PATIENCE = 0.5


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    # Whatever proxy the machine uses is not for its own loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running() as server:
        settings.AI_BACKEND = "openai"
        settings.OPENAI_BASE_URL = server.url
        settings.OPENAI_API_KEY = KEY
        settings.OPENAI_MODEL = "test-model"
        settings.OPENAI_TIMEOUT_SECONDS = PATIENCE
        yield server
        assert server.wait_until_idle(), "a connection was left open"


def conversation(*texts: str | Line, language: str = "en") -> Conversation:
    lines = tuple(text if isinstance(text, Line) else Line("user", text) for text in texts)
    return Conversation(session_name="cs_test", language=language, lines=lines)


async def collect(asked: Conversation) -> tuple[list[ReplyPart], BackendError | None]:
    parts: list[ReplyPart] = []
    try:
        async for part in get_backend().reply(asked):
            parts.append(part)
    except BackendError as error:
        return parts, error
    return parts, None


def reply(*texts: str | Line, language: str = "en") -> tuple[list[ReplyPart], str | None]:
    parts, error = asyncio.run(collect(conversation(*texts, language=language)))
    return parts, error and error.code


def words(parts: list[ReplyPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Delta))


def test_answer_comes_piece_by_piece(server: OpenAIServer) -> None:
    parts, error = reply("answer: one two three")
    assert error is None
    assert parts == [Delta("one"), Delta(" two"), Delta(" three")]


def test_unicode_survives_chunks_cut_anywhere(server: OpenAIServer) -> None:
    parts, error = reply("answer: 订单 已发货 🪴")
    assert (words(parts), error) == ("订单 已发货 🪴", None)


def test_request_carries_key_model_and_tool(server: OpenAIServer) -> None:
    reply("answer: hello")
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "test-model"
    assert request.body["stream"] is True
    (tool,) = request.body["tools"]
    assert tool["function"]["name"] == "hand_off_to_human"
    assert set(tool["function"]["parameters"]["required"]) == set(ARGUMENTS)


def test_server_without_key_is_asked_too(server: OpenAIServer, settings: Any) -> None:
    settings.OPENAI_API_KEY = ""
    parts, error = reply("answer: hello")
    assert (words(parts), error) == ("hello", None)


def test_history_keeps_roles_and_leaves_system_lines_out(server: OpenAIServer) -> None:
    reply(
        Line("user", "Hi"),
        Line("assistant", "Hello!"),
        Line("system", "Alice joined"),
        Line("agent", "Alice here"),
        Line("user", "answer: yes"),
    )
    sent = [(m["role"], m["content"]) for m in server.requests[0].body["messages"][1:]]
    assert sent == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("assistant", "Alice here"),
        ("user", "answer: yes"),
    ]


def test_history_is_bounded(server: OpenAIServer) -> None:
    lines = [Line("user" if n % 2 == 0 else "assistant", f"line {n}") for n in range(100)]
    reply(*lines, Line("user", "answer: yes"))
    sent = server.requests[0].body["messages"]
    assert len(sent) == 21
    assert sent[1]["content"] == "line 81"


@pytest.fixture
def help_pages() -> None:
    Article.objects.create(
        slug="returns",
        title="Returning an item",
        body="You can return lamps within 30 days.\n\nReturns are free of charge.",
        url="/help/returns/",
    )
    Article.objects.create(
        slug="norway",
        title="Delivery abroad",
        body="Delivery to Norway takes a week.",
        url="/n/",
    )
    Article.objects.create(slug="draft", title="Secret", body="Returns plan.", published=False)
    Article.objects.create(
        slug="returns",
        language="zh-hans",
        title="退货",
        body="收货后 30 天内可以退货。",
        url="/zh/",
    )


def test_fitting_help_pages_are_context_and_sources(
    server: OpenAIServer, help_pages: None
) -> None:
    parts, error = reply("Can I return a lamp?")
    assert error is None
    prompt = server.requests[0].system_prompt
    assert "You can return lamps within 30 days." in prompt
    assert "Norway" not in prompt
    assert "Returns plan" not in prompt
    assert parts[-1] == Sources(
        (Source("Returning an item", "/help/returns/", "You can return lamps within 30 days."),)
    )


def test_previous_question_helps_to_find_pages(server: OpenAIServer, help_pages: None) -> None:
    reply(
        "How long is delivery to Norway?", Line("assistant", "A week."), "and the costs there?"
    )
    assert "Delivery to Norway takes a week." in server.requests[0].system_prompt


def test_answer_without_fitting_page_has_no_sources(
    server: OpenAIServer, help_pages: None
) -> None:
    parts, _ = reply("answer: bananas")
    assert parts == [Delta("bananas")]


def test_pages_in_the_conversations_language_come_first(
    server: OpenAIServer, help_pages: None
) -> None:
    parts, error = reply("可以退货吗", language="zh-hans")
    assert error is None
    assert "收货后 30 天内可以退货。" in server.requests[0].system_prompt
    assert parts[-1] == Sources((Source("退货", "/zh/", "收货后 30 天内可以退货。"),))


def test_tool_call_in_pieces_becomes_handoff(server: OpenAIServer, help_pages: None) -> None:
    parts, error = reply("hand off")
    assert error is None
    assert parts == [HandOff(**ARGUMENTS)]


def test_words_before_a_tool_call_are_shown(server: OpenAIServer) -> None:
    parts, error = reply("say and hand off")
    assert error is None
    assert words(parts) == "One moment."
    assert parts[-1] == HandOff(**ARGUMENTS)


@pytest.mark.parametrize("asked", ["hand off badly", "hand off oddly", "hand off deeply"])
def test_handoff_holds_though_its_arguments_are_unreadable(
    server: OpenAIServer, asked: str
) -> None:
    parts, error = reply(asked)
    assert error is None
    (handoff,) = parts
    assert isinstance(handoff, HandOff)
    assert handoff.customer_message == ""
    assert handoff.reason


def test_usage_chunks_without_choices_are_no_trouble(server: OpenAIServer) -> None:
    assert reply("usage") == ([Delta("two"), Delta(" words")], None)


def test_last_chunk_without_delta_is_no_trouble(server: OpenAIServer) -> None:
    assert reply("null delta") == ([Delta("two"), Delta(" words")], None)


@pytest.mark.parametrize(
    ("asked", "code", "shown"),
    [
        ("status 500", "unavailable", ""),
        ("status 503", "unavailable", ""),
        ("status 400", "refused", ""),
        ("status 401", "refused", ""),
        ("status 404", "refused", ""),
        ("status 429", "refused", ""),
        ("hang", "timeout", ""),
        ("hang in the middle", "timeout", "two words"),
        ("ping", "timeout", ""),
        ("cut", "cut", "two words"),
        ("cut at once", "cut", ""),
        ("unfinished", "cut", "two words"),
        ("html", "cut", ""),
        ("garbage", "cut", ""),
        ("odd", "cut", ""),
        ("odd list", "cut", ""),
        ("error in the stream", "cut", "two words"),
        ("error at once", "unavailable", ""),
        ("filtered", "refused", "two words"),
        ("empty", "refused", ""),
        ("other tool", "refused", ""),
        ("blank", "refused", " \n\t "),
        ("silent: empty", "timeout", ""),
        ("silent: reasoning", "timeout", ""),
        ("silent: no choices", "timeout", ""),
        ("endless call", "cut", ""),
    ],
)
def test_failure_is_named(
    server: OpenAIServer, settings: Any, asked: str, code: str, shown: str
) -> None:
    if asked.startswith("status"):
        settings.OPENAI_TIMEOUT_SECONDS = 10  # the pause before the second try
    parts, error = reply(asked)
    assert error == code
    assert words(parts) == shown
    assert not [part for part in parts if not isinstance(part, Delta)]


def test_endless_answer_is_ended_where_it_is_full(server: OpenAIServer, settings: Any) -> None:
    settings.AI_ANSWER_CHARACTERS = 300
    parts, error = reply("endless")
    assert error is None
    assert 300 < len(words(parts)) < 320


def test_silence_counts_from_the_last_word(server: OpenAIServer) -> None:
    parts, error = reply("silent: blank")
    assert error == "timeout"
    assert not words(parts).strip()


def test_request_bounds_the_answers_tokens(server: OpenAIServer, settings: Any) -> None:
    settings.OPENAI_MAX_TOKENS = 77
    assert reply("length") == ([Delta("two"), Delta(" words")], None)
    assert server.requests[0].body["max_tokens"] == 77


def test_long_answer_may_take_longer_than_the_timeout(server: OpenAIServer) -> None:
    parts, error = reply("slow")
    assert error is None
    assert words(parts).endswith("w19")


def test_server_that_is_back_at_the_second_try_is_not_noticed(
    server: OpenAIServer, settings: Any
) -> None:
    settings.OPENAI_TIMEOUT_SECONDS = 10
    parts, error = reply("status 500 once")
    assert error is None
    assert words(parts) == "status 500 once"
    assert len(server.requests) == 2


def test_nothing_is_tried_again_after_the_first_word(server: OpenAIServer) -> None:
    reply("cut")
    assert len(server.requests) == 1


def test_refused_connection_is_unavailable(server: OpenAIServer, settings: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings.OPENAI_BASE_URL = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        settings.OPENAI_TIMEOUT_SECONDS = 10
        assert reply("hello") == ([], "unavailable")


def test_reply_closed_midway_leaves_nothing_behind(server: OpenAIServer) -> None:
    async def close_after_first_word() -> set[str]:
        before = asyncio.all_tasks()
        parts = get_backend().reply(conversation("slow"))
        assert await anext(parts) == Delta("w0")
        await parts.aclose()  # type: ignore[attr-defined]
        return {task.get_name() for task in asyncio.all_tasks() - before}

    assert asyncio.run(close_after_first_word()) == set()
    assert server.wait_until_idle(), "the server was not told"


def test_reply_cancelled_while_waiting_leaves_nothing_behind(server: OpenAIServer) -> None:
    async def cancel() -> None:
        waiting = asyncio.create_task(collect(conversation("hang")))
        assert await asyncio.to_thread(server.wait_until_asked)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(cancel())
    assert server.wait_until_idle(), "the server was not told"


def test_replies_at_once_do_not_mix(server: OpenAIServer) -> None:
    async def several() -> list[str]:
        asked = [conversation(f"answer: number {n} of many") for n in range(10)]
        answers = await asyncio.gather(*map(collect, asked))
        return [words(parts) for parts, _ in answers]

    assert asyncio.run(several()) == [f"number {n} of many" for n in range(10)]


def test_one_backend_serves_several_event_loops(server: OpenAIServer) -> None:
    """Each asyncio.run is a loop of its own; so is each thread."""
    assert reply("answer: one")[1] is None
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(words(reply("answer: two")[0])))
    thread.start()
    thread.join()
    assert answers == ["two"]


def test_no_secret_and_no_words_of_the_customer_are_logged(
    server: OpenAIServer, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OPENAI_TIMEOUT_SECONDS = 10
    with caplog.at_level(logging.INFO):
        for asked in ("status 401", "status 500", "cut", "garbage", "answer: my bank is broke"):
            _, error = asyncio.run(collect(conversation(asked)))
            if error is not None:
                # The server's answer to `status` quotes the key.
                logging.getLogger("test").error("failed", exc_info=error)
    assert KEY not in caplog.text
    assert "my bank" not in caplog.text
    assert "status 401" not in caplog.text
