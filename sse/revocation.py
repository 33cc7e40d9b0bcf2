"""Ending streams whose reader has lost the right to them."""

from __future__ import annotations

from sse.log.targets import CONTROL
from sse.send import send_event


def revoke_streams(subject: str, *, unless: str = "") -> None:
    """End every open stream of the subject, in every process, once this transaction commits.

    `subject` is one of the `subjects` that the streams' grants name; streams that have `unless`
    among theirs stay open. Holds the lock of CONTROL's target until then, the last in the order
    of locks.
    """
    send_event(CONTROL, "revoke", {"subject": subject, "unless": unless})
