"""A week's opening times: over midnight, on holidays, where clocks change."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ai_chatbot.conversation.timetable import DAYS, Span, Timetable, parse
from tests.harness.environment import ROOT, environment

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> datetime:
    """`fold=1` of an hour that clocks show twice: with a * at the end."""
    wall = datetime.fromisoformat(text.rstrip("*")).replace(tzinfo=ZoneInfo(zone))
    return wall.replace(fold=int(text.endswith("*"))).astimezone(UTC)


def of(text: str, zone: str = "UTC", **fields: Any) -> Timetable:
    spans = parse(text)
    return Timetable(ZoneInfo(zone), tuple(tuple(spans.get(day, ())) for day in DAYS), **fields)


# --- Over midnight ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "when", "is_open"),
    [
        ("fri 22:00-06:00", "2026-01-02 21:59", False),  # a Friday
        ("fri 22:00-06:00", "2026-01-02 22:00", True),
        ("fri 22:00-06:00", "2026-01-03 00:00", True),
        ("fri 22:00-06:00", "2026-01-03 05:59", True),
        ("fri 22:00-06:00", "2026-01-03 06:00", False),
        ("fri 22:00-06:00", "2026-01-02 05:00", False),
        ("sun 22:00-06:00", "2026-01-05 05:00", True),
        ("fri 18:00-24:00", "2026-01-02 23:59", True),
        ("fri 18:00-24:00", "2026-01-03 00:00", False),
        ("fri 18:00-00:00", "2026-01-02 23:59", True),
        ("fri 08:00-12:00; fri 14:00-02:00", "2026-01-02 13:00", False),
        ("fri 08:00-12:00; fri 14:00-02:00", "2026-01-03 01:00", True),
    ],
)
def test_a_span_goes_on_over_midnight(text: str, when: str, is_open: bool) -> None:
    assert of(text).is_open(at(when)) is is_open


@pytest.mark.parametrize(
    ("text", "when", "opens"),
    [
        ("fri 22:00-06:00", "2026-01-02 12:00", "2026-01-02 22:00"),
        ("fri 22:00-06:00", "2026-01-03 05:00", None),
        ("fri 22:00-06:00", "2026-01-03 06:00", "2026-01-09 22:00"),
        ("mon-fri 09:00-12:00; mon-fri 13:00-18:00", "2026-01-02 12:00", "2026-01-02 13:00"),
        ("mon-fri 09:00-12:00; mon-fri 13:00-18:00", "2026-01-02 18:00", "2026-01-05 09:00"),
        ("", "2026-01-02 12:00", None),
    ],
)
def test_next_opening(text: str, when: str, opens: str | None) -> None:
    assert of(text).next_opening(at(when)) == (at(opens) if opens else None)


# --- Where clocks change: Berlin on 29 March and 25 October 2026, both Sundays -------------


@pytest.mark.parametrize(
    ("text", "when", "is_open"),
    [
        # An hour that is left out does not take place.
        ("sun 02:00-03:00", "2026-03-29 01:59", False),
        ("sun 02:00-03:00", "2026-03-29 03:00", False),
        # What is left of a span that it cuts.
        ("sun 02:30-05:00", "2026-03-29 01:59", False),
        ("sun 02:30-05:00", "2026-03-29 03:00", True),
        ("sun 01:00-02:30", "2026-03-29 01:59", True),
        ("sun 01:00-02:30", "2026-03-29 03:00", False),
        ("sat 22:00-06:00", "2026-03-29 03:00", True),
        ("sat 22:00-06:00", "2026-03-29 05:59", True),
        ("sat 22:00-06:00", "2026-03-29 06:00", False),
        # An hour that clocks show twice: open once.
        ("sun 02:00-02:30", "2026-10-25 02:10", True),
        ("sun 02:00-02:30", "2026-10-25 02:40", False),
        ("sun 02:00-02:30", "2026-10-25 02:10*", False),
        ("sun 02:30-03:30", "2026-10-25 02:40", True),
        ("sun 02:30-03:30", "2026-10-25 02:10*", True),
        ("sun 02:30-03:30", "2026-10-25 03:29", True),
        ("sun 02:30-03:30", "2026-10-25 03:30", False),
        ("sat 22:00-02:30", "2026-10-25 02:29", True),
        ("sat 22:00-02:30", "2026-10-25 02:00*", False),
    ],
)
def test_a_span_is_one_stretch_where_clocks_change(text: str, when: str, is_open: bool) -> None:
    assert of(text, BERLIN).is_open(at(when, BERLIN)) is is_open


@pytest.mark.parametrize(
    ("text", "when", "opens"),
    [
        ("sun 02:00-03:00", "2026-03-29 01:00", "2026-04-05 02:00"),
        ("sun 02:30-05:00", "2026-03-29 01:00", "2026-03-29 03:00"),
        ("sun 02:30-02:45", "2026-10-25 02:50", "2026-11-01 02:30"),
        ("sun 02:30-02:45", "2026-10-25 02:00*", "2026-11-01 02:30"),
        ("mon 09:00-18:00", "2026-03-28 12:00", "2026-03-30 09:00"),
        ("mon 09:00-18:00", "2026-10-24 12:00", "2026-10-26 09:00"),
    ],
)
def test_next_opening_over_a_change_of_clocks(text: str, when: str, opens: str) -> None:
    assert of(text, BERLIN).next_opening(at(when, BERLIN)) == at(opens, BERLIN)


def test_a_day_that_a_zone_leaves_out_is_closed() -> None:
    # Samoa went over the date line: no 30 December 2011.
    samoa = of("thu-fri 09:00-17:00; sat 10:00-12:00", "Pacific/Apia")
    after_thursday = at("2011-12-29 17:00", "Pacific/Apia")
    assert samoa.next_opening(after_thursday) == at("2011-12-31 10:00", "Pacific/Apia")


STEP = 5
ZONES = (
    "UTC", BERLIN, "America/New_York", "America/Santiago", "Australia/Lord_Howe",
    "Asia/Kathmandu", "Africa/Cairo", "Asia/Shanghai", "Pacific/Chatham",
)  # fmt: skip
times = st.integers(0, 24 * 60 // STEP - 1).map(
    lambda n: (datetime.min + timedelta(minutes=STEP * n)).time()
)
spans = st.lists(st.tuples(times, times), max_size=2).map(tuple)
timetables = st.builds(
    Timetable,
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    week=st.lists(spans, min_size=7, max_size=7).map(tuple),
    days=st.dictionaries(st.dates(date(2026, 1, 1), date(2026, 12, 31)), spans, max_size=5),
    country=st.sampled_from(["", "DE"]),
)
# Often near a change of clocks.
CHANGES = [at("2026-03-29 00:00"), at("2026-10-25 00:00"), at("2026-04-05 00:00")]
moments = st.one_of(
    st.integers(0, 360 * 24 * 60 // STEP).map(
        lambda n: at("2026-01-01") + timedelta(minutes=STEP * n)
    ),
    st.tuples(st.sampled_from(CHANGES), st.integers(-600, 600)).map(
        lambda near: near[0] + timedelta(minutes=STEP * near[1])
    ),
)
DAY: tuple[Span, ...] = ((time(2, 0), time(3, 0)),)


@given(timetables, moments)
@example(Timetable(ZoneInfo(BERLIN), (DAY,) * 7), at("2026-03-28 12:00"))
@example(Timetable(ZoneInfo(BERLIN), (DAY,) * 7), at("2026-10-25 00:00"))
def test_next_opening_is_the_first_moment_at_which_it_is_open(
    table: Timetable, moment: datetime
) -> None:
    opens = table.next_opening(moment)
    if opens is not None:
        assert table.is_open(opens)
        assert not table.is_open(opens - timedelta(minutes=1))
    if table.is_open(moment):
        assert opens is None
        return
    for steps in range(1, 4 * 24 * 60 // STEP):
        later = moment + timedelta(minutes=STEP * steps)
        if opens is not None and later >= opens:
            return
        assert not table.is_open(later)


@given(timetables, moments)
def test_away_from_a_change_of_clocks_it_is_open_when_a_clock_says_so(
    table: Timetable, moment: datetime
) -> None:
    offsets = {
        (moment + timedelta(hours=hours)).astimezone(table.zone).utcoffset()
        for hours in range(-49, 50)
    }
    if len(offsets) > 1:
        return
    local = moment.astimezone(table.zone)
    now, yesterday = local.time(), local.date() - timedelta(days=1)
    begun_today = any(
        opens <= now and (closes <= opens or now < closes)
        for opens, closes in table.on(local.date())
    )
    begun_yesterday = any(
        closes <= opens and now < closes for opens, closes in table.on(yesterday)
    )
    assert table.is_open(moment) is (begun_today or begun_yesterday)


# --- Holidays and days of their own -------------------------------------------------------


def test_a_public_holiday_is_closed_and_its_night_before_goes_on() -> None:
    table = of("mon-sun 09:00-18:00; thu 22:00-06:00", BERLIN, country="DE")
    new_year = "2027-01-01"  # a Friday
    assert table.is_open(at("2026-12-31 17:00", BERLIN))
    assert table.is_open(at(f"{new_year} 05:00", BERLIN))
    assert not table.is_open(at(f"{new_year} 12:00", BERLIN))
    assert table.next_opening(at(f"{new_year} 12:00", BERLIN)) == at("2027-01-02 09:00", BERLIN)


def test_holidays_are_those_of_the_region() -> None:
    epiphany = at("2026-01-06 12:00", BERLIN)
    assert of("mon-fri 09:00-18:00", BERLIN, country="DE", region="BE").is_open(epiphany)
    assert not of("mon-fri 09:00-18:00", BERLIN, country="DE", region="BY").is_open(epiphany)


def test_a_holiday_observed_on_the_last_day_of_the_year_before_counts() -> None:
    # 1 January 2028 is a Saturday.
    friday = at("2027-12-31 12:00", "America/New_York")
    assert not of("mon-fri 09:00-18:00", "America/New_York", country="US").is_open(friday)


def test_a_special_day_goes_before_weekday_and_holiday() -> None:
    christmas, eve, other = date(2026, 12, 25), date(2026, 12, 24), date(2026, 12, 28)
    table = of(
        "mon-fri 09:00-18:00",
        BERLIN,
        country="DE",
        days={
            christmas: ((time(10), time(12)),),
            eve: ((time(9), time(13)),),
            other: (),
        },
    )
    assert table.is_open(at("2026-12-25 11:00", BERLIN))
    assert not table.is_open(at("2026-12-24 14:00", BERLIN))
    assert not table.is_open(at("2026-12-28 14:00", BERLIN))
    assert table.next_opening(at("2026-12-25 12:00", BERLIN)) == at("2026-12-29 09:00", BERLIN)


def test_closed_for_more_than_a_year_opens_never() -> None:
    assert of("mon 09:00-18:00", days={}).next_opening(at("2026-01-01")) is not None
    closed = {date(2026, 1, 1) + timedelta(days=n): () for n in range(400)}
    assert of("mon-sun 09:00-18:00", days=closed).next_opening(at("2026-01-01")) is None


def test_a_country_that_is_no_longer_known_has_no_holidays() -> None:
    assert of("mon-fri 09:00-18:00", country="XX").is_open(at("2027-01-01 12:00"))


def test_who_names_no_country_does_not_load_the_holidays() -> None:
    code = "import config.asgi, sys; sys.exit('holidays' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), timeout=60)
    assert ran.returncode == 0
