"""
WorkbenchError(ConversationError)
├── InvalidLogin     401  wrong name or password, or no agent
├── NotAnAgent       403  logged in, but without an agent profile
├── CsrfFailed       403  a page's cookie without its CSRF token
└── MayNotFollow     403  another agent's live conversation
"""

from ai_chatbot.exceptions import ConversationError


class WorkbenchError(ConversationError):
    pass


class InvalidLogin(WorkbenchError):
    status = 401
    code = "INVALID_LOGIN"
    message = "The username or the password is wrong."


class NotAnAgent(WorkbenchError):
    status = 403
    code = "NOT_AN_AGENT"
    message = "This user is not an agent."


class CsrfFailed(WorkbenchError):
    status = 403
    code = "CSRF_FAILED"
    message = "The CSRF token is missing or wrong."


class MayNotFollow(WorkbenchError):
    status = 403
    code = "NOT_ASSIGNED"
    message = "Another agent has this conversation."
