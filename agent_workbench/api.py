"""The agents' HTTP API. Views translate: parse, authorise, call a verb, answer."""

from __future__ import annotations

from typing import Annotated, Any

from django.contrib import auth
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from ninja import Path, Query, Router, Status

from agent_workbench import (
    access,
    agents,
    api_assignment,
    api_audit,
    api_transfers,
    assignment,
    login_limit,
    notices,
    presence,
    states,
    tokens,
)
from agent_workbench.authentication import AgentCookie, AgentToken, caller
from agent_workbench.exceptions import InvalidLogin
from agent_workbench.models import Agent
from agent_workbench.schemas import (
    AgentOut,
    AgentSessionState,
    LoggedIn,
    Login,
    NoticePage,
    Refresh,
    SentMessage,
    SessionPage,
    StatusIn,
    StatusOut,
    TakeOver,
)
from ai_chatbot import events, outbox
from ai_chatbot.api import MAX_ID, REFUSALS, SessionName
from ai_chatbot.conversation import audit, handoff, verbs
from ai_chatbot.conversation import states as conversation
from ai_chatbot.limits import Limit as RateLimit
from ai_chatbot.models import ChatSession, HandoffRecord, Message, Reason
from ai_chatbot.schemas import Error, MessagePage, NewMessage
from ai_chatbot.schemas import SessionStatus as StatusName

router = Router(tags=["agent"], auth=[AgentToken(), AgentCookie()])
router.add_router("", api_assignment.router)
router.add_router("", api_audit.router)
router.add_router("", api_transfers.router)

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[int | None, Query(ge=0, le=MAX_ID)]
NoticeId = Annotated[int, Path(ge=1, le=MAX_ID)]


@router.post(
    "/agent/login", auth=None, response={200: LoggedIn, 401: Error, 422: Error, 429: Error}
)
def login(request: HttpRequest, body: Login) -> dict[str, Any]:
    """A token for API clients. Pages use Django's login."""
    with login_limit.attempt(request, body.username):
        user = auth.authenticate(request, username=body.username, password=body.password)
        agent = Agent.objects.active().filter(user=user).first()
        if user is None or agent is None:
            raise InvalidLogin
        agent.user = user
    with transaction.atomic():
        pair = tokens.issue(agent)
        audit.note(audit.LOGIN, agent.person, via="api")
    return {**pair, "agent": agents.as_json(presence.arrive(agent))}


@router.post(
    "/agent/refresh",
    auth=None,
    response={200: LoggedIn, 401: Error, 422: Error, 429: Error},
    throttle=RateLimit("refresh", 60, per="address"),
)
def refresh(request: HttpRequest, body: Refresh) -> dict[str, Any]:
    """A new pair of tokens for a refresh token, which is then void."""
    agent, pair = tokens.refresh(body.refresh_token)
    return {**pair, "agent": agents.as_json(agent)}


@router.post("/agent/logout", response={204: None, **REFUSALS})
def logout(request: HttpRequest) -> Status[None]:
    """End the agent's tokens and open streams, and the page's login if that is the caller."""
    agent = caller(request)
    with transaction.atomic():
        tokens.end_all(agent)
        if request.user.pk != agent.user_id:
            # Else the page's own logout tells of it.
            audit.note(audit.LOGOUT, agent.person, via="api")
    auth.logout(request)
    return Status(204, None)


@router.get("/agent/profile", response={200: AgentOut, **REFUSALS})
def profile(request: HttpRequest) -> dict[str, Any]:
    return agents.as_json(caller(request))


@router.get("/agent/status", response={200: StatusOut, **REFUSALS})
def status(request: HttpRequest) -> dict[str, Any]:
    return {"status": caller(request).status}


@router.put("/agent/status", response={200: StatusOut, **REFUSALS})
def set_status(request: HttpRequest, body: StatusIn) -> dict[str, Any]:
    return {"status": presence.choose(caller(request), body.status).status}


@router.get("/agent/notices", response={200: NoticePage, **REFUSALS})
def unread_notices(request: HttpRequest) -> dict[str, Any]:
    """What the agent has to hear of and has not read, the latest first."""
    return {"items": notices.unread(caller(request)), "next": None}


@router.post("/agent/notices/{notice_id}/read", response={204: None, **REFUSALS})
def read_notice(request: HttpRequest, notice_id: NoticeId) -> Status[None]:
    notices.read(caller(request), notice_id)
    return Status(204, None)


