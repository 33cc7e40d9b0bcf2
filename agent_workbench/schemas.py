"""What the workbench API takes and gives; the JSON of the contract."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import Field, StrictBool

from ai_chatbot.api import MAX_ID
from ai_chatbot.models import MESSAGE_MAX_CHARACTERS
from ai_chatbot.schemas import (
    Body,
    ClientId,
    Content,
    Line,
    MessageOut,
    Moment,
    PersonOut,
    SessionState,
    SessionStatus,
    SourceOut,
    Text,
)

Priority = Literal["low", "normal", "high", "urgent"]
AgentStatus = Literal["online", "busy", "break", "offline"]
AgentKey = (
    Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
    | Annotated[Text, Field(min_length=1, max_length=150)]
)


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
    sessions: int
    max_sessions: int
    languages: list[str]
    skills: list[str]


class AgentPage(Schema):
    items: list[AgentOut]
    next: str | None


class LoggedIn(Schema):
    token: str
    expires_in: int
    refresh_token: str
    agent: AgentOut


class TakeOver(Body):
    force: StrictBool = False


class Assign(Body):
    agent_id: Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]


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


class NoticeOut(Schema):
    id: int
    kind: Literal[
        "session_lost", "session_silent", "customer_waits", "agent_silent", "session_moved"
    ]
    session_name: str
    nickname: str
    details: dict[str, Any]
    created_at: str


class NoticePage(Schema):
    items: list[NoticeOut]
    next: str | None


class SentMessage(MessageOut):
    """`delivery`: after hours, or where it goes by mail."""

    delivery: Literal["live", "mail", "none"] = "live"


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


class HandoffOut(Schema):
    """Why a person was asked for, what had been tried, and how it ended."""

    id: int
    code: str
    text: str
    severity: Literal["low", "medium", "high"]
    summary: str
    question: str
    tried: list[SourceOut]
    created_at: Moment
    waited_seconds: int | None
    agent: PersonOut | None
    outcome: Literal[
        "waiting", "by_email", "live", "cancelled", "customer_gone", "agent_lost",
        "agent_silent", "requeued", "transferred", "released", "closed",
    ]  # fmt: skip


class NoteIn(Body):
    content: Content


class NewNote(NoteIn):
    client_id: ClientId | None = None


class NoteOut(Schema):
    id: int
    session_name: str
    author: PersonOut
    content: str
    client_id: str | None
    created_at: Moment
    edited_at: Moment | None
    mentions: list[PersonOut]


class NotePage(Schema):
    items: list[NoteOut]
    next: str | None


class Transfer(Body):
    """`to_agent`: an agent's id or username; null or "queue": back into the line."""

    to_agent: AgentKey | None
    note: Annotated[Line, Field(max_length=MESSAGE_MAX_CHARACTERS)] = ""


class TransferAnswer(Body):
    accept: StrictBool


class TransferOut(Schema):
    id: int
    session_name: str
    from_agent: PersonOut
    to_agent: PersonOut
    asked_by: PersonOut | None
    note: str
    status: Literal["pending", "accepted", "declined", "expired", "cancelled"]
    created_at: Moment
    expires_at: Moment
    answered_at: Moment | None


class TransferList(Schema):
    items: list[TransferOut]
    next: None


class NewAssist(Body):
    session_name: Annotated[Text, Field(min_length=1, max_length=64)]
    to_agent: AgentKey
    question: Content


class AssistAnswer(Body):
    answer: Content


class AssistOut(Schema):
    id: int
    session_name: str
    from_agent: PersonOut
    to_agent: PersonOut
    question: str
    answer: str
    status: Literal["open", "answered", "closed"]
    created_at: Moment
    answered_at: Moment | None


class AssistList(Schema):
    items: list[AssistOut]
    next: None


class AgentSessionState(SessionState):
    email: str
    reason: str
    escalated_at: Moment | None
    handoff: HandoffOut | None
    handoffs: Annotated[list[HandoffOut], Field(description="The latest first, 20 at most.")]
    priority: Priority
    vip: bool
    skills: list[str]
    former_agent: PersonOut | None
    notes: list[NoteOut]
    transfer: TransferOut | None
    assists: list[AssistOut]


class AnsweredTransfer(TransferOut):
    """`session`: its state, for whoever has it now."""

    session: AgentSessionState | None


class AuditOut(Schema):
    """`actor` null: the system, a command, or the customer. What `details` holds depends on the
    action."""

    id: int
    at: Moment
    action: str
    actor: PersonOut | None
    session_name: str
    details: dict[str, Any]


class AuditPage(Schema):
    items: list[AuditOut]
    next: str | None
