"""The agents' event streams: one of their own, and a session's as an agent sees it."""

from __future__ import annotations

from django.http import HttpRequest

from agent_workbench import access, presence, tokens
from agent_workbench.models import Agent
from ai_chatbot import events
from ai_chatbot.exceptions import InvalidToken, SessionNotFound
from ai_chatbot.models import ChatSession
from ai_chatbot.streams import refused_as_elsewhere
from sse import Grant, Refused
from sse.streams.requests import bearer

WATCHED_AT_ONCE = 50


@refused_as_elsewhere
def of_agent(request: HttpRequest) -> Grant:
    """An agent's one stream: what all agents hear, what is theirs, and sessions they watch."""
    agent = _agent(request)
    watched = list(dict.fromkeys(request.GET.getlist("watch")))
    if len(watched) > WATCHED_AT_ONCE:
        raise Refused(
            422, "VALIDATION_ERROR", f"At most {WATCHED_AT_ONCE} sessions can be watched."
        )
    sessions = [_followed(agent, name) for name in watched]
    shared = [events.agent_target(agent.user_id), events.AGENTS]
    return _granted(agent, sessions, shared, {"agent": agent.shown, "watch": watched})


@refused_as_elsewhere
def of_session(request: HttpRequest, session_name: str) -> Grant:
    """A session's events with what only agents see."""
    agent = _agent(request)
    session = _followed(agent, session_name)
    return _granted(agent, [session], [], {"session_name": session.name})


def _granted(
    agent: Agent, sessions: list[ChatSession], shared: list[str], connected: dict[str, object]
) -> Grant:
    presence.arrive(agent)
    subjects = [tokens.stream_subject(agent)]
    channels = [*shared]
    for session in sessions:
        channels += access.targets_of(session)
        subjects += access.subjects(agent, session)
    return Grant(
        channels, connected=connected, subjects=subjects, presence=presence.subject(agent)
    )


def _agent(request: HttpRequest) -> Agent:
    if token := bearer(request):
        return tokens.agent_for(token)
    if not request.user.is_authenticated:
        raise InvalidToken
    return access.agent_of(request.user)


def _followed(agent: Agent, session_name: str) -> ChatSession:
    # A text with NUL is none for PostgreSQL, so it cannot be asked for.
    known = "\x00" not in session_name
    session = ChatSession.objects.filter(name=session_name).first() if known else None
    if session is None:
        raise SessionNotFound
    access.check_may_follow(agent, session)
    return session
