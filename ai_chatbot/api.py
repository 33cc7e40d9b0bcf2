"""The customer's HTTP API. Views translate: parse, authorise, call a verb, answer.

The state after a verb is read in the verb's transaction: what cannot be answered is not done.
"""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from ninja import Path, Query, Router, Status
from ninja.security import HttpBearer

import sse
from ai_chatbot import events, tokens
from ai_chatbot.conversation import contact, handoff, hours, states, timetable, verbs
from ai_chatbot.limits import Limit, origin
from ai_chatbot.models import MESSAGE_MAX_CHARACTERS, ChatSession, Reason
from ai_chatbot.schemas import (
    Config,
    Contact,
    CreatedSession,
    Error,
    Escalation,
    Feedback,
    MessageOut,
    MessagePage,
    NewMessage,
    NewSession,
    Resume,
    Resumed,
    SessionState,
)

router = Router(tags=["customer"])

SessionName = Annotated[str, Path(max_length=64)]
MAX_ID = 2**63 - 1


class VisitorToken(HttpBearer):
    """The session's token. It opens the session in the address and nothing else."""

    def authenticate(self, request: HttpRequest, token: str) -> ChatSession:
        match = request.resolver_match
        return tokens.session_for(token, match.kwargs["session_name"] if match else "")


visitor = VisitorToken()
REFUSALS = {401: Error, 403: Error, 404: Error, 409: Error, 422: Error, 429: Error}


@router.post(
    "/sessions",
    response={201: CreatedSession, 422: Error, 429: Error},
    throttle=Limit("sessions", 60, per="address"),
)
def begin_session(request: HttpRequest, body: NewSession) -> Status[dict[str, Any]]:
    """Begin a conversation. The token is shown this once."""
    session, token = verbs.begin(
        nickname=body.nickname,
        email=body.email,
        language=_language(request, body.language),
        metadata=body.metadata,
        origin=origin(request),
    )
    return Status(
        201,
        {
            "session_name": session.name,
            "token": token,
            "status": session.status,
            "created_at": session.created_at,
            "cursor": sse.cursor(session.name),
        },
    )


# Before the addresses of sessions, one of which it would be.
@router.post(
    "/sessions/resume",
    response={200: Resumed, 403: Error, 404: Error, 410: Error, 422: Error, 429: Error},
    throttle=Limit("resume", 30, per="address"),
)
def resume_session(request: HttpRequest, body: Resume) -> dict[str, Any]:
    """Come back by a mail's link: a token for its session, shown this once."""
    session, token = contact.resume(body.link)
    return {"session_name": session.name, "token": token}


