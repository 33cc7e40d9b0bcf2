"""Bearer tokens of agents' API clients: random, stored as digests, ended by logout."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from agent_workbench.models import Agent, AgentToken, TokenKind
from ai_chatbot import tokens
from ai_chatbot.exceptions import InvalidToken
from sse.revocation import revoke_streams

LIFETIMES = {TokenKind.ACCESS: timedelta(hours=12), TokenKind.REFRESH: timedelta(days=14)}


def stream_subject(agent: Agent) -> str:
    """What an agent's open streams can be revoked by."""
    return f"agent:{agent.pk}"


@transaction.atomic
def issue(agent: Agent) -> dict[str, Any]:
    """A new pair: `{token, expires_in (seconds), refresh_token}`."""
    AgentToken.objects.filter(expires_at__lte=timezone.now()).delete()
    return {
        "token": _new(agent, TokenKind.ACCESS),
        "expires_in": int(LIFETIMES[TokenKind.ACCESS].total_seconds()),
        "refresh_token": _new(agent, TokenKind.REFRESH),
    }


def agent_for(token: str) -> Agent:
    """The agent whose access token this is. Raises InvalidToken."""
    return _find(token, TokenKind.ACCESS).agent


@transaction.atomic
def refresh(refresh_token: str) -> tuple[Agent, dict[str, Any]]:
    """Exchange a refresh token, which is good once, for a new pair. Raises InvalidToken."""
    found = _find(refresh_token, TokenKind.REFRESH)
    if not AgentToken.objects.filter(pk=found.pk).delete()[0]:
        raise InvalidToken
    return found.agent, issue(found.agent)


@transaction.atomic
def end_all(agent: Agent) -> None:
    """Make the agent's tokens void and end the agent's open streams, in every process."""
    agent.tokens.all().delete()
    end_streams(agent)


def end_streams(agent: Agent) -> None:
    """End the agent's open streams; whoever still has the right to opens them again."""
    revoke_streams(stream_subject(agent))


def _new(agent: Agent, kind: TokenKind) -> str:
    token = tokens.new()
    AgentToken.objects.create(
        agent=agent,
        kind=kind,
        digest=tokens.digest(token),
        expires_at=timezone.now() + LIFETIMES[kind],
    )
    return token


def _find(token: str, kind: TokenKind) -> AgentToken:
    found = (
        AgentToken.objects.valid()
        .select_related("agent__user")
        .filter(kind=kind, digest=tokens.digest(token))
        .first()
        if token
        else None
    )
    if found is None:
        raise InvalidToken
    return found
