"""Where channels stand now."""

from __future__ import annotations

from asgiref.sync import sync_to_async

from sse.log import cursors, store
from sse.log.targets import storable


def cursor(*channels: str) -> str:
    """The cursor of "now": a stream opened with it gets everything that is sent later.

    Read it before the state that it is to go with, and nothing falls in between.

    Raises InvalidTarget.
    """
    here = (store.position(name) for name in map(storable, channels))
    return cursors.join(cursors.one(at.epoch, at.seq) for at in here)


async def acursor(*channels: str) -> str:
    """`cursor` for async callers."""
    return await sync_to_async(cursor)(*channels)
