"""
ConversationError           refused, and nothing was changed
├── SessionNotFound         404
├── InvalidToken            401  no token, or not one of ours
├── ForeignSession          403  a token of another session
├── BadLink                 403  no link of a mail of ours
├── LinkExpired             410  one whose time is over
├── MessageNotFound         404
├── NotAnAnswer             409  feedback on what the AI did not say
├── SessionClosed           409
├── ManualInProgress        409  a person was asked for or is there already
├── NotPending              409  nothing to cancel
├── AlreadyTaken            409  another agent has it
├── NotLive                 409  nobody has it
├── IllegalTransition       409  the status table does not know this step
└── NotAssigned             403  not this agent's conversation
"""

from __future__ import annotations

from typing import Any


class ConversationError(Exception):
    """Carries the HTTP status, code and details of its answer."""

    status = 409
    code = "CONFLICT"
    message = "This cannot be done now."

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message or self.message)
        self.details = details


class SessionNotFound(ConversationError):
    status = 404
    code = "SESSION_NOT_FOUND"
    message = "There is no such session."


class InvalidToken(ConversationError):
    status = 401
    code = "INVALID_TOKEN"
    message = "A valid token is needed."


class ForeignSession(ConversationError):
    status = 403
    code = "FORBIDDEN"
    message = "This token belongs to another session."


class BadLink(ConversationError):
    status = 403
    code = "BAD_LINK"
    message = "This link does not lead to a conversation."


class LinkExpired(ConversationError):
    status = 410
    code = "LINK_EXPIRED"
    message = "This link has expired."


class MessageNotFound(ConversationError):
    status = 404
    code = "MESSAGE_NOT_FOUND"
    message = "There is no such message in this session."


class NotAnAnswer(ConversationError):
    code = "NOT_AN_ANSWER"
    message = "Only an answer of the AI can be judged."


class SessionClosed(ConversationError):
    code = "SESSION_CLOSED"
    message = "The session is closed."


class ManualInProgress(ConversationError):
    code = "MANUAL_IN_PROGRESS"
    message = "A person has been asked for already."


class NotPending(ConversationError):
    code = "NOT_PENDING"
    message = "The session is not waiting for a person."


class AlreadyTaken(ConversationError):
    code = "ALREADY_TAKEN"
    message = "Another agent has this session."


class NotLive(ConversationError):
    code = "NOT_LIVE"
    message = "No agent has this session."


class IllegalTransition(ConversationError):
    code = "ILLEGAL_TRANSITION"
    message = "The session cannot change in this way."


class NotAssigned(ConversationError):
    status = 403
    code = "NOT_ASSIGNED"
    message = "This session is not assigned to you."
