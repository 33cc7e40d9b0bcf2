"""The agents' HTTP API: transfers, assist requests and notes."""

from __future__ import annotations

from ninja import Router

from agent_workbench.authentication import AgentCookie, AgentToken

router = Router(tags=["agent"], auth=[AgentToken(), AgentCookie()])
