"""A backend for the AI that goes wrong when the question says so, and else says it again."""

import asyncio
from collections.abc import AsyncIterator

from ai_chatbot.backends import Conversation, Delta, ReplyPart, Source, Sources

# More than an event can carry.
TOO_MUCH = 70_000


class FaultyBackend:
    """Directed by the customer's last message:

    empty       chunks without text, for ever
    endless     a word every two seconds, for ever
    hang        a word, then nothing
    slow        forty words in four seconds
    long        an answer of 70,000 characters
    long source an answer with a passage of 70,000 characters
    """

    async def reply(self, conversation: Conversation) -> AsyncIterator[ReplyPart]:
        question = conversation.question
        match question:
            case "empty":
                while True:
                    yield Delta("")
                    await asyncio.sleep(0.2)
            case "endless":
                while True:
                    yield Delta("word ")
                    await asyncio.sleep(2)
            case "hang":
                yield Delta("hanging")
                await asyncio.Event().wait()
            case "slow":
                for number in range(40):
                    yield Delta(f"w{number} ")
                    await asyncio.sleep(0.1)
            case "long":
                yield Delta("x" * TOO_MUCH)
            case "long source":
                yield Delta("see there")
                yield Sources((Source("Long", "/help/long/", "x" * TOO_MUCH),))
            case _:
                yield Delta(question)
