"""
WorkbenchError(ConversationError)
├── InvalidLogin     401  wrong name or password, or no agent
├── NotAnAgent       403  logged in, but without an agent profile
├── CsrfFailed       403  a page's cookie without its CSRF token
├── MayNotFollow     403  another agent's live conversation
├── NotPermitted     403  for another role than the caller's
├── AgentNotFound    404
├── AtCapacity       409  the agent has as many live conversations as may be
├── AgentUnavailable 409  the agent cannot be given a conversation, and why
└── NoticeNotFound   404  none of this agent's
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


class NotPermitted(WorkbenchError):
    status = 403
    code = "NOT_PERMITTED"
    message = "Your role does not permit this."


class AgentNotFound(WorkbenchError):
    status = 404
    code = "AGENT_NOT_FOUND"
    message = "There is no such agent."


class AtCapacity(WorkbenchError):
    code = "AT_CAPACITY"
    message = "As many conversations as possible at once are live already."


class AgentUnavailable(WorkbenchError):
    code = "AGENT_UNAVAILABLE"
    message = "This agent cannot be given a conversation now."


class NoticeNotFound(WorkbenchError):
    status = 404
    code = "NOTICE_NOT_FOUND"
    message = "There is no such notice."
