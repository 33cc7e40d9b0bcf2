"""Whether the customer's page is open: whether any stream of theirs is, in any process."""

from __future__ import annotations

from collections.abc import Collection

from ai_chatbot.models import ChatSession
from sse import processes

SUBJECT = "customer:"


def subject(session: ChatSession) -> str:
    """What the customer's streams count for in sse.processes."""
    return f"{SUBJECT}{session.name}"


def is_here(session: ChatSession) -> bool:
    return processes.open_streams().filter(subject=subject(session)).exists()


def here_of(names: Collection[str]) -> set[str]:
    """Those of these sessions, by name, whose customer's page is open."""
    found = processes.open_streams().filter(subject__in=[f"{SUBJECT}{name}" for name in names])
    return {
        subject.removeprefix(SUBJECT) for subject in found.values_list("subject", flat=True)
    }
