"""Which processes serve streams, and which streams are open in them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from sse.models import OpenStream, Process

logger = logging.getLogger("sse.process.registry")

# A process that has not been heard of for so long is held to be dead, its streams with it.
SILENCE = timedelta(seconds=20)
# One that has missed a beat: its streams are no sign any more that somebody is there.
FAINT = timedelta(seconds=10)
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream as the others see it. `target`, its first, and `channels`, all of them, as
    sse.log.targets.storable gives them; `user_id` is the key of its reader as text."""

    name: str
    target: str
    subject: str
    address: str
    opened_at: datetime
    user_id: str = ""
    channels: tuple[str, ...] = ()

    @property
    def further(self) -> set[str]:
        """What is stored of its channels beside the first: nothing if nobody asks for it."""
        return set(self.channels) - {self.target} if self.user_id or self.subject else set()


@dataclass(frozen=True, slots=True)
class Peer:
    """Another living process, by its last word. `unheard`: its events are in the log alone;
    `listens`: it hears itself through Redis."""

    name: str
    unheard: bool
    listens: bool
    seen_at: datetime


def beat(
    name: str,
    unheard: bool,
    listens: bool,
    streams: int,
    opened: Sequence[Opened],
    closed: Sequence[str],
) -> bool:
    """Say that the process lives, and which streams it opened and closed since the last time.

    Returns whether nothing was known of it: held to be dead, it has to name all its streams.
    """
    Process = apps.get_model("sse", "Process")
    OpenStream = apps.get_model("sse", "OpenStream")
    now = timezone.now()
    state = {"unheard": unheard, "listens": listens, "streams": streams, "seen_at": now}
    with transaction.atomic():
        process, unknown = Process.objects.update_or_create(
            name=name,
            defaults=state,
            create_defaults={**state, "started_at": now},
        )
        for start in range(0, len(closed), _ROWS_AT_ONCE):
            gone = closed[start : start + _ROWS_AT_ONCE]
            OpenStream.objects.filter(name__in=gone).delete()
        for start in range(0, len(opened), _ROWS_AT_ONCE):
            _add(process, opened[start : start + _ROWS_AT_ONCE])
    return bool(unknown)


def _add(process: Process, streams: Sequence[Opened]) -> None:
    """Store the streams. One that the database refuses is left out, and the others are not."""
    OpenStream = apps.get_model("sse", "OpenStream")
    FurtherChannel = apps.get_model("sse", "FurtherChannel")
    rows = [
        OpenStream(
            process=process,
            name=stream.name,
            target=stream.target,
            user_id=stream.user_id,
            subject=stream.subject,
            address=stream.address,
            opened_at=stream.opened_at,
        )
        for stream in streams
    ]
    further = [
        FurtherChannel(stream_id=stream.name, channel=channel)
        for stream in streams
        for channel in stream.further
    ]
    try:
        with transaction.atomic():
            OpenStream.objects.bulk_create(rows, ignore_conflicts=True)
            FurtherChannel.objects.bulk_create(
                further, batch_size=_ROWS_AT_ONCE, ignore_conflicts=True
            )
    except (DataError, IntegrityError, ValueError) as error:
        if len(streams) == 1:
            logger.warning("stream %s is not listed: %s", streams[0].name, type(error).__name__)
            return
        half = len(streams) // 2
        _add(process, streams[:half])
        _add(process, streams[half:])


def leave(name: str) -> None:
    """The process ends, and its streams with it."""
    apps.get_model("sse", "Process").objects.filter(name=name).delete()


def others(name: str) -> list[Peer]:
    """The living processes besides this one."""
    living = apps.get_model("sse", "Process").objects.filter(
        seen_at__gte=timezone.now() - SILENCE
    )
    found = living.exclude(name=name).values_list("name", "unheard", "listens", "seen_at")
    return [Peer(*row) for row in found]


def forget_silent() -> None:
    """Delete what dead processes left behind."""
    apps.get_model("sse", "Process").objects.filter(
        seen_at__lt=timezone.now() - SILENCE
    ).delete()


def open_streams() -> QuerySet[OpenStream]:
    """The streams of living processes."""
    return _streams_of_processes_seen_within(SILENCE)


def present_streams() -> QuerySet[OpenStream]:
    """The streams that are a sign that their readers are there: of processes that have just
    been heard of, where others' are merely not known to be gone."""
    return _streams_of_processes_seen_within(FAINT)


def _streams_of_processes_seen_within(age: timedelta) -> QuerySet[OpenStream]:
    found: QuerySet[OpenStream] = apps.get_model("sse", "OpenStream").objects.filter(
        process__seen_at__gte=timezone.now() - age
    )
    return found


def present_subjects(prefix: str) -> set[str]:
    """The subjects beginning with `prefix` that have such a stream."""
    found = present_streams().filter(subject__startswith=prefix)
    return set(found.values_list("subject", flat=True))


def present_users(channel: str) -> dict[str, datetime]:
    """Whose streams of the channel are such a sign: their keys as text, and since when the
    first of each has been open. `channel` as sse.log.targets.storable gives it."""
    whose = present_streams().exclude(user_id="").values_list("user_id", "opened_at")
    # Two indexes; an "or" would use neither.
    rows = whose.filter(target=channel).union(whose.filter(further__channel=channel), all=True)
    since: dict[str, datetime] = {}
    for user_id, opened_at in rows:
        since[user_id] = min(opened_at, since.get(user_id, opened_at))
    return since
