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
├── NoticeNotFound   404  none of this agent's
├── AmbiguousAgent   422  a text that is one agent's username and another's id
├── TransferToOwner  422
├── TransferPending  409  the session waits for another agent's answer already
├── TransferEnded    409  answered, cancelled, too late, or the session has moved on
├── TransferNotFound 404
├── OwnerHasLeft     409  the session's owner is no agent any more
├── AssistOfOneself  422
├── AssistOpen       409  the colleague was asked something else and has not answered
├── AssistEnded      409
├── AssistNotFound   404
├── NotYourRequest   403  for another party of the request
├── NoteNotFound     404
└── NotTheAuthor     403
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


class AmbiguousAgent(WorkbenchError):
    status = 422
    code = "AMBIGUOUS_AGENT"
    message = "Several agents can be meant by this; give the id as a number."


class TransferToOwner(WorkbenchError):
    status = 422
    code = "TRANSFER_TO_OWNER"
    message = "The agent has this conversation already."


class TransferPending(WorkbenchError):
    code = "TRANSFER_PENDING"
    message = "Another agent has been asked already and has not answered yet."


class TransferEnded(WorkbenchError):
    code = "TRANSFER_ENDED"
    message = "This request is over."


class TransferNotFound(WorkbenchError):
    status = 404
    code = "TRANSFER_NOT_FOUND"
    message = "There is no such request."


class OwnerHasLeft(WorkbenchError):
    code = "OWNER_HAS_LEFT"
    message = "Whoever has this conversation is no agent any more; assign it instead."


class AssistOfOneself(WorkbenchError):
    status = 422
    code = "ASSIST_OF_ONESELF"
    message = "Ask somebody else."


class AssistOpen(WorkbenchError):
    code = "ASSIST_OPEN"
    message = "This colleague has been asked something else and has not answered yet."


class AssistEnded(WorkbenchError):
    code = "ASSIST_ENDED"
    message = "This request is over."


class AssistNotFound(WorkbenchError):
    status = 404
    code = "ASSIST_NOT_FOUND"
    message = "There is no such request."


class NotYourRequest(WorkbenchError):
    status = 403
    code = "NOT_YOUR_REQUEST"
    message = "This is for somebody else to do."


class NoteNotFound(WorkbenchError):
    status = 404
    code = "NOTE_NOT_FOUND"
    message = "There is no such note."


class NotTheAuthor(WorkbenchError):
    status = 403
    code = "NOT_THE_AUTHOR"
    message = "Somebody else wrote this note."
