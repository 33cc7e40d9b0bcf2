"""Opening hours, from the setting OPENING_HOURS."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from django.conf import settings
from django.utils import timezone

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RULE = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+"
    r"(?P<opens>\d{2}:\d{2})-(?P<closes>\d{2}:\d{2})"
)


class InvalidHours(ValueError):
    pass


def parse(text: str) -> dict[str, list[tuple[time, time]]]:
    """`mon-fri 09:00-18:00; sat 10:00-14:00` by day. Empty text: {}, which is always open.

    A span whose end is not after its start, an unknown day, anything else: InvalidHours.
    """
    spans: dict[str, list[tuple[time, time]]] = {}
    for rule in filter(None, (part.strip().lower() for part in text.split(";"))):
        match = _RULE.fullmatch(rule)
        if not match:
            raise InvalidHours(f"{rule!r} is not like 'mon-fri 09:00-18:00'.")
        first, last = match["first"], match["last"] or match["first"]
        if first not in DAYS or last not in DAYS or DAYS.index(last) < DAYS.index(first):
            raise InvalidHours(f"{rule!r} names no span of days from mon to sun.")
        try:
            opens, closes = time.fromisoformat(match["opens"]), _closing(match["closes"])
        except ValueError as error:
            raise InvalidHours(f"{rule!r}: {error}.") from error
        if closes <= opens:
            raise InvalidHours(f"{rule!r} closes before it opens.")
        for day in DAYS[DAYS.index(first) : DAYS.index(last) + 1]:
            spans.setdefault(day, []).append((opens, closes))
    return spans


def _closing(text: str) -> time:
    return time.max if text == "24:00" else time.fromisoformat(text)


def clock(moment: time) -> str:
    """`HH:MM`, as in the setting: a day ends at 24:00."""
    return "24:00" if moment == time.max else f"{moment:%H:%M}"


def is_open(moment: datetime | None = None) -> bool:
    """Whether people are at work at `moment` (default: now), in the site's time zone."""
    spans = parse(settings.OPENING_HOURS)
    if not spans:
        return True
    local = timezone.localtime(moment)
    return any(
        opens <= local.time() < closes for opens, closes in spans.get(DAYS[local.weekday()], ())
    )


def next_opening(moment: datetime | None = None) -> datetime | None:
    """When people are at work again after `moment` (default: now), None if they are now, or
    never."""
    spans = parse(settings.OPENING_HOURS)
    if not spans or is_open(moment):
        return None
    local = timezone.localtime(moment)
    for days in range(8):
        day = local.date() + timedelta(days=days)
        for opens, _closes in sorted(spans.get(DAYS[day.weekday()], ())):
            begins = datetime.combine(day, opens, tzinfo=local.tzinfo)
            if begins > local:
                return begins
    return None
