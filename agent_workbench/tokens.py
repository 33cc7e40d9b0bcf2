"""Bearer tokens of agents' API clients: random, stored as digests, ended by logout.

A refresh token is good once. It names its family by a secret, which whoever has had one of the
family's refresh tokens knows: one that names a family and is not its present one is an old one.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agent_workbench.models import Agent, AgentToken, TokenKind
from ai_chatbot import tokens
from ai_chatbot.exceptions import InvalidToken
from sse.revocation import close_streams

logger = logging.getLogger(__name__)

LIFETIMES = {TokenKind.ACCESS: timedelta(hours=12), TokenKind.REFRESH: timedelta(days=14)}
# From the login, however often it is refreshed.
FAMILY_LIFETIME = timedelta(days=30)


def stream_subject(agent: Agent) -> str:
    """What an agent's open streams can be revoked by."""
    return f"agent:{agent.pk}"


@transaction.atomic
def issue(agent: Agent) -> dict[str, Any]:
    """The first pair of a login: `{token, expires_in (seconds), refresh_token}`.

    `agent.user` is as it was when its password was looked at, which takes a while on purpose.
    Raises InvalidToken if it has another one since, or may not log in any more.
    """
    Agent.objects.select_for_update().filter(pk=agent.pk).first()
    # Read after the wait for whoever is just ending the agent's tokens.
    same = Agent.objects.active().filter(pk=agent.pk, user__password=agent.user.password)
    if not same.exists():
        raise InvalidToken
    AgentToken.objects.filter(expires_at__lte=timezone.now()).delete()
    return _pair(agent, tokens.new(), timezone.now() + FAMILY_LIFETIME)


def agent_for(token: str) -> Agent:
    """The agent whose access token this is. Raises InvalidToken."""
    found = (
        AgentToken.objects.valid()
        .select_related("agent__user")
        .filter(kind=TokenKind.ACCESS, digest=tokens.digest(token))
        .first()
    )
    if found is None:
        raise InvalidToken
    return found.agent


def refresh(refresh_token: str) -> tuple[Agent, dict[str, Any]]:
    """Exchange a refresh token for a new pair; the old pair is void.

    Raises InvalidToken. For a token that was exchanged before, the whole family is void then,
    since one of the two who have it stole it. Of requests with one token that are under way at
    the same time one succeeds, and the others void nothing.
    """
    exchanged = _exchange(refresh_token, asked_at=timezone.now())
    if exchanged is None:
        raise InvalidToken
    return exchanged


@transaction.atomic
def _exchange(refresh_token: str, *, asked_at: datetime) -> tuple[Agent, dict[str, Any]] | None:
    secret = refresh_token.partition(".")[0]
    family = tokens.digest(secret)
    refreshing = AgentToken.objects.filter(kind=TokenKind.REFRESH)
    mine = Q(digest=tokens.digest(refresh_token))
    of_agent = refreshing.filter(mine | Q(family=family)).values("agent")[:1]
    # One at a time for each agent.
    agent = Agent.objects.select_for_update().filter(pk__in=of_agent).first()
    if agent is None:
        return None
    found = refreshing.filter(mine).valid().first()
    if found is None:
        present = refreshing.filter(family=family).first()
        if present is not None and present.created_at <= asked_at:
            logger.warning("agent %s: a refresh token came twice, its login is void", agent.pk)
            AgentToken.objects.filter(family=family).delete()
            end_streams(agent)
        return None
    if found.family:
        AgentToken.objects.filter(family=found.family).delete()
    else:
        # Of a time before families: it begins one.
        found.delete()
        secret = tokens.new()
    return agent, _pair(agent, secret, found.family_ends_at or timezone.now() + FAMILY_LIFETIME)


@transaction.atomic
def end_all(agent: Agent) -> None:
    """Make the agent's tokens void and end the agent's open streams, in every process."""
    # So that none comes into being meanwhile.
    Agent.objects.select_for_update().filter(pk=agent.pk).first()
    agent.tokens.all().delete()
    end_streams(agent)


def end_streams(agent: Agent) -> None:
    """End the agent's open streams; whoever still has the right to opens them again."""
    close_streams(stream_subject(agent))


def _pair(agent: Agent, secret: str, family_ends_at: datetime) -> dict[str, Any]:
    now = timezone.now()
    pair = {TokenKind.ACCESS: tokens.new(), TokenKind.REFRESH: f"{secret}.{tokens.new()}"}
    ends = {kind: min(now + LIFETIMES[kind], family_ends_at) for kind in pair}
    AgentToken.objects.bulk_create(
        AgentToken(
            agent=agent,
            kind=kind,
            digest=tokens.digest(token),
            family=tokens.digest(secret),
            family_ends_at=family_ends_at,
            expires_at=ends[kind],
        )
        for kind, token in pair.items()
    )
    return {
        "token": pair[TokenKind.ACCESS],
        "expires_in": int((ends[TokenKind.ACCESS] - now).total_seconds()),
        "refresh_token": pair[TokenKind.REFRESH],
    }
