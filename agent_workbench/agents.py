"""Agents as other agents see them."""

from __future__ import annotations

from typing import Any

from agent_workbench import presence
from agent_workbench.models import Agent, AgentQuerySet


def everyone() -> AgentQuerySet:
    return Agent.objects.active().with_live()


def available() -> AgentQuerySet:
    """Who may be given a conversation now: on duty and with room."""
    return presence.on_duty().with_room()


def as_json(agent: Agent) -> dict[str, Any]:
    return {
        "id": agent.user_id,
        "name": agent.display_name,
        "username": agent.username,
        "role": agent.role,
        "status": agent.status,
        "sessions": agent.live,
        "max_sessions": agent.max_sessions,
        "languages": agent.languages,
        "skills": agent.skills,
    }
