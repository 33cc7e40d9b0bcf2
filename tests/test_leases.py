"""Duties that one process at a time has."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sse.models import Lease
from sse.process import leases

pytestmark = pytest.mark.django_db


def ago(seconds: float) -> None:
    """As if the last round had been so long ago, and rounds had begun an hour before it."""
    row = Lease.objects.get()
    row.until -= timedelta(seconds=seconds)
    row.round_at -= timedelta(seconds=seconds)
    row.since = row.round_at - timedelta(hours=1)
    row.save()


def counted_for() -> float:
    since = leases.counted_since("duty")
    assert since is not None
    return (timezone.now() - since).total_seconds()


def test_one_at_a_time_has_the_duty_and_another_after_its_death() -> None:
    assert leases.counted_since("duty") is None
    assert leases.hold("duty", "a")
    assert not leases.hold("duty", "b")
    assert leases.hold("duty", "a")
    assert leases.hold("another", "b")
    Lease.objects.filter(name="another").delete()
    ago(2)
    assert not leases.hold("duty", "b")
    ago(2)
    assert leases.hold("duty", "b")
    assert not leases.hold("duty", "a")


def test_round_is_one_statement() -> None:
    leases.hold("duty", "a")
    with CaptureQueriesContext(connection) as queries:
        leases.hold("duty", "a")
    assert len(queries) == 1


@pytest.mark.parametrize(("gap", "kept"), [(1, True), (3.5, True), (6.5, False), (7000, False)])
def test_time_counts_for_as_long_as_rounds_follow_one_another(gap: float, kept: bool) -> None:
    leases.hold("duty", "a")
    ago(gap)
    # Before the next round as after it.
    for _ in range(2):
        assert (counted_for() > 3600) is kept
        assert (counted_for() < 1) is not kept
        leases.hold("duty", "b" if gap > 3 else "a")


def test_duty_that_is_given_up_is_had_by_another_at_once_and_its_rounds_go_on() -> None:
    leases.hold("duty", "a")
    ago(1)
    leases.release("duty", "b")
    assert not leases.hold("duty", "b")
    leases.release("duty", "a")
    assert counted_for() > 3600
    assert leases.hold("duty", "b")
    assert counted_for() > 3600
    leases.release("duty", "a")
    assert not leases.hold("duty", "a")
