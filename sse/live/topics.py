"""A target's recent events in memory.

A topic keeps one window of frames for all of a process's streams; a stream is a position in it.
Nothing is queued per stream, so a slow one costs no memory: it falls out of the window and
reads on from the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from sse.log.frames import Frame
from sse.log.store import Position

WINDOW_FRAMES = 256
WINDOW_BYTES = 512 * 1024
# Events that came before their predecessor wait here for it; beyond this the log is read.
EARLY_EVENTS = 64


class Follower(Protocol):
    """Who reads a topic. `notify` is called when there may be something new."""

    @property
    def notify(self) -> Callable[[], None]: ...

    def lose(self, reason: str) -> None:
        """The log that its place was in is gone."""


class Topic:
    """One target in one process. Touched on the hub's loop only."""

    __slots__ = (
        "barrier",
        "base",
        "contradicted",
        "doubted",
        "early",
        "epoch",
        "floor",
        "followers",
        "frames",
        "heard",
        "id",
        "idle_since",
        "name",
        "seq",
        "weight",
    )

    def __init__(self, name: str, at: Position) -> None:
        self.name = name
        self.followers: set[Follower] = set()
        self.idle_since = time.monotonic()
        self.start(at)

    def start(self, at: Position) -> None:
        """Begin at a position of the log, with an empty window."""
        self.id = at.target_id
        self.epoch = at.epoch
        self.seq = at.seq  # the last durable event in the window or before it
        self.heard = at.seq  # the last durable event known to exist
        self.floor = at.seq  # the window holds every durable event after this one
        self.barrier = at.barrier
        # The log seems to be another one than this was read from: by a number that came up
        # again, or by another event under the same number, which is certain.
        self.doubted = self.contradicted = False
        self.early: dict[int, Frame] = {}
        self.frames: list[Frame] = []
        self.base = 0  # how many frames have left the window so far
        self.weight = 0

    @property
    def end(self) -> int:
        return self.base + len(self.frames)

    def notify(self) -> None:
        for follower in list(self.followers):
            follower.notify()

    def offer(self, frame: Frame) -> bool:
        """Take a live frame. False if the log must be looked at: for a missing predecessor, or
        because the topic is `doubted`.

        A durable frame seen before is dropped, and so is an ephemeral one behind a barrier.
        """
        if not frame.seq:
            if frame.since >= self.barrier:
                self._append(frame)
            return True
        if frame.seq <= self.seq:
            return self._agrees_with(frame)
        self.heard = max(self.heard, frame.seq)
        if frame.seq > self.seq + 1:
            if len(self.early) < EARLY_EVENTS:
                self.early[frame.seq] = frame
            return False
        self._append(frame)
        while (following := self.early.pop(self.seq + 1, None)) is not None:
            self._append(following)
        if self.seq < self.heard:
            return False
        self.early.clear()
        return True

    def _agrees_with(self, again: Frame) -> bool:
        """Whether a frame seen before is the same as then, as far as the window shows it."""
        if again.seq <= self.floor:
            self.doubted = True
        else:
            same = any(frame.wire == again.wire for frame in reversed(self.frames))
            self.contradicted |= not same
            self.doubted |= not same
        return not self.doubted

    def _append(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.weight += len(frame.wire)
        if frame.seq:
            self.seq = frame.seq
            if frame.barrier:
                self.barrier = frame.seq
        if len(self.frames) > 2 * WINDOW_FRAMES or self.weight > 2 * WINDOW_BYTES:
            self._trim()

    def _trim(self) -> None:
        keep, weight = 0, 0
        for frame in reversed(self.frames):
            weight += len(frame.wire)
            if keep == WINDOW_FRAMES or weight > WINDOW_BYTES:
                weight -= len(frame.wire)
                break
            keep += 1
        gone = len(self.frames) - keep
        for frame in self.frames[:gone]:
            if frame.seq:
                self.floor = frame.seq
        del self.frames[:gone]
        self.base += gone
        self.weight = weight

    def index_after(self, seq: int) -> int | None:
        """Where in the window a reader of everything up to `seq` goes on; None: in the log."""
        if seq < self.floor:
            return None
        if seq >= self.seq and not self.frames:
            return self.end
        for offset in range(len(self.frames) - 1, -1, -1):
            durable = self.frames[offset].seq
            if durable and durable <= seq:
                return self.base + offset + 1
        return self.base
