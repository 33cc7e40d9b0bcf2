"""The events of what agents do among themselves. Sent in the transaction they tell of, and
never to the target that the customer reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agent_workbench import access
from agent_workbench.models import Agent
from ai_chatbot import events
from ai_chatbot.models import ChatSession
from sse import enqueue_sse_message_sync
from sse.log import store
from sse.models import Target

# The user's key, the event's type, its payload.
Told = tuple[int, str, dict[str, Any]]


@dataclass(slots=True)
class Ended:
    """What follows from requests that have ended: who hears of it, and whose right to look into
    the session ended with them."""

    told: list[Told] = field(default_factory=list)
    guests: list[Agent] = field(default_factory=list)

    def __iadd__(self, other: Ended) -> Ended:
        self.told += other.told
        self.guests += other.guests
        return self

    def tell(self, session: ChatSession) -> None:
        """After all other events of the transaction, in the order of locks."""
        to_agents(self.told)
        for agent in self.guests:
            access.end_streams_of_guest(session, agent)


def to_agents(told: Iterable[Told]) -> None:
    """To agents' own targets, whose locks it takes.

    Whoever writes to several of them holds that of all agents first, as a change of owner does:
    two who write to the same agents would else wait for one another.
    """
    told = sorted(told, key=lambda each: each[0])
    if not told:
        return
    hold_agents()
    for user_id, kind, payload in told:
        enqueue_sse_message_sync(
            events.agent_target(user_id), {"type": kind, "payload": payload}
        )


def to_followers(session_name: str, kind: str, payload: dict[str, Any]) -> None:
    """To agents who follow the session. Under the session's lock."""
    enqueue_sse_message_sync(
        access.internal_target(session_name), {"type": kind, "payload": payload}
    )


def hold_agents() -> None:
    """Take the lock of the target of all agents: before writing to several agents' own."""
    # Made where nobody has written to it yet, and so locked.
    store.position(events.AGENTS)
    Target.objects.select_for_update(no_key=True).get(name=events.AGENTS)
