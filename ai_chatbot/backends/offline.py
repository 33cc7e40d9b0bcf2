"""Answers from the knowledge base alone: no network, no model, no key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext

from ai_chatbot.backends.base import (
    Conversation,
    Delta,
    HandOff,
    ReplyPart,
    Source,
    Sources,
)
from ai_chatbot.knowledge import asearch
from ai_chatbot.patterns import NOT_SPACE, SPACE, TEXT_CHARACTERS, Pattern
from ai_chatbot.rules import wants_a_person, wonders_who_answers
from ai_chatbot.small_talk import gives_thanks, greets, has_enough, says_yes
from ai_chatbot.texts import cut
from ai_chatbot.words import is_unspaced, plain, telling_words

# An answer reads as being written, and is complete within about 1.5 s however long it is.
PIECE_SECONDS = 0.02
MOST_PIECES = 60

SUMMARY_CHARACTERS = 500

# The last piece takes the white space at the end with it.
_WORD = Pattern(rf"{SPACE}*{NOT_SPACE}+(?:{SPACE}*\z)?")
_CHARACTER = Pattern(rf"{SPACE}*(?:[!-~]+|{NOT_SPACE}(?:{SPACE}*\z)?)")


class OfflineBackend:
    """The best passage as it stands, with its source; or the honest word that there is none."""

    async def reply(self, conversation: Conversation) -> AsyncIterator[ReplyPart]:
        # On a thread, as everything that reads what a customer wrote.
        wants_out, answer = await asyncio.to_thread(_first_look, conversation)
        if wants_out:
            yield HandOff(
                reason="asked for a person",
                summary=_summary(conversation),
                customer_message="",
            )
            return
        sources: tuple[Source, ...] = ()
        if answer is None:
            found = await asearch(conversation.question, conversation.language, 1)
            if found:
                best = found[0]
                answer = cut(best.text, settings.AI_ANSWER_CHARACTERS)
                sources = (Source(title=best.title, url=best.url, excerpt=best.excerpt),)
            else:
                answer = _nothing_found(conversation.language)
        for piece in await asyncio.to_thread(_pieces, answer):
            yield Delta(piece)
            await asyncio.sleep(PIECE_SECONDS)
        if sources:
            yield Sources(sources)


def _first_look(conversation: Conversation) -> tuple[bool, str | None]:
    """Whether the customer wants a person, and else the answer if it needs no help page."""
    if wants_a_person(conversation.question) or _accepts_the_offer(conversation):
        return True, None
    return False, _small_talk(conversation.question, conversation.language)


def _nothing_found(language: str) -> str:
    with translation.override(language):
        return gettext(
            "I found nothing about that in our help pages. Would you like to talk to a person? "
            "Write “talk to a person” and I will pass you on."
        )


def _small_talk(text: str, language: str) -> str | None:
    """The answer to what is no question for the knowledge base; None if it is one."""
    with translation.override(language):
        if greets(text):
            return gettext("Hello! What can I help you with?")
        if gives_thanks(text):
            return gettext("You are welcome! Is there anything else I can help you with?")
        if has_enough(text):
            return gettext("All right. I am here if anything else comes up.")
        if wonders_who_answers(text):
            return gettext(
                "I am an automatic assistant, not a person. I answer from our help pages and "
                "can pass you on to a person: write “talk to a person”."
            )
        words = plain(text, TEXT_CHARACTERS)
        if not (telling_words(words, "en") and telling_words(words, "zh-hans")):
            return gettext("Please tell me in a few words what your question is about.")
    return None


def _accepts_the_offer(conversation: Conversation) -> bool:
    """Is this a yes to "would you like to talk to a person"?"""
    earlier = [line for line in conversation.lines[:-1] if line.role != "system"]
    return (
        bool(earlier)
        and earlier[-1].role == "assistant"
        and earlier[-1].content == _nothing_found(conversation.language)
        and says_yes(conversation.question)
    )


def _summary(conversation: Conversation) -> str:
    """The customer's last words, for the agent who takes over."""
    asked = [line.content.strip() for line in conversation.lines if line.role == "user"]
    return "\n".join(asked[-3:])[-SUMMARY_CHARACTERS:]


def _pieces(text: str) -> list[str]:
    """The text in pieces of some words, or some characters where no spaces part the words."""
    units = [
        part
        for unit in _WORD.findall(text)
        for part in (_CHARACTER.findall(unit) if _is_cjk(unit) else [unit])
    ]
    size = max(3, -(-len(units) // MOST_PIECES))
    return ["".join(units[start : start + size]) for start in range(0, len(units), size)]


def _is_cjk(unit: str) -> bool:
    return any(map(is_unspaced, unit))
