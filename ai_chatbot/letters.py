"""What stands in the mails: composed when they are sent, from what is true then."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.encoding import punycode
from django.utils.translation import gettext as _
from django.utils.translation import override

from ai_chatbot import links
from ai_chatbot.conversation import presence
from ai_chatbot.models import ChatSession, Mail, Message, MessageRole, Status
from ai_chatbot.texts import cut

# By then each process has said which streams it has open (sse.live.upkeep.HEARTBEAT_SECONDS).
SETTLES = timedelta(seconds=7)
TRANSCRIPT_MESSAGES = 100
# Of one message: what is longer is read in the workbench.
TRANSCRIPT_CHARACTERS = 2000
SUBJECT_CHARACTERS = 100
# Named in References.
MAILS_NAMED = 20


class TooEarly(Exception):
    """It will be known then whether the customer has read it already."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


def write(mail: Mail) -> EmailMessage | None:
    """The mail, or None if nobody needs it any more. Raises TooEarly."""
    if mail.kind == Mail.Kind.STAFF:
        return _to_staff(mail.session) if settings.STAFF_EMAIL else None
    if mail.message is None or _was_read(mail.session, mail.message):
        return None
    return _reply(mail, mail.message)


def _was_read(session: ChatSession, message: Message) -> bool:
    """Whether the customer's page has shown the message; what is not certain is no.

    A page that is open may have lost its network: only time tells. Raises TooEarly.
    """
    if session.messages.filter(role=MessageRole.USER, pk__gt=message.pk).exists():
        return True
    certain_at = message.created_at + presence.silence()
    seen = session.customer_seen_at
    if seen is not None and seen > certain_at + SETTLES:
        return True
    if presence.has_shown(session, message.created_at):
        return True
    if timezone.now() < certain_at + SETTLES and presence.is_here(session):
        raise TooEarly(certain_at + SETTLES)
    return False


def _to_staff(session: ChatSession) -> EmailMessage:
    with override(settings.LANGUAGE_CODE):
        name = _line(session.nickname) or _("A customer")
        subject = _("%(name)s would like an answer by email") % {"name": name}
        live = session.status == Status.MANUAL_LIVE
        text = render_to_string(
            "ai_chatbot/mail/staff.txt",
            {
                "session": session,
                "name": name,
                "handoff": None if live else session.handoffs.first(),
                # What is said in a live conversation is for those who may follow it.
                "live": live,
                "transcript": [] if live else _transcript(session),
                "link": f"{settings.WORKBENCH_URL}/workbench/#{session.name}",
            },
        )
    return EmailMessage(
        subject=_line(subject),
        body=text,
        to=settings.STAFF_EMAIL,
        # An answer by mail reaches the customer.
        reply_to=[session.contact_email],
        headers={**_headers(), "Message-ID": _thread_id(session)},
    )


def _reply(mail: Mail, message: Message) -> EmailMessage:
    session = mail.session
    earlier = session.mails.filter(
        kind=Mail.Kind.REPLY, state=Mail.State.SENT, pk__lt=mail.pk
    ).order_by("-pk")
    # From the first one on, which staff has: an answer by mail is found beside it.
    keys = list(earlier.values_list("pk", flat=True)[:MAILS_NAMED])[::-1]
    references = [_thread_id(session), *(_mail_id(session, key) for key in keys)]
    with override(session.language):
        context = {
            "message": message,
            "link": links.to(session),
            "valid_until": timezone.now() + links.validity(),
            "answered_by_mail": bool(settings.STAFF_EMAIL),
        }
        composed = EmailMultiAlternatives(
            subject=_line(_("Our answer to your message")),
            body=render_to_string("ai_chatbot/mail/reply.txt", context),
            to=[session.contact_email],
            reply_to=settings.STAFF_EMAIL[:1],
            headers={
                **_headers(),
                "Message-ID": _mail_id(session, mail.pk),
                "In-Reply-To": references[-1],
                "References": " ".join(references),
            },
        )
        page = render_to_string("ai_chatbot/mail/reply.html", context)
    composed.attach_alternative(page, "text/html")
    return composed


def _transcript(session: ChatSession) -> list[dict[str, Any]]:
    latest = session.messages.order_by("-pk")[:TRANSCRIPT_MESSAGES]
    return [
        {
            "at": message.created_at,
            "who": message.agent_name or MessageRole(message.role).label,
            "text": cut(message.content, TRANSCRIPT_CHARACTERS),
        }
        for message in reversed(latest)
    ]


def _line(text: str) -> str:
    """For a header: one line, without characters that cannot be seen."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return cut(" ".join(shown.split()), SUBJECT_CHARACTERS)


def _headers() -> dict[str, str]:
    """No robot is to answer."""
    return {"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"}


def _thread_id(session: ChatSession) -> str:
    return f"<{_digest(session)}@{_domain()}>"


def _mail_id(session: ChatSession, key: int) -> str:
    """The same at every try, so that a mail which comes twice is known to be one."""
    return f"<{_digest(session)}.{key}@{_domain()}>"


def _digest(session: ChatSession) -> str:
    return salted_hmac("ai_chatbot.letters", session.name, algorithm="sha256").hexdigest()[:32]


def _domain() -> str:
    """The sender's, for ids that are nobody else's."""
    return punycode(parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]) or "localhost"
