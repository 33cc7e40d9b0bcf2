"""Whether agents are there: what they said, and whether any stream of theirs is open."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from agent_workbench.models import Agent, AgentQuerySet, PresenceStatus
from ai_chatbot import events
from sse import enqueue_sse_message_sync, processes
from sse.hub import get_hub
from sse.supervisor import Pulse

logger = logging.getLogger(__name__)

# Presence is renewed so many times before it would end; in between it need not be.
LOOKS_PER_ABSENCE = 6
SUBJECT = "agent:"
# Who says so and has been seen lately is there for customers.
ON_DUTY = (PresenceStatus.ONLINE, PresenceStatus.BUSY)


def subject(agent: Agent) -> str:
    """What the agent's streams count for in sse.processes."""
    return f"{SUBJECT}{agent.pk}"


def absence() -> timedelta:
    return timedelta(seconds=settings.AGENT_ABSENCE_SECONDS)


def anyone_available() -> bool:
    """Whether a customer who asks for a person can be put in line: HANDOFF_AVAILABILITY."""
    return on_duty().exists()


def on_duty() -> AgentQuerySet:
    return Agent.objects.active().filter(
        status__in=ON_DUTY, seen_at__gt=timezone.now() - absence()
    )


@transaction.atomic
def choose(agent: Agent, status: str) -> Agent:
    """The agent says how it is."""
    locked = _lock(agent)
    locked.seen_at = timezone.now()
    locked.status_chosen = True
    _become(locked, status)
    return locked


def arrive(agent: Agent) -> Agent:
    """The agent logged in or opened a stream: back online, unless offline by choice.

    Of an agent who was seen just now there is nothing to note: many streams that come back at
    once do not wait for one another's lock.
    """
    lately = absence() / LOOKS_PER_ABSENCE
    fresh = agent.seen_at is not None and timezone.now() - agent.seen_at < lately
    if fresh and agent.status != PresenceStatus.OFFLINE:
        return agent
    return _arrive(agent)


@transaction.atomic
def _arrive(agent: Agent) -> Agent:
    locked = _lock(agent)
    locked.seen_at = timezone.now()
    back = locked.status == PresenceStatus.OFFLINE and not locked.status_chosen
    _become(locked, PresenceStatus.ONLINE if back else locked.status)
    return locked


def _lock(agent: Agent) -> Agent:
    # Not the user: whoever changes one locks the agent after it. And not the key: what refers
    # to the agent may be stored meanwhile, by whoever holds the target that is announced on.
    locking = Agent.objects.select_for_update(of=("self",), no_key=True)
    return locking.select_related("user").get(pk=agent.pk)


@transaction.atomic
def note_absences() -> None:
    """Renew `seen_at` of agents with open streams; the long gone are offline."""
    now = timezone.now()
    present = {int(s.removeprefix(SUBJECT)) for s in processes.present_subjects(SUBJECT)}
    Agent.objects.filter(pk__in=present).update(seen_at=now)
    gone = (
        Agent.objects.select_for_update(of=("self",), no_key=True)
        .select_related("user")
        .exclude(status=PresenceStatus.OFFLINE)
        .exclude(seen_at__gt=now - absence())
        .order_by("pk")
    )
    for agent in gone:
        agent.status_chosen = False
        _become(agent, PresenceStatus.OFFLINE)


def _become(agent: Agent, status: str) -> None:
    changed = agent.status != status
    agent.status = status
    agent.save(update_fields=["status", "status_chosen", "seen_at"])
    if changed:
        enqueue_sse_message_sync(
            events.AGENTS,
            {
                "type": "presence",
                "payload": {
                    "agent": events.person(agent.user_id, agent.display_name),
                    "status": agent.status,
                },
            },
        )


async def keep_watch(pulse: Pulse) -> None:
    """Note absences for as long as the process serves."""
    hub = get_hub()
    while True:
        pulse()
        await asyncio.sleep(settings.AGENT_ABSENCE_SECONDS / LOOKS_PER_ABSENCE)
        try:
            await hub.database(note_absences, purpose="chores")
        except DatabaseError as error:
            logger.warning("presence cannot be kept: %s", error)
