"""Ending streams whose reader has lost the right to them."""

from __future__ import annotations

from typing import Any

from sse.live.subjects import subject_of_user
from sse.log import encoding
from sse.log.targets import CONTROL
from sse.send import send_durable


def close_streams(whose: Any, *, unless: str = "") -> None:
    """End every open stream of a user, or with this subject, in every process, once this
    transaction commits.

    `whose` is a user, or one of the `subjects` that the streams' grants name; streams that have
    `unless` among theirs stay open. Part of the transaction, and holds the lock of CONTROL's
    target until its end: the last in the order of locks.

    Raises ValueError for a user who has not been saved, or is anonymous.
    """
    subject = whose if isinstance(whose, str) else _subject_of(whose)
    payload = {"subject": subject, "unless": unless}
    send_durable(CONTROL, CONTROL, encoding.encode("revoke", payload, json_encode=True))


def _subject_of(user: Any) -> str:
    if user.pk is None:
        raise ValueError("Streams of nobody cannot be closed: the user has no primary key.")
    return subject_of_user(user.pk)
