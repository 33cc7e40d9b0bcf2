"""When people are at work: as edited in the admin, else as the settings OPENING_HOURS and
TIME_ZONE have it."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.utils import timezone

from ai_chatbot.conversation.timetable import ALL_DAY, DAYS, Span, Timetable, parse
from ai_chatbot.models import Schedule, SpecialDay

logger = logging.getLogger(__name__)

# The last that was read, with the stamp of its row: what is changed in the admin has another.
_read: tuple[str, Timetable] | None = None


def current() -> Timetable:
    """One query, and three more after a change."""
    global _read
    row = Schedule.objects.only("stamp").first()
    if row is None:
        return _from_settings()
    stamp, last = row.stamp, _read
    if last is None or last[0] != stamp:
        # Read after the stamp: at least as new as that, so that nothing older is kept for it.
        last = _read = (stamp, _from_rows(row.pk))
    return last[1]


def _from_rows(pk: int) -> Timetable:
    row = Schedule.objects.filter(pk=pk).first()
    if row is None:
        return _from_settings()
    week: list[list[Span]] = [[] for _ in DAYS]
    for span in row.spans.all():
        week[span.weekday].append((span.opens, span.closes))
    return Timetable(
        zone=_zone(row.time_zone),
        week=tuple(map(tuple, week)) if any(week) else _from_settings().week,
        days={day.date: _spans(day) for day in row.days.all()},
        country=row.holidays_country,
        region=row.holidays_region,
    )


def _spans(day: SpecialDay) -> tuple[Span, ...]:
    return () if day.opens is None or day.closes is None else ((day.opens, day.closes),)


def _from_settings() -> Timetable:
    return _parsed(settings.OPENING_HOURS, settings.TIME_ZONE)


@lru_cache(maxsize=8)
def _parsed(text: str, time_zone: str) -> Timetable:
    spans = parse(text) or {day: [ALL_DAY] for day in DAYS}
    return Timetable(ZoneInfo(time_zone), tuple(tuple(spans.get(day, ())) for day in DAYS))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Known when it was saved, maybe on another machine.
        logger.warning("the time zone %r of the opening hours is not known here", name)
        return ZoneInfo(settings.TIME_ZONE)


def is_open(moment: datetime | None = None) -> bool:
    """Whether people are at work at `moment` (default: now)."""
    return current().is_open(moment or timezone.now())


def next_opening(moment: datetime | None = None) -> datetime | None:
    """When people are at work again after `moment` (default: now), in UTC; None if they are,
    or will not be within a year."""
    return current().next_opening(moment or timezone.now())
