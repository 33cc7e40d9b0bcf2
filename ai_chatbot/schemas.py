"""What the API takes and gives; the JSON of the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.encoding import punycode
from ninja import Schema
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainSerializer,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
)

from ai_chatbot import metadata
from ai_chatbot.conversation.contact import NOTE_CHARACTERS
from ai_chatbot.events import stamp
from ai_chatbot.models import MESSAGE_MAX_CHARACTERS


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("The character NUL cannot be stored.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("Half of a surrogate pair is no character.") from error
    return text


def _email(text: str) -> str:
    if text:
        try:
            validate_email(text)
        except ValidationError as error:
            raise ValueError("This is not an email address.") from error
    return text


def _reachable(text: str) -> str:
    """An address that mail is sent to, by whoever gave it: nothing that Django lets through
    and a mail server may read otherwise."""
    _email(text)
    user, _, domain = text.rpartition("@")
    # Letters that only look like those of ASCII count as such where case is ignored.
    if not user.isascii() or user.startswith('"') or "." not in domain or domain[0] == "[":
        raise ValueError("This is not an email address.")
    try:
        if len(user) <= 64 and len(user) + 1 + len(punycode(domain)) <= 254:
            return text
    except UnicodeError:
        pass
    raise ValueError("This is not an email address.")


Text = Annotated[str, AfterValidator(_storable)]
Line = Annotated[Text, StringConstraints(strip_whitespace=True)]
Content = Annotated[Line, StringConstraints(min_length=1, max_length=MESSAGE_MAX_CHARACTERS)]
Email = Annotated[Line, AfterValidator(_email), Field(max_length=254)]
Address = Annotated[Line, AfterValidator(_reachable), Field(min_length=3, max_length=254)]
ClientId = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(metadata.checked),
    Field(
        description=f"Any JSON object of at most {metadata.BYTES} bytes, with at most "
        f"{metadata.LEVELS} levels of objects and lists and {metadata.KEYS} keys."
    ),
]
# Django's own encoder leaves out a fraction of zero; a client compares with the event's text.
Moment = Annotated[
    datetime,
    PlainSerializer(stamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
SessionStatus = Literal[
    "bot_active", "pending_manual", "manual_live", "after_hours_email", "closed"
]


class Body(BaseModel):
    """What comes in is a JSON object; ninja's Schema would take anything with attributes."""


class NewSession(Body):
    nickname: Annotated[Line, Field(max_length=100)] = ""
    email: Email = ""
    language: Annotated[Line, Field(max_length=35)] = ""
    metadata: Metadata = {}


class CreatedSession(Schema):
    session_name: str
    token: str
    status: SessionStatus
    created_at: Moment
    cursor: str


class NewMessage(Body):
    content: Content
    client_id: ClientId


class Feedback(Body):
    helpful: StrictBool
    comment: Annotated[Line, Field(max_length=1000)] | None = None


class Escalation(Body):
    reason: Annotated[Line, Field(max_length=500)] = ""


class Contact(Body):
    email: Address
    note: Annotated[Line, Field(max_length=NOTE_CHARACTERS)] = ""


class Resume(Body):
    link: Annotated[
        Line,
        Field(
            min_length=1,
            max_length=2000,
            description="The link of a mail, or the value of its `resume`.",
        ),
    ]


class Resumed(Schema):
    session_name: str
    token: str


class PersonOut(Schema):
    id: int
    name: str


class SourceOut(Schema):
    title: str
    url: str
    excerpt: str


class MessageOut(Schema):
    id: int
    client_id: str | None
    reply_id: str | None
    role: Literal["user", "assistant", "agent", "system"]
    content: str
    created_at: Moment
    agent: PersonOut | None
    sources: list[SourceOut]
    status: Literal["complete", "interrupted"]
    feedback: Annotated[
        bool | None, Field(description="Whether an answer of the AI helped, if it was said.")
    ]


class QueueOut(Schema):
    position: int
    estimated_wait_seconds: int | None
    estimated_wait_max_seconds: int | None


class ReplyOut(Schema):
    """The AI's answer that is being written, as far as it is."""

    reply_id: str
    text: str


class AvailabilityOut(Schema):
    someone_on_duty: bool
    back_at: Moment | None


class ContactOut(Schema):
    email: str
    note: str


class SessionState(Schema):
    session_name: str
    nickname: str
    language: str
    status: SessionStatus
    agent: PersonOut | None
    queue: QueueOut | None
    availability: AvailabilityOut
    contact: ContactOut | None
    reply: ReplyOut | None
    awaiting_reply: bool
    messages: list[MessageOut]
    cursor: str
    created_at: Moment


class MessagePage(Schema):
    items: list[MessageOut]
    next: str | None


class Language(Schema):
    code: str
    name: str


class Config(Schema):
    greeting: str
    starter_questions: list[str]
    hours: dict[str, list[list[str]]]
    hours_today: list[list[str]]
    time_zone: str
    open_now: bool
    languages: list[Language]
    message_max_characters: int


class ErrorBody(Schema):
    code: str
    message: str
    details: dict[str, Any]


class Error(Schema):
    error: ErrorBody
