"""Recording what is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

from sse import send
from sse.log import encoding
from sse.log.targets import CONTROL
from sse.send import Publication

_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """`data` is as a reader gets it: what JSON made of it, or the text."""

    channel: str
    name: str
    data: Any
    durable: bool


class CapturedEvents(Sequence[CapturedEvent]):
    """What was sent, in order, without what has been rolled back by now. Equal to a list."""

    def __init__(self) -> None:
        self._publications: list[Publication] = []

    def _take(self, publication: Publication) -> None:
        # Other words of the app are no events of the project's.
        if publication.channel != CONTROL:
            self._publications.append(publication)

    def _now(self) -> list[CapturedEvent]:
        return [_captured(each) for each in self._publications if not each.rolled_back]

    @overload
    def __getitem__(self, index: int) -> CapturedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[CapturedEvent]: ...
    def __getitem__(self, index: int | slice) -> CapturedEvent | list[CapturedEvent]:
        return self._now()[index]

    def __len__(self) -> int:
        return len(self._now())

    def __eq__(self, other: object) -> bool:
        return self._now() == (other._now() if isinstance(other, CapturedEvents) else other)

    __hash__ = None  # type: ignore[assignment] # as a list

    def __repr__(self) -> str:
        return repr(self._now())


@contextmanager
def capture_events() -> Iterator[CapturedEvents]:
    """Record the events that are sent meanwhile, at the call, by any thread of this process.

    They are sent all the same. What a savepoint or a transaction has rolled back is left out
    from then on. May be nested: each has all that is sent within it.
    """
    captured = CapturedEvents()
    witness = captured._take
    with _lock:
        send.witnesses = (*send.witnesses, witness)
    try:
        yield captured
    finally:
        with _lock:
            send.witnesses = tuple(each for each in send.witnesses if each != witness)


def _captured(publication: Publication) -> CapturedEvent:
    text = publication.event.data
    name, _ = encoding.parts(text)
    data = encoding.data_of(text)
    return CapturedEvent(publication.channel, name, data, bool(publication.event.seq))