@router.get("/sessions", response={200: SessionPage, **REFUSALS})
def sessions(
    request: HttpRequest,
    status: StatusName | None = None,
    agent: Annotated[str, Query(pattern=r"^(all|mine|unassigned|[0-9]{1,18})$")] = "all",
    q: Annotated[str, Query(max_length=200)] = "",
    session_name: Annotated[str, Query(max_length=200)] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Sessions, newest first, those that other agents have without what is said in them.

    Those of `after_hours_email` as they are to be worked off: first who has no answer yet, for
    longest. `q` looks into names and nicknames, and into the email, messages and handoffs of
    what the caller may read. `session_name`: that one alone.
    """
    rows = ChatSession.objects.order_by("-pk")
    by_email = status == "after_hours_email"
    if by_email:
        rows = ChatSession.objects.by_email()
    elif status:
        rows = rows.filter(status=status)
    if agent == "mine":
        rows = rows.filter(agent_id=caller(request).user_id)
    elif agent == "unassigned":
        rows = rows.filter(agent__isnull=True)
    elif agent != "all":
        rows = rows.filter(agent_id=int(agent))
    if session_name:
        # A text with NUL is none for PostgreSQL, and no session's name.
        rows = rows.filter(name=session_name) if "\x00" not in session_name else rows.none()
    q = q.replace("\x00", "").strip()
    if q:
        said = Message.objects.filter(content__icontains=q).values("session")
        recorded = HandoffRecord.objects.filter(
            Q(code__icontains=q) | Q(text__icontains=q) | Q(summary__icontains=q)
        ).values("session")
        rows = rows.filter(
            Q(name__icontains=q)
            | Q(nickname__icontains=q)
            | access.followed(caller(request))
            & (
                Q(email__icontains=q)
                | Q(contact_email__icontains=q)
                | Q(pk__in=said)
                | Q(pk__in=recorded)
            )
        )
    # Their order changes with every answer, so a cursor is the number of those left out.
    start = (cursor or 0) if by_email else 0
    if cursor is not None and not by_email:
        rows = rows.filter(pk__lt=cursor)
    page = list(rows[start : start + limit + 1])
    more, page = len(page) > limit, page[:limit]
    readable = access.readable(caller(request), page)
    return {
        "items": events.summaries(page, readable),
        "next": str(start + limit if by_email else page[-1].pk) if more else None,
    }


@router.get("/sessions/queue", response={200: SessionPage, **REFUSALS})
def queue(request: HttpRequest, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    """Who waits for a person, first come first. `cursor` is the number of those left out."""
    start = cursor or 0
    page = list(ChatSession.objects.pending()[start : start + limit + 1])
    more, page = len(page) > limit, page[:limit]
    return {
        "items": events.summaries(page, {session.pk for session in page}),
        "next": str(start + limit) if more else None,
    }


@router.get("/sessions/{slug:session_name}", response={200: AgentSessionState, **REFUSALS})
def session_state(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """The conversation as it is. Its `cursor` fits the session's stream for agents."""
    return _state(request, session_name)


@router.get("/sessions/{slug:session_name}/messages", response={200: MessagePage, **REFUSALS})
def older_messages(
    request: HttpRequest,
    session_name: SessionName,
    before: Cursor = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Messages before one, in the thread's order. `next`, as `cursor`, gives the page above."""
    page = conversation.older_messages(
        _followed(request, session_name),
        before=cursor if cursor is not None else before,
        limit=limit,
    )
    # Another agent may have taken it meanwhile.
    _followed(request, session_name)
    return page


@router.post(
    "/sessions/{slug:session_name}/takeover", response={200: AgentSessionState, **REFUSALS}
)
def take_over(
    request: HttpRequest, session_name: SessionName, body: TakeOver | None = None
) -> dict[str, Any]:
    """Become the one who talks with the customer. Of several at once, one does.

    `force`, by a supervisor: also beyond the own limit, and from another agent.
    """
    with transaction.atomic():
        assignment.take_over(session_name, caller(request), force=bool(body and body.force))
        return _state(request, session_name)


@router.post(
    "/sessions/{slug:session_name}/messages",
    response={200: SentMessage, 201: SentMessage, **REFUSALS},
    exclude_unset=True,
)
def send_message(
    request: HttpRequest, session_name: SessionName, body: NewMessage
) -> Status[dict[str, Any]]:
    """Say something to the customer, as the assigned agent; after hours, as any.

    After hours `delivery` is `live` to the customer's open page, else `mail`, or `none` where
    no address was left: then it is read when the customer comes back. In a live conversation it
    is there if the message goes by mail, to a customer who is away and left an address.
    """
    with transaction.atomic():
        message, new = verbs.write_as_agent(
            session_name,
            caller(request).person,
            content=body.content,
            client_id=body.client_id,
        )
        sent = events.message_json(message)
        if message.session.status == "after_hours_email" or message.mails.exists():
            sent["delivery"] = outbox.delivery(message)
    return Status(201 if new else 200, sent)


@router.post(
    "/sessions/{slug:session_name}/release", response={200: AgentSessionState, **REFUSALS}
)
def release(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """Give the conversation back to the AI."""
    with transaction.atomic():
        handoff.release(session_name, caller(request).person)
        return _state(request, session_name)


@router.post(
    "/sessions/{slug:session_name}/close", response={200: AgentSessionState, **REFUSALS}
)
def close(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """End the conversation."""
    with transaction.atomic():
        handoff.close(session_name, caller(request).person, reason=Reason.CLOSED_BY_AGENT)
        return _state(request, session_name)


@router.post(
    "/sessions/{slug:session_name}/reopen", response={200: AgentSessionState, **REFUSALS}
)
def reopen(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """A closed conversation goes on, with the AI."""
    with transaction.atomic():
        handoff.reopen(session_name, caller(request).person)
        return _state(request, session_name)


def _followed(request: HttpRequest, session_name: str) -> ChatSession:
    return states.followed(caller(request), session_name)


def _state(request: HttpRequest, session_name: str) -> dict[str, Any]:
    return states.of(caller(request), session_name)