@router.get(
    "/sessions/{slug:session_name}", auth=visitor, response={200: SessionState, **REFUSALS}
)
def session_state(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """The conversation as it is. Open the stream with `cursor`: nothing is missed between."""
    return states.state(session_name)


@router.get(
    "/sessions/{slug:session_name}/messages",
    auth=visitor,
    response={200: MessagePage, **REFUSALS},
)
def older_messages(
    request: HttpRequest,
    session_name: SessionName,
    before: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None,
    cursor: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Messages before one, in the thread's order. `next`, as `cursor`, gives the page above."""
    return states.older_messages(
        _session(request), before=cursor if cursor is not None else before, limit=limit
    )


@router.post(
    "/sessions/{slug:session_name}/messages",
    auth=visitor,
    response={200: MessageOut, 201: MessageOut, **REFUSALS},
    throttle=Limit("messages", 60, per="session"),
)
def send_message(
    request: HttpRequest, session_name: SessionName, body: NewMessage
) -> Status[dict[str, Any]]:
    """Say something: 201; or 200 and the message stored before, for a repeated `client_id`."""
    message, new = verbs.write(session_name, content=body.content, client_id=body.client_id)
    return Status(201 if new else 200, events.message_json(message))


@router.post(
    "/sessions/{slug:session_name}/messages/{message_id}/feedback",
    auth=visitor,
    response={200: MessageOut, **REFUSALS},
    throttle=Limit("feedback", 60, per="session"),
)
def judge_answer(
    request: HttpRequest,
    session_name: SessionName,
    message_id: Annotated[int, Path(ge=0, le=MAX_ID)],
    body: Feedback,
) -> dict[str, Any]:
    """Say whether an answer of the AI helped; the last word counts. Two in a row that did not
    may fetch a person."""
    message = verbs.judge(session_name, message_id, helpful=body.helpful, comment=body.comment)
    return events.message_json(message)


@router.post(
    "/sessions/{slug:session_name}/escalate",
    auth=visitor,
    response={200: SessionState, **REFUSALS},
    throttle=[
        Limit("escalate", 20, per="session"),
        Limit("escalate-from", 30, per="address"),
    ],
)
def escalate(
    request: HttpRequest, session_name: SessionName, body: Escalation | None = None
) -> dict[str, Any]:
    """Ask for a person."""
    with transaction.atomic():
        handoff.escalate(session_name, text=body.reason if body else "")
        return states.state(session_name)


@router.delete(
    "/sessions/{slug:session_name}/escalate",
    auth=visitor,
    response={200: SessionState, **REFUSALS},
)
def cancel_escalation(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """Leave the line, back to the AI."""
    with transaction.atomic():
        handoff.cancel_escalation(session_name)
        return states.state(session_name)


@router.post(
    "/sessions/{slug:session_name}/stop", auth=visitor, response={200: SessionState, **REFUSALS}
)
def stop_reply(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """Stop the AI's answer; what has been shown of it is kept as an interrupted message."""
    with transaction.atomic():
        verbs.stop_reply(session_name)
        return states.state(session_name)


@router.post(
    "/sessions/{slug:session_name}/close",
    auth=visitor,
    response={200: SessionState, **REFUSALS},
)
def close_session(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """End the conversation."""
    with transaction.atomic():
        handoff.close(session_name, None, reason=Reason.CLOSED_BY_CUSTOMER)
        return states.state(session_name)


@router.post(
    "/sessions/{slug:session_name}/contact",
    auth=visitor,
    response={200: SessionState, **REFUSALS},
    throttle=[
        Limit("contact", 10, per="session"),
        Limit("contact-from", 30, per="address"),
    ],
)
def leave_contact(
    request: HttpRequest, session_name: SessionName, body: Contact
) -> dict[str, Any]:
    """Say where to be written to, and why. It may be changed."""
    with transaction.atomic():
        contact.leave(session_name, email=body.email, note=body.note)
        return states.state(session_name)


@router.get("/config", response=Config)
def config(
    request: HttpRequest, language: Annotated[str, Query(max_length=35)] = ""
) -> dict[str, Any]:
    """What a chat window shows before there is a conversation."""
    schedule, now = hours.current(), timezone.now()
    with translation.override(_language(request, language)):
        return {
            "greeting": _("Hello! Ask me anything about our shop."),
            "starter_questions": [
                _("How long does delivery take?"),
                _("How do I return something?"),
                _("Which payment methods do you accept?"),
            ],
            "hours": timetable.week(schedule),
            "hours_today": timetable.today(schedule, now),
            "time_zone": schedule.zone.key,
            "open_now": schedule.is_open(now),
            "languages": [
                {"code": code, "name": str(name)} for code, name in settings.LANGUAGES
            ],
            "message_max_characters": MESSAGE_MAX_CHARACTERS,
        }


def _session(request: HttpRequest) -> ChatSession:
    session: ChatSession = request.auth  # type: ignore[attr-defined] # ninja sets it
    return session


def _language(request: HttpRequest, asked: str) -> str:
    """The supported language nearest to what was asked for, else to the browser's wish."""
    if asked:
        try:
            known: str = translation.get_supported_language_variant(asked.lower())
        except LookupError:
            known = settings.LANGUAGE_CODE
        return known
    language: str = translation.get_language_from_request(request)
    return language
