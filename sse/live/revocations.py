"""Streams whose reader has lost the right to them are ended, in every process.

Revocations are events of a target of their own, so none is lost. This process's streams follow
it together.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from typing import Any, Protocol, Self

from sse.conf import conf
from sse.live.counts import Counts
from sse.live.subjects import is_of_a_session
from sse.live.subscriptions import Subscription
from sse.log.targets import CONTROL

logger = logging.getLogger("sse.live.revocations")

# For streams that are being opened meanwhile.
KEPT = 256
# Sessions that are over.
SESSIONS_KEPT = 10_000
BATCH_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Revocation:
    at: float
    subject: str | None  # None: everyone
    unless: str = ""

    @classmethod
    def of(cls, payload: Any, at: float) -> Self:
        """Raises KeyError or TypeError for what is none."""
        subject, unless = payload["subject"], payload["unless"]
        if not (isinstance(subject, str) and isinstance(unless, str)):
            raise TypeError("A revocation's subjects are strings.")
        return cls(at, subject, unless)

    def concerns(self, subjects: Set[str]) -> bool:
        return self.subject is None or (
            self.subject in subjects and self.unless not in subjects
        )


class Revocable(Protocol):
    @property
    def subjects(self) -> Set[str]: ...

    def end(self, reason: str) -> None: ...


class Revocations:
    """Used on the hub's loop."""

    def __init__(
        self,
        subscribe: Callable[[Callable[[], None]], Subscription],
        streams: Collection[Revocable],
        counts: Counts,
        now: Callable[[], float],
    ) -> None:
        """`streams` are those that are open, now and later; `now` is the loop's time."""
        self._subscribe = subscribe
        self._control: Subscription | None = None
        self._streams = streams
        self._counts = counts
        self._now = now
        self._latest: deque[Revocation] = deque(maxlen=KEPT)
        # The sessions' subjects, the one that ended first first, and when that was.
        self._sessions: dict[str, float] = {}

    @property
    def heeded(self) -> bool:
        """Whether they reach this process's streams."""
        return self._control is not None

    async def heed(self) -> None:
        """Raises DatabaseError."""
        if self.heeded:
            return
        control = self._subscribe(self._read)
        await control.open((CONTROL,), None)
        if self._control is None:
            self._control = control
        else:
            # Somebody else was waiting for the same.
            control.close()

    def logged_out(self, subjects: Set[str]) -> bool:
        """Whether one is of a session that is over: its key does not come back. Logout tells
        us before it deletes the session, which until then lets its user in."""
        oldest = self._now() - conf.SSE_MAX_STREAM_SECONDS
        return any(self._sessions.get(subject, oldest) > oldest for subject in subjects)

    def since(self, moment: float, subjects: Set[str]) -> bool:
        """Whether a right that was looked up at this time of the loop may be gone since."""
        for revocation in reversed(self._latest):
            if revocation.at < moment:
                return False
            if revocation.concerns(subjects):
                return True
        return len(self._latest) == KEPT

    def _read(self) -> None:
        control = self._control
        if control is None:
            return
        if control.behind or control.reset:
            # Some were missed: whoever is connected has to prove itself again.
            control.lose("behind")
            control.reset = None
            self._revoke(Revocation(self._now(), None))
        while taken := control.take(BATCH_BYTES):
            for frame, _ in taken:
                event = frame.data
                if event["type"] != "revoke":
                    continue
                try:
                    revocation = Revocation.of(event["payload"], self._now())
                except (KeyError, TypeError):
                    logger.exception("event %d of %s revokes nothing", frame.seq, CONTROL)
                else:
                    self._revoke(revocation)

    def _revoke(self, revocation: Revocation) -> None:
        self._latest.append(revocation)
        if revocation.subject and is_of_a_session(revocation.subject):
            self._end_session(revocation.subject, revocation.at)
        for stream in list(self._streams):
            if revocation.concerns(stream.subjects):
                self._counts.revoked += 1
                stream.end("revoked")

    def _end_session(self, subject: str, at: float) -> None:
        sessions = self._sessions
        sessions.pop(subject, None)
        sessions[subject] = at
        if len(sessions) > SESSIONS_KEPT:
            del sessions[next(iter(sessions))]
