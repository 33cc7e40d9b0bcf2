"""Whether agents are there: what they said, and whether any stream of theirs is open."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from agent_workbench.models import Agent, AgentQuerySet, PresenceStatus
from ai_chatbot import events
from ai_chatbot.conversation.rounds import WATCH
from sse import enqueue_sse_message_sync
from sse.process import leases, registry

# Presence is renewed so many times before it would end; in between it need not be.
LOOKS_PER_ABSENCE = 6
RENEWALS_PER_ABSENCE = 30
GONE_AT_ONCE = 100
SUBJECT = "agent:"
# Who says so and has been seen lately is there for customers.
ON_DUTY = (PresenceStatus.ONLINE, PresenceStatus.BUSY)


def subject(agent: Agent) -> str:
    """What the agent's streams count for in sse.process.registry."""
    return f"{SUBJECT}{agent.pk}"


def absence() -> timedelta:
    return timedelta(seconds=settings.AGENT_ABSENCE_SECONDS)


def seen_since() -> datetime | None:
    """Who was seen after this is there. None: nobody is known to be gone, since for the time of
    an absence, or a part of it, nobody could be seen."""
    limit = timezone.now() - absence()
    since = leases.counted_since(WATCH)
    return None if since is not None and since > limit else limit


def on_duty() -> AgentQuerySet:
    """Agents who can talk with customers, inside hours."""
    limit = seen_since()
    return _working() if limit is None else _working().filter(seen_at__gt=limit)


def anyone_available() -> bool:
    """Whether a customer who asks for a person can be put in line: HANDOFF_AVAILABILITY."""
    # Mostly somebody was seen just now, and there is nothing more to ask.
    seen = _working().filter(seen_at__gt=timezone.now() - absence())
    return seen.exists() or on_duty().exists()


def _working() -> AgentQuerySet:
    return Agent.objects.active().filter(status__in=ON_DUTY)


def capacity() -> tuple[int, int]:
    """How many conversations at once those on duty have, and how many more they would take now:
    HANDOFF_CAPACITY.

    Where nothing is assigned, agents take as many as suits them, of which their limit says
    little: each counts for those in hand, or for one. Who is busy takes none.
    """
    by_hand = settings.ASSIGNMENT == "off"
    slots = free = 0
    for agent in on_duty().filter(status=PresenceStatus.ONLINE).with_live():
        would_have = max(1 if by_hand else agent.max_sessions, agent.live)
        slots += would_have
        free += would_have - agent.live
    return slots, free


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


def note_presence() -> None:
    """Renew `seen_at` of agents with open streams."""
    present = {int(s.removeprefix(SUBJECT)) for s in registry.present_subjects(SUBJECT)}
    old = Agent.objects.filter(pk__in=present).exclude(
        seen_at__gt=timezone.now() - absence() / RENEWALS_PER_ABSENCE
    )
    if not present or not old.exists():
        return
    with transaction.atomic():
        # Those that somebody has locked are renewed at the next round.
        free = old.order_by("pk").select_for_update(no_key=True, skip_locked=_may_skip())
        pks = list(free.values_list("pk", flat=True))
        Agent.objects.filter(pk__in=pks).update(seen_at=timezone.now())


def gone() -> list[int]:
    """The keys of those who are held to be there and have had no stream for too long."""
    limit = seen_since()
    if limit is None:
        return []
    known = Agent.objects.exclude(status=PresenceStatus.OFFLINE).exclude(seen_at__gt=limit)
    return list(known.order_by("seen_at").values_list("pk", flat=True)[:GONE_AT_ONCE])


@transaction.atomic
def note_absence(pk: int) -> None:
    """The agent is offline, if still gone."""
    limit = seen_since()
    if limit is None:
        return
    known = Agent.objects.select_for_update(of=("self",), no_key=True, skip_locked=_may_skip())
    there = known.exclude(status=PresenceStatus.OFFLINE).exclude(seen_at__gt=limit)
    agent = there.select_related("user").filter(pk=pk).first()
    if agent is not None:
        agent.status_chosen = False
        _become(agent, PresenceStatus.OFFLINE)


def _may_skip() -> bool:
    return connection.features.has_select_for_update_skip_locked


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
                    "agent": agent.shown,
                    "status": agent.status,
                },
            },
        )
