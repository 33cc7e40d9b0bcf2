"""How long a place in the line may take.

The wait at place p is that of p - f departures, where f slots for conversations are free, of
s that the agents on duty have (HANDOFF_CAPACITY). Each slot is freed after a handling time of h
on average, so that one of them is every h / s seconds, and the n-th of them comes after a time
that has the distribution Erlang(n, h / s). What is told are its quartile and 90th percentile.

h is measured: the mean of the latest conversations that were ended by somebody's wish, in which
none counts for more than four times their median, so that one left open over lunch moves it
little; and the median of the time after which an agent who has ended one takes the next who
waits. With less than `MEASURED_AT_LEAST` of them, or nobody on duty, there is no estimate.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, median

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from ai_chatbot.models import HandoffRecord, Outcome

MEASURED_AT_LEAST = 5
MEASURED_AT_MOST = 50
MEASURED_SINCE = timedelta(days=14)
COUNTS_AT_MOST = 4
# Ended by the agent's or the customer's wish; the others' lengths tell of something else.
HANDLED = (Outcome.RELEASED, Outcome.CLOSED, Outcome.REQUEUED, Outcome.TRANSFERRED)
# Standard normal quantiles of what is told: 1 in 4 waits is shorter, 1 in 10 longer.
LEAST, MOST = -0.6745, 1.2816
# Whoever is to be taken next of all is not told to the second.
SHORTEST = 30
# Whatever comes to more is told as this.
LONGEST_LEAST, LONGEST_MOST = 8 * 3600, 12 * 3600
# Up to so many seconds it is told in steps of so many.
STEPS = ((120, 30), (600, 60), (1800, 300), (7200, 900), (math.inf, 1800))
# Seconds told for one that passes; tests/day, whose seconds pass faster, has more.
PACE = 1.0
# What was told is told anew when it is off by this factor and by so many seconds.
OFF_BY = 1.5
OFF_BY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds; `least` is at least 30, and less than `most`."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """`handling_seconds`: None without enough measured."""

    handling_seconds: float | None
    slots: int
    free: int

    def of_place(self, place: int) -> Wait | None:
        """`place`: 1 is next."""
        if self.handling_seconds is None or self.slots < 1:
            return None
        departures = max(0, place - self.free)
        per_departure = self.handling_seconds * PACE / self.slots
        shortest = min(per_departure * _gamma(departures, LEAST), LONGEST_LEAST)
        longest = min(per_departure * _gamma(departures, MOST), LONGEST_MOST)
        least = _step(shortest, math.floor)
        return Wait(least, max(_step(longest, math.ceil), _step(least + 1, math.ceil)))


def now() -> Estimate:
    """Two queries and those of HANDOFF_CAPACITY."""
    slots, free = import_string(settings.HANDOFF_CAPACITY)()
    return Estimate(handling_seconds(), slots, free)


def handling_seconds() -> float | None:
    """How long a slot is taken by one conversation; None without enough of them."""
    ended = HandoffRecord.objects.filter(
        outcome__in=HANDLED,
        taken_at__isnull=False,
        ended_at__gt=timezone.now() - MEASURED_SINCE,
    ).order_by("-ended_at")
    ended = ended.only("agent", "created_at", "taken_at", "ended_at")
    measured = list(ended[:MEASURED_AT_MOST])
    if len(measured) < MEASURED_AT_LEAST:
        return None
    lengths = [_seconds(record.taken_at, record.ended_at) for record in measured]
    bound = COUNTS_AT_MOST * median(lengths)
    return fmean(min(length, bound) for length in lengths) + _between(measured)


def _between(records: list[HandoffRecord]) -> float:
    """From an agent's end of one to the take-over of another that waited already: next to
    nothing where they are assigned."""
    ends: dict[int | None, list[datetime]] = defaultdict(list)
    for record in reversed(records):
        if record.ended_at:
            ends[record.agent_id].append(record.ended_at)
    gaps = []
    for record in records:
        assert record.taken_at  # noqa: S101 - asked for by the query
        before = ends[record.agent_id][: bisect_right(ends[record.agent_id], record.taken_at)]
        if before and before[-1] >= record.created_at:
            gaps.append(_seconds(before[-1], record.taken_at))
    return median(gaps) if gaps else 0.0


def _seconds(since: datetime | None, until: datetime | None) -> float:
    return (until - since).total_seconds() if since and until else 0.0


def differ(wait: Wait | None, told: int | None) -> bool:
    """Whether the customer is to be told anew; `told`: the `most` that was."""
    if wait is None or told is None:
        return (wait is None) != (told is None)
    less, more = sorted((wait.most, told))
    return more >= less * OFF_BY and more - less >= OFF_BY_SECONDS


def _gamma(shape: int, quantile: float) -> float:
    """A quantile of the sum of `shape` exponential times with mean 1, after Wilson and
    Hilferty: off by less than 0.03."""
    if shape == 0:
        return 0
    return shape * (1 - 1 / (9 * shape) + quantile / (3 * math.sqrt(shape))) ** 3


def _step(seconds: float, rounded: Callable[[float], int]) -> int:
    seconds = max(seconds, SHORTEST)
    step = next(step for up_to, step in STEPS if seconds <= up_to)
    return rounded(seconds / step) * step
