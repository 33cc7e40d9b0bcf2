"""The other processes: whether they can be heard through the layer, as they should be.

A process hears its own messages through any Redis. That it reaches the others, only they can
show: each says something every second, and writes to the database that it lives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sse.process.registry import Peer

# A process that wrote at two moments so far apart, and was not heard in between or for the
# grace after, lives and is out of reach. One that was killed or stands still does not write.
APART_AFTER_SECONDS = 4.0
GRACE_SECONDS = 2.0
# Without a sign of life for so long it is not counted any more. More than two beats.
FRESH_SECONDS = 12.5
# Those of whom the database knows nothing are remembered so long.
STRANGER_SECONDS = 60.0


@dataclass(slots=True)
class _Watched:
    """Times are those at which this process saw the beat, by its own clock."""

    seen_at: datetime
    beat_at: float
    # The first beat since it was last heard, and the first that came long enough after that.
    silent_since: float | None = None
    proved_at: float | None = None
    # It has written while this process looked, and so is not merely left behind.
    wrote: bool = False


class Peers:
    """Used on the hub's loop."""

    def __init__(self, groups: tuple[str, ...]) -> None:
        self.groups = groups
        # One of them says that it is not heard: its events are in the log alone.
        self.unheard = False
        # Those that live, listen, and are not heard.
        self.apart: frozenset[str] = frozenset()
        # Those that have just written.
        self.living: frozenset[str] = frozenset()
        self._heard: dict[str, dict[str, float]] = {}
        self._watched: dict[str, _Watched] = {}

    def hear(self, name: str, group: str, now: float) -> None:
        try:
            self._heard[name][group] = now
        except KeyError:
            self._heard[name] = {group: now}

    def look(self, peers: Iterable[Peer], now: float, *, listening: bool) -> None:
        """Take note of what the database says of the others. `listening`: this process hears
        itself, so that it can judge."""
        listed = {peer.name: peer for peer in peers}
        self.unheard = any(peer.unheard for peer in listed.values())
        for name in [name for name in self._watched if name not in listed]:
            del self._watched[name]
        for name, groups in list(self._heard.items()):
            if name not in listed and now - max(groups.values()) > STRANGER_SECONDS:
                del self._heard[name]
        self.apart = frozenset(
            peer.name for peer in listed.values() if self._is_apart(peer, now, listening)
        )
        self.living = frozenset(
            name
            for name, watched in self._watched.items()
            if watched.wrote and now - watched.beat_at < FRESH_SECONDS
        )

    def _is_apart(self, peer: Peer, now: float, listening: bool) -> bool:
        watched = self._watched.get(peer.name)
        if watched is None:
            watched = self._watched[peer.name] = _Watched(peer.seen_at, now)
        elif watched.seen_at != peer.seen_at:
            watched.seen_at, watched.beat_at, watched.wrote = peer.seen_at, now, True
            if watched.silent_since is None:
                watched.silent_since = now
        since = watched.silent_since
        if not peer.listens or (since is not None and self._heard_at(peer.name) > since):
            watched.silent_since = watched.proved_at = None
            return False
        if not listening:
            # What was known stays so, and nothing is learned.
            watched.silent_since = None
        elif since is not None and watched.beat_at - since >= APART_AFTER_SECONDS:
            watched.proved_at = watched.proved_at or now
        return (
            watched.proved_at is not None
            and now - watched.proved_at >= GRACE_SECONDS
            and now - watched.beat_at < FRESH_SECONDS
        )

    def _heard_at(self, name: str) -> float:
        """When it was last heard in each of the groups."""
        heard = self._heard.get(name, {})
        return min(heard.get(group, 0.0) for group in self.groups)
