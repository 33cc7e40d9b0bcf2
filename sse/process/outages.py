"""What is the matter with the database, for those who have to say so."""

from __future__ import annotations

import logging
import threading
import time

from django.db import Error, InterfaceError, OperationalError

logger = logging.getLogger(__name__)

# While it lasts, each kind of trouble is logged once in so many seconds.
SAID_EVERY_SECONDS = 5.0

UNMIGRATED = "The database lacks a table: run manage.py migrate."

# PostgreSQL's SQLSTATEs and SQLite's primary result codes.
_KINDS = {
    "25006": "read-only",
    "53100": "full",
    "53200": "busy",
    "53300": "busy",
    "55P03": "busy",
    "57014": "busy",
    "40001": "busy",
    "40P01": "busy",
    # A mistake of ours, such as SQL that it does not understand.
    1: "",
    5: "busy",
    6: "busy",
    8: "read-only",
    13: "full",
}


def kind(error: BaseException | None) -> str:
    """`read-only`, `full`, `busy` (a lock or a slow statement) or `away`; "" when the error is
    not the database's own trouble."""
    if not isinstance(error, Error):
        return ""
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    known = _KINDS.get(getattr(cause, "sqlstate", None) if code is None else code & 0xFF)
    if known is not None:
        return known
    return "away" if isinstance(error, (OperationalError, InterfaceError)) else ""


def unmigrated(error: BaseException | None) -> bool:
    """Whether a table is missing, which is no trouble of the database's."""
    cause = error.__cause__ if isinstance(error, Error) else None
    return getattr(cause, "sqlstate", None) == "42P01" or "no such table" in str(cause)


class _Said:
    """Keeps an outage from filling the log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def may_say(self, what: str) -> int | None:
        """How many were left out since the last one; None to leave this one out, too."""
        now = time.monotonic()
        with self._lock:
            if now < self._next.get(what, 0.0):
                self._left_out[what] = self._left_out.get(what, 0) + 1
                return None
            self._next[what] = now + SAID_EVERY_SECONDS
            return self._left_out.pop(what, 0)


_said = _Said()


def note(what: str, error: BaseException) -> None:
    """Log in one line that the database failed `what`; seldom, while it keeps failing."""
    trouble = kind(error) or ("unmigrated" if unmigrated(error) else "failed")
    left_out = _said.may_say(trouble)
    if left_out is None:
        return
    text = " ".join(str(error).split()) or type(error).__name__
    also = f" (and {left_out} more like it)" if left_out else ""
    logger.error("the database is %s: %s: %s%s", trouble, what, text, also)
