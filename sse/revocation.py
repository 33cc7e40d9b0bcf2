"""Ending streams whose reader has lost the right to them."""

from __future__ import annotations

from sse.log.targets import CONTROL
from sse.messages import enqueue_sse_message_sync


def revoke_streams(subject: str, *, unless: str = "") -> None:
    """End every open stream of the subject, in every process, once this transaction commits.

    `subject` is one of the `subjects` that the streams' grants name; streams that have `unless`
    among theirs stay open. Holds the lock of CONTROL's target until then, the last in the order
    of locks.
    """
    enqueue_sse_message_sync(
        CONTROL, {"type": "revoke", "payload": {"subject": subject, "unless": unless}}
    )
