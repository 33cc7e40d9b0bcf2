"""The `scripted` backend does what it is told, for the tests that rely on it."""

from __future__ import annotations

import asyncio

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
)
from ai_chatbot.backends.scripted import ScriptedBackend


def reply(text: str) -> list[ReplyPart | str]:
    """The parts; an error's code is the last of them."""

    async def collect() -> list[ReplyPart | str]:
        parts: list[ReplyPart | str] = []
        try:
            async for part in ScriptedBackend().reply(
                Conversation("cs_test", "en", (Line("user", text),))
            ):
                parts.append(part)
        except BackendError as error:
            parts.append(error.code)
        return parts

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("say: one two", [Delta("one"), Delta(" two")]),
        ("slow: 2", [Delta("w1"), Delta(" w2")]),
        (
            "source: one",
            [Delta("one"), Sources((Source("Scripted", "/help/scripted/", "one"),))],
        ),
        ("handoff: too hard", [HandOff("too hard", "Scripted: too hard", "")]),
        ("fail: timeout", ["timeout"]),
        ("cut: one", [Delta("one"), "cut"]),
        ("Good evening", [Delta("Good evening")]),
    ],
)
def test_text_directs_the_reply(text: str, parts: list[ReplyPart | str]) -> None:
    assert reply(text) == parts


def test_hanging_reply_can_be_closed() -> None:
    async def close() -> None:
        parts = ScriptedBackend().reply(Conversation("cs_test", "en", (Line("user", "hang"),)))
        assert await anext(parts) == Delta("hanging")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(parts)
        await parts.aclose()  # type: ignore[attr-defined]

    asyncio.run(close())
