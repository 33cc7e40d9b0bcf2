"""The link of a mail that leads its reader back into the conversation.

It has a signed value: the session's name, and a digest of the address that the mail goes to.
It opens the session for CONTACT_LINK_DAYS, as often as it is followed, unless the customer has
given another address since: a mistyped one may be somebody's.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

from ai_chatbot.exceptions import BadLink, LinkExpired
from ai_chatbot.models import ChatSession

# In the query of the chat's page.
PARAMETER = "resume"
_SALT = "ai_chatbot.links"


def to(session: ChatSession) -> str:
    """For a mail to the session's contact address."""
    value = signing.dumps([session.name, _addressee(session)], salt=_SALT)
    return f"{settings.PUBLIC_URL}/chat/?{urlencode({PARAMETER: value})}"


def validity() -> timedelta:
    return timedelta(days=settings.CONTACT_LINK_DAYS)


def read(given: str) -> tuple[str, str]:
    """The session's name and whom the link was sent to, for `check`.

    `given`: the whole link or its signed value. Raises BadLink, LinkExpired.
    """
    try:
        name, addressee = signing.loads(_value(given), salt=_SALT, max_age=validity())
    except signing.SignatureExpired:
        raise LinkExpired from None
    except signing.BadSignature:
        raise BadLink from None
    return name, addressee


def check(session: ChatSession, addressee: str) -> None:
    """Raises LinkExpired if the customer is written to elsewhere by now."""
    if not constant_time_compare(addressee, _addressee(session)):
        raise LinkExpired


def _value(given: str) -> str:
    try:
        query = parse_qs(urlsplit(given).query)
    except ValueError:
        raise BadLink from None
    return query.get(PARAMETER, [given])[0]


def _addressee(session: ChatSession) -> str:
    return salted_hmac(_SALT, session.contact_email, algorithm="sha256").hexdigest()[:32]
