"""The agents' event streams: one of their own, and a session's as an agent sees it."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

from django.conf import settings
from django.contrib.auth import get_user
from django.urls import URLPattern, path

from agent_workbench import access, presence, tokens
from agent_workbench.models import Agent
from ai_chatbot import events
from ai_chatbot.exceptions import ConversationError, InvalidToken, SessionNotFound
from ai_chatbot.models import ChatSession
from sse.exceptions import StreamRefused
from sse.streams.endpoint import EventStream, Grant, StreamRequest

WATCHED_AT_ONCE = 50


def own(request: StreamRequest) -> Grant:
    """An agent's one stream: what all agents hear, what is theirs, and sessions they watch."""
    try:
        agent = _agent(request)
        watched = list(dict.fromkeys(request.query.get("watch", [])))
        if len(watched) > WATCHED_AT_ONCE:
            raise StreamRefused(
                422, "VALIDATION_ERROR", f"At most {WATCHED_AT_ONCE} sessions can be watched."
            )
        targets = [events.agent_target(agent.user_id), events.AGENTS]
        subjects = {tokens.stream_subject(agent)}
        for name in watched:
            session = _followed(agent, name)
            targets += access.targets_of(session)
            subjects |= access.subjects(agent, session)
    except ConversationError as error:
        raise _refused(error) from error
    presence.arrive(agent)
    return Grant(
        targets=tuple(targets),
        connected={"agent": agent.shown, "watch": watched},
        subjects=frozenset(subjects),
        presence=presence.subject(agent),
    )


def of_session(request: StreamRequest) -> Grant:
    """A session's events with what only agents see."""
    try:
        agent = _agent(request)
        session = _followed(agent, request.path["session_name"])
    except ConversationError as error:
        raise _refused(error) from error
    presence.arrive(agent)
    return Grant(
        targets=tuple(access.targets_of(session)),
        connected={"session_name": session.name},
        subjects=frozenset({tokens.stream_subject(agent)} | access.subjects(agent, session)),
        presence=presence.subject(agent),
    )


def urlpatterns(prefix: str) -> list[URLPattern]:
    return [
        path(f"{prefix}/agent/events", EventStream(own)),  # type: ignore[arg-type] # ASGI
        path(
            f"{prefix}/sessions/<slug:session_name>/events",
            EventStream(of_session),  # type: ignore[arg-type] # an ASGI application
        ),
    ]


def _agent(request: StreamRequest) -> Agent:
    if request.bearer:
        return tokens.agent_for(request.bearer)
    key = request.cookies.get(settings.SESSION_COOKIE_NAME)
    if not key or "\x00" in key:
        raise InvalidToken
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(SimpleNamespace(session=store))  # type: ignore[arg-type] # all it looks at
    if not user.is_authenticated:
        raise InvalidToken
    return access.agent_of(user)


def _followed(agent: Agent, session_name: str) -> ChatSession:
    # A text with NUL is none for PostgreSQL, so it cannot be asked for.
    known = "\x00" not in session_name
    session = ChatSession.objects.filter(name=session_name).first() if known else None
    if session is None:
        raise SessionNotFound
    access.check_may_follow(agent, session)
    return session


def _refused(error: ConversationError) -> StreamRefused:
    return StreamRefused(error.status, error.code, str(error), details=error.details)
