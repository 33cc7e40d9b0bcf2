"""A backend for tests that does what the customer's text says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ai_chatbot.backends.base import (
    BackendError,
    Conversation,
    Delta,
    HandOff,
    ReplyPart,
    Source,
    Sources,
)


class ScriptedBackend:
    """Directed by the customer's last message:

    say: one two three    these words, one delta each
    slow: 5               the words w1 to w5, 0.05 s apart
    source: one two       these words, then a source titled "Scripted"
    handoff: reason       asks for a person, for this reason
    fail: timeout         BackendError with this code, before any word
    cut: one two          these words, then BackendError("cut")
    hang                  the word "hanging", then nothing for ever
    silent                not a word, and no end
    anything else         the same text again, one delta
    """

    async def reply(self, conversation: Conversation) -> AsyncIterator[ReplyPart]:
        directive, _, argument = conversation.question.strip().partition(":")
        argument = argument.strip()
        match directive.lower():
            case "say":
                for delta in _deltas(argument.split()):
                    yield delta
            case "slow":
                for delta in _deltas([f"w{n}" for n in range(1, int(argument) + 1)]):
                    yield delta
                    await asyncio.sleep(0.05)
            case "source":
                for delta in _deltas(argument.split()):
                    yield delta
                yield Sources((Source("Scripted", "/help/scripted/", argument),))
            case "handoff":
                yield HandOff(argument, f"Scripted: {argument}", "")
            case "fail":
                raise BackendError(argument, "scripted failure")
            case "cut":
                for delta in _deltas(argument.split()):
                    yield delta
                raise BackendError("cut", "scripted cut")
            case "hang":
                yield Delta("hanging")
                await asyncio.Event().wait()
            case "silent":
                await asyncio.Event().wait()
            case _:
                yield Delta(conversation.question)


def _deltas(words: list[str]) -> list[Delta]:
    return [Delta(word if index == 0 else f" {word}") for index, word in enumerate(words)]
