"""Streams whose reader has lost the right to them are ended, in every process.

Revocations are events of a target of their own, so none is lost. This process's streams follow
it together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from typing import Protocol

from sse.live.counts import Counts
from sse.live.subscriptions import Subscription
from sse.log.targets import CONTROL, storable

# For streams that are being opened meanwhile.
KEPT = 256
BATCH_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Revocation:
    at: float
    subject: str | None  # None: everyone
    unless: str = ""

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
        self._control = subscribe(self._read)
        self._streams = streams
        self._counts = counts
        self._now = now
        self._latest: deque[Revocation] = deque(maxlen=KEPT)

    @property
    def heeded(self) -> bool:
        """Whether they reach this process's streams."""
        return self._control.opened

    async def heed(self) -> None:
        if not self._control.opened:
            await self._control.open((storable(CONTROL),), None)

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
        if not control.opened:
            return
        if control.behind or control.reset:
            # Some were missed: whoever is connected has to prove itself again.
            control.lose("behind")
            control.reset = None
            self._revoke(Revocation(self._now(), None))
        while taken := control.take(BATCH_BYTES):
            for frame, _ in taken:
                event = frame.data
                if event["type"] == "revoke":
                    self._revoke(Revocation(self._now(), **event["payload"]))

    def _revoke(self, revocation: Revocation) -> None:
        self._latest.append(revocation)
        for stream in list(self._streams):
            if revocation.concerns(stream.subjects):
                self._counts.revoked += 1
                stream.end("revoked")
