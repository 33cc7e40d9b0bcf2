"""Who is there: whose streams of a channel are open."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError

from sse.log.targets import storable
from sse.process import registry


class Reader(TypedDict):
    user_id: Any
    since: datetime


def presence(channel: str) -> list[Reader]:
    """The users who have a stream with this channel open, in any process, the first one first.

    `user_id` is a user's primary key, `since` when the oldest of the user's streams was opened;
    a stream lasts ten minutes at most and is opened anew. A process says within a fifth of a
    second what was opened and closed; what is left by one that died counts for ten seconds.

    Raises InvalidTarget.
    """
    found = registry.present_users(storable(channel))
    readers = [Reader(user_id=_key(text), since=since) for text, since in found.items()]
    return sorted(readers, key=lambda reader: reader["since"])


async def apresence(channel: str) -> list[Reader]:
    """`presence` for async callers."""
    return await sync_to_async(presence)(channel)


def _key(text: str) -> Any:
    """As the user model has it; text, where the user was of another model or there is none."""
    try:
        return apps.get_model(settings.AUTH_USER_MODEL)._meta.pk.to_python(text)
    except (LookupError, ValueError, ValidationError):
        return text
