"""Duties that one process at a time has, and since when nobody has neglected them.

The holder renews its lease at every round. If it dies or hangs, another process has the duty
within seconds; if it stops in order, at once. A round by two at once is possible, where one
hangs in the middle of it: what is done in a round has to bear that.

Time in which there were no rounds, since the database was away or every process down, is
nobody's fault: what is judged by its age has its age counted from `counted_since` at the
earliest. All is measured by the database's clock, so that processes whose clocks differ agree.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Case, F, Q, When
from django.db.models.functions import Now
from django.utils import timezone

from sse.models import Lease

LEASE = timedelta(seconds=3)
# Longer than a lease and what it takes another process to notice its end.
GAP = timedelta(seconds=6)


def hold(name: str, holder: str) -> bool:
    """Take or renew the duty for a LEASE, and note a round of it. False: another has it."""
    mine = Lease.objects.filter(Q(holder=holder) | Q(until__lte=Now()), name=name)
    held = mine.update(
        holder=holder,
        until=Now() + LEASE,
        since=Case(When(round_at__lt=Now() - GAP, then=Now()), default=F("since")),
        round_at=Now(),
    )
    if not held and not Lease.objects.filter(name=name).exists():
        row = Lease(name=name, holder=holder, until=Now() + LEASE, round_at=Now(), since=Now())
        Lease.objects.bulk_create([row], ignore_conflicts=True)
        return Lease.objects.filter(name=name, holder=holder).exists()
    return held > 0


def release(name: str, holder: str) -> None:
    """Give the duty up, if it is still this holder's: another may have it at once."""
    Lease.objects.filter(name=name, holder=holder, until__gt=Now()).update(until=Now())


def counted_since(name: str) -> datetime | None:
    """Since when rounds have followed one another, by this process's clock: now, if the last is
    too long ago. None: there never was a round, so none was missed."""
    row = Lease.objects.filter(name=name).annotate(now=Now()).values("now", "since", "round_at")
    found = row.first()
    if found is None:
        return None
    now = timezone.now()
    if found["round_at"] < found["now"] - GAP:
        return now
    return now - max(found["now"] - found["since"], timedelta(0))
