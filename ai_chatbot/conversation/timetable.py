"""The week's opening times, days of their own and public holidays, and what they come to in a
time zone.

A span belongs to the day on which it begins, also where it goes on over midnight. It is one
stretch of time on every day: where clocks are put back it begins and ends when they show its
times first; what of it falls into an hour that clocks leave out does not take place.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

logger = logging.getLogger(__name__)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = time(0)
# Whoever is closed for longer has closed for good.
LOOKED_AHEAD = timedelta(days=366)
_RULE = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+"
    r"(?P<opens>\d{2}:\d{2})-(?P<closes>\d{2}:\d{2})"
)

# Opens, closes; over midnight where it does not close after it opens.
Span = tuple[time, time]
ALL_DAY: Span = (MIDNIGHT, MIDNIGHT)


class InvalidHours(ValueError):
    pass


class UnknownHolidays(ValueError):
    """The holidays package knows no such country, or no such region of it."""


# --- From the settings --------------------------------------------------------------------


def parse(text: str) -> dict[str, list[Span]]:
    """`mon-fri 09:00-18:00; sat 22:00-06:00` by day. Empty text: {}, which is always open.

    A span that ends as it begins, an unknown day, anything else: InvalidHours.
    """
    spans: dict[str, list[Span]] = {}
    for rule in filter(None, (part.strip().lower() for part in text.split(";"))):
        match = _RULE.fullmatch(rule)
        if not match:
            raise InvalidHours(f"{rule!r} is not like 'mon-fri 09:00-18:00'.")
        first, last = match["first"], match["last"] or match["first"]
        if first not in DAYS or last not in DAYS or DAYS.index(last) < DAYS.index(first):
            raise InvalidHours(f"{rule!r} names no span of days from mon to sun.")
        if match["opens"] == match["closes"]:
            raise InvalidHours(f"{rule!r} closes when it opens; a whole day is 00:00-24:00.")
        try:
            opens, closes = time.fromisoformat(match["opens"]), _closing(match["closes"])
        except ValueError as error:
            raise InvalidHours(f"{rule!r}: {error}.") from error
        for day in DAYS[DAYS.index(first) : DAYS.index(last) + 1]:
            spans.setdefault(day, []).append((opens, closes))
    return spans


def _closing(text: str) -> time:
    return MIDNIGHT if text == "24:00" else time.fromisoformat(text)


# --- Public holidays ----------------------------------------------------------------------


@lru_cache(maxsize=64)
def public_holidays(country: str, region: str, year: int) -> frozenset[date]:
    """Raises UnknownHolidays."""
    # 0.2 s and 18 MB in the first call: the package loads every country to give one. Who names
    # no country does without.
    import holidays

    try:
        known = holidays.country_holidays(
            country, subdiv=region or None, years=year, expand=False
        )
    except NotImplementedError as error:
        raise UnknownHolidays(str(error)) from error
    return frozenset(known)


def regions(country: str) -> list[str]:
    """The codes of its regions. Raises UnknownHolidays."""
    import holidays

    known = holidays.list_supported_countries()
    if country not in known:
        raise UnknownHolidays(f"There are no public holidays of {country!r}.")
    return sorted(known[country])


# --- What they come to --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timetable:
    """`week`: seven lists of spans from Monday on. `days`: what counts on these days instead,
    none for closed; it goes before public holidays, which are closed."""

    zone: ZoneInfo
    week: tuple[tuple[Span, ...], ...]
    days: Mapping[date, tuple[Span, ...]] = field(default_factory=dict)
    country: str = ""
    region: str = ""

    def on(self, day: date) -> tuple[Span, ...]:
        """The spans that begin on that day."""
        if day in self.days:
            return self.days[day]
        spans = self.week[day.weekday()]
        return () if spans and self._is_holiday(day) else spans

    def is_open(self, moment: datetime) -> bool:
        # From the day before: it may have gone on over midnight.
        first = moment.astimezone(self.zone).date() - timedelta(days=1)
        return any(
            begins <= moment < ends
            for day in (first, first + timedelta(days=1))
            for begins, ends in self._stretches(day)
        )

    def next_opening(self, moment: datetime) -> datetime | None:
        """None if it is open, or does not open within a year."""
        if self.is_open(moment):
            return None
        today = moment.astimezone(self.zone).date()
        for days in range(LOOKED_AHEAD.days + 1):
            for begins, _ends in self._stretches(today + timedelta(days=days)):
                if begins > moment:
                    return begins
        return None

    def _is_holiday(self, day: date) -> bool:
        if not self.country:
            return False
        try:
            return day in public_holidays(self.country, self.region, day.year)
        except UnknownHolidays as error:
            # Known when it was saved, and gone from a later version of the package.
            logger.warning("public holidays do not count: %s", error)
            return False

    def _stretches(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """From when to when it is open by the spans of that day, in order."""
        for opens, closes in sorted(self.on(day)):
            last = day if closes > opens else day + timedelta(days=1)
            begins = _instant(datetime.combine(day, opens), self.zone)
            ends = _instant(datetime.combine(last, closes), self.zone)
            if begins < ends:
                yield begins, ends


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When clocks there show this for the first time, or pass over it."""
    early, late = wall.replace(tzinfo=zone, fold=1), wall.replace(tzinfo=zone)
    offset, later_offset = late.utcoffset(), early.utcoffset()
    assert offset is not None and later_offset is not None  # noqa: S101, PT018 - of a zone
    moment = late.astimezone(UTC)
    if later_offset <= offset:
        return moment
    # Left out: the moment at which clocks were put forward lies between the two readings.
    before, after = early.astimezone(UTC), moment
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


# --- As the API shows them ----------------------------------------------------------------


def clock(moment: time, *, closes: bool = False) -> str:
    """`HH:MM`, as in the setting: a day ends at 24:00."""
    return "24:00" if closes and moment == MIDNIGHT else f"{moment:%H:%M}"


def week(timetable: Timetable) -> dict[str, list[list[str]]]:
    """The days on which it is open, by name; {} if it is always open."""
    if all(ALL_DAY in spans for spans in timetable.week):
        return {}
    days = zip(DAYS, timetable.week, strict=True)
    return {day: _shown(spans) for day, spans in days if spans}


def today(timetable: Timetable, moment: datetime) -> list[list[str]]:
    """The spans that begin today, holidays and days of their own considered."""
    local = moment.astimezone(timetable.zone)
    return _shown(timetable.on(local.date()))


def _shown(spans: tuple[Span, ...]) -> list[list[str]]:
    return [[clock(opens), clock(closes, closes=True)] for opens, closes in sorted(spans)]
