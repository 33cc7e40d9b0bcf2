"""What follows when time passes is looked for again and again, in rounds, and found in the
database: what a process leaves undone the next round finds.

A part of a round finds its sessions without locks, a bounded number of them, and then has a
transaction for each: the session is locked, looked at again, and dealt with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import Error, connection, transaction
from django.utils import timezone

from ai_chatbot.models import ChatSession, ChatSessionQuerySet
from sse.process import leases, outages

logger = logging.getLogger(__name__)

# The duty, see sse.process.leases.
WATCH = "watch"
# Sessions that one part deals with in one round.
AT_ONCE = 100
# The lease is renewed so often in the middle of a long round.
RENEWED_SECONDS = 1.0
# One that cannot be dealt with leaves its turn to others for so long, one that fails longer.
PASSED_OVER_SECONDS = 5.0
FAILED_SECONDS = 60.0
# Those whose failure has been logged.
REMEMBERED = 1000
# Trouble that every other session would have, too.
_GENERAL = ("away", "read-only", "full")


class DutyLost(Exception):
    """The lease has run out in the middle of a round, and another process has the duty."""


class _Aside:
    """What one part of a round leaves out for a while, by the session's name."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}
        self._failed: set[tuple[str, str]] = set()

    def of(self, what: str) -> list[str]:
        now = time.monotonic()
        for key in [key for key, until in self._until.items() if until < now]:
            del self._until[key]
        return [name for part, name in self._until if part == what]

    def leave_out(self, what: str, name: str, seconds: float) -> None:
        self._until[what, name] = time.monotonic() + seconds

    def fails(self, what: str, name: str) -> bool:
        """Whether it is the first time in a row."""
        self.leave_out(what, name, FAILED_SECONDS)
        first = (what, name) not in self._failed
        if len(self._failed) >= REMEMBERED:
            self._failed.clear()
        self._failed.add((what, name))
        return first

    def succeeds(self, what: str, name: str) -> None:
        self._failed.discard((what, name))


_aside = _Aside()


class Round:
    """One round: its time, and whether it left something for the next one to do at once."""

    def __init__(self, renew: Callable[[], bool] | None = None) -> None:
        """`renew`: renews the lease, and says whether it is still held."""
        self.now = timezone.now()
        self.since = leases.counted_since(WATCH)
        self.more = False
        self._renew = renew
        self._renewed_at = time.monotonic()

    def before(self, seconds: float) -> datetime | None:
        """What happened before this was `seconds` ago. None: nothing counts as that old, since
        for a part of that time nobody looked."""
        limit = self.now - timedelta(seconds=seconds)
        return None if self.since is not None and self.since > limit else limit

    def each(
        self,
        what: str,
        sessions: ChatSessionQuerySet,
        deal: Callable[[ChatSession], bool | None],
    ) -> None:
        """Deal with these sessions, each under its lock, as long as it is one of them.

        One that somebody has locked is left to the next round. `deal` returns False for one
        that has to wait for something else. An error that concerns one session only is logged
        once, and the others go on; others are raised.
        """
        aside = _aside.of(what)
        rows = sessions.exclude(name__in=aside) if aside else sessions
        names = list(rows.values_list("name", flat=True)[:AT_ONCE])
        self.more |= len(names) == AT_ONCE
        for name in names:
            self._hold()
            try:
                dealt_with = self._deal(sessions, name, deal)
            except Error as error:
                trouble = outages.kind(error)
                if trouble in _GENERAL:
                    raise
                if trouble:
                    outages.note(f"{what}, session {name}", error)
                else:
                    self._failed(what, name)
            except Exception:  # noqa: BLE001 - whatever it is, the others are not to wait for it
                self._failed(what, name)
            else:
                _aside.succeeds(what, name)
                if not dealt_with:
                    _aside.leave_out(what, name, PASSED_OVER_SECONDS)

    @staticmethod
    @transaction.atomic
    def _deal(
        sessions: ChatSessionQuerySet, name: str, deal: Callable[[ChatSession], bool | None]
    ) -> bool:
        skip = connection.features.has_select_for_update_skip_locked
        locking = sessions.select_for_update(of=("self",), skip_locked=skip)
        session = locking.filter(name=name).first()
        return session is None or deal(session) is not False

    @staticmethod
    def _failed(what: str, name: str) -> None:
        if _aside.fails(what, name):
            logger.exception("%s: session %s is left out for a while", what, name)

    def _hold(self) -> None:
        if self._renew and time.monotonic() - self._renewed_at > RENEWED_SECONDS:
            if not self._renew():
                raise DutyLost
            self._renewed_at = time.monotonic()
