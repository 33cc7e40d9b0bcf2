"""What the workbench API takes and gives; the JSON of the contract."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field

from ai_chatbot.api import MAX_ID
from ai_chatbot.schemas import Body, Moment, PersonOut, SessionState, SessionStatus, Text

Priority = Literal["low", "normal", "high", "urgent"]
AgentStatus = Literal["online", "busy", "break", "offline"]


class Login(Body):
    username: Annotated[Text, Field(max_length=150)]
    password: Annotated[Text, Field(max_length=1000)]


class Refresh(Body):
    refresh_token: Annotated[Text, Field(max_length=200)]


class AgentOut(Schema):
    id: int
    name: str
    username: str
    role: Literal["agent", "supervisor", "admin"]
    status: AgentStatus
    max_sessions: int


class LoggedIn(Schema):
    token: str
    expires_in: int
    refresh_token: str
    agent: AgentOut


class TakeOver(Body):
    force: bool = False


class Assign(Body):
    agent_id: Annotated[int, Field(ge=1, le=MAX_ID)]


class PriorityIn(Body):
    priority: Priority


class StatusIn(Body):
    status: AgentStatus


class StatusOut(Schema):
    status: AgentStatus


class LastMessage(Schema):
    id: int
    role: Literal["user", "assistant", "agent", "system"]
    content: str
    created_at: Moment


class SessionSummary(Schema):
    session_name: str
    nickname: str
    language: str
    status: SessionStatus
    agent: PersonOut | None
    reason: str
    question: str
    priority: Priority
    vip: bool
    why: list[str]
    unanswered_since: Moment | None
    customer_gone_at: Moment | None
    has_contact: bool
    created_at: Moment
    escalated_at: Moment | None
    last_message: LastMessage | None


class SessionPage(Schema):
    items: list[SessionSummary]
    next: str | None


class AgentSessionState(SessionState):
    email: str
    reason: str
    escalated_at: Moment | None
