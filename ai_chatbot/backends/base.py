"""What a backend is given, what it may yield, and how it says that it cannot go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the thread so far. `role`: user, assistant, agent or system."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The thread up to and including the customer's message(s) to be answered.

    `lines` is oldest first and never empty; its last line has the role `user`.
    `language` is a code of settings.LANGUAGES.
    """

    session_name: str
    language: str
    lines: tuple[Line, ...]

    @property
    def question(self) -> str:
        return self.lines[-1].content


@dataclass(frozen=True, slots=True)
class Source:
    title: str
    url: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text, to be shown at once. Never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Sources:
    """What the answer rests on; may come at any time, the last one counts."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class HandOff:
    """The backend asks that a person take over. It ends the reply.

    `customer_message` is shown to the customer as the AI's last words; may be empty.
    """

    reason: str
    summary: str
    customer_message: str


ReplyPart = Delta | Sources | HandOff


# Why an answer did not come to its end; `loop` is what those say who read it.
CODES = frozenset({"unavailable", "timeout", "refused", "cut", "loop"})


class BackendError(Exception):
    """The backend cannot answer, or cannot finish what it began.

    `code` is one of CODES; the text is for the log.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Backend(Protocol):
    """Answers one conversation at a time; holds no state between replies.

    `reply` may be closed (`aclose`) at any moment and must then free what it holds; it gets two
    seconds for that. It raises BackendError, and nothing else, for failures of the outside
    world. Who reads it bounds its length (AI_ANSWER_CHARACTERS), its time (AI_ANSWER_SECONDS)
    and its silence (AI_PATIENCE_SECONDS), and ends it when it goes round in circles.
    """

    def reply(self, conversation: Conversation) -> AsyncIterator[ReplyPart]: ...


@lru_cache(maxsize=1)
def get_backend() -> Backend:
    """The backend that AI_BACKEND names: a short name of AI_BACKENDS or a dotted path."""
    path = settings.AI_BACKENDS.get(settings.AI_BACKEND, settings.AI_BACKEND)
    backend: Backend = import_string(path)()
    return backend


def _forget_backend(*, setting: str, **_: object) -> None:
    if setting.startswith(("AI_", "OPENAI_")):
        get_backend.cache_clear()


setting_changed.connect(_forget_backend, dispatch_uid="ai_chatbot.backends")
