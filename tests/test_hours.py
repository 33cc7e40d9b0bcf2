"""Opening hours of the installation: from the settings, or as edited in the admin."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from ai_chatbot.conversation import availability, hours
from ai_chatbot.conversation.timetable import DAYS
from ai_chatbot.models import OpeningSpan, Schedule, SpecialDay
from tests.in_process import Api, browser

pytestmark = pytest.mark.django_db

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.fixture
def schedule() -> Schedule:
    return Schedule.objects.create(time_zone=BERLIN)


def span(schedule: Schedule, weekday: int, opens: str, closes: str) -> OpeningSpan:
    return OpeningSpan.objects.create(
        schedule=schedule,
        weekday=weekday,
        opens=time.fromisoformat(opens),
        closes=time.fromisoformat(closes),
    )


MONDAY_EVENING = at("2026-01-05 20:00", BERLIN)


def test_without_a_schedule_the_settings_count(settings: Settings) -> None:
    settings.OPENING_HOURS, settings.TIME_ZONE = "mon 19:00-21:00", BERLIN
    assert hours.is_open(MONDAY_EVENING)
    settings.OPENING_HOURS = "mon 09:00-18:00"
    assert not hours.is_open(MONDAY_EVENING)


def test_a_schedule_goes_before_the_settings(settings: Settings, schedule: Schedule) -> None:
    settings.OPENING_HOURS = "mon 09:00-18:00"
    assert not hours.is_open(MONDAY_EVENING)
    evening = span(schedule, 0, "19:00", "21:00")
    assert hours.is_open(MONDAY_EVENING)
    evening.closes = time(20)
    evening.save()
    assert not hours.is_open(MONDAY_EVENING)
    evening.delete()
    assert hours.is_open(at("2026-01-05 09:00", BERLIN))
    schedule.time_zone = "America/New_York"
    schedule.save()
    assert not hours.is_open(at("2026-01-05 09:00", BERLIN))
    SpecialDay.objects.create(schedule=schedule, date=date(2026, 1, 5))
    assert hours.next_opening(MONDAY_EVENING) == at("2026-01-12 09:00", "America/New_York")
    schedule.delete()
    assert hours.is_open(at("2026-01-05 09:00"))


def test_a_change_that_is_rolled_back_does_not_stay(schedule: Schedule) -> None:
    span(schedule, 0, "09:00", "18:00")
    with transaction.atomic():
        span(schedule, 0, "19:00", "21:00")
        assert hours.is_open(MONDAY_EVENING)
        transaction.set_rollback(True)
    assert not hours.is_open(MONDAY_EVENING)


def test_hours_cost_one_query_once_they_are_known(schedule: Schedule) -> None:
    for weekday in range(7):
        span(schedule, weekday, "09:00", "18:00")
    hours.is_open()
    with CaptureQueriesContext(connection) as queries:
        hours.next_opening()
    assert len(queries) == 1
    Schedule.objects.all().delete()
    with CaptureQueriesContext(connection) as queries:
        availability.now()
    assert len([q for q in queries if "schedule" in q["sql"]]) == 1


def test_a_zone_that_is_not_known_here_is_the_sites(
    settings: Settings, schedule: Schedule
) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    Schedule.objects.update(time_zone="Mars/Olympus")
    schedule.refresh_from_db()
    assert hours.current().zone.key == "Asia/Shanghai"


def test_nobody_is_on_duty_when_it_is_closed_until_it_opens(schedule: Schedule) -> None:
    local = timezone.now().astimezone(ZoneInfo(BERLIN))
    SpecialDay.objects.create(schedule=schedule, date=local.date() - timedelta(days=1))
    SpecialDay.objects.create(schedule=schedule, date=local.date())
    now = availability.now()
    assert not now.someone_on_duty
    tomorrow = datetime.combine(local.date() + timedelta(days=1), time(0), ZoneInfo(BERLIN))
    assert now.back_at == tomorrow.astimezone(UTC)
    assert str(availability.as_json(now)["back_at"]).endswith("Z")


def test_config_shows_week_and_today(schedule: Schedule) -> None:
    span(schedule, 0, "22:00", "06:00")
    span(schedule, 0, "08:00", "12:00")
    span(schedule, 6, "18:00", "00:00")
    body = Api("/api").get("/config").json()
    assert body["hours"] == {
        "mon": [["08:00", "12:00"], ["22:00", "06:00"]],
        "sun": [["18:00", "24:00"]],
    }
    assert body["time_zone"] == BERLIN
    today = timezone.now().astimezone(ZoneInfo(BERLIN)).date()
    assert body["hours_today"] == body["hours"].get(DAYS[today.weekday()], [])
    closed = SpecialDay.objects.create(schedule=schedule, date=today)
    assert Api("/api").get("/config").json()["hours_today"] == []
    closed.opens, closed.closes = time(10), time(11)
    closed.save()
    assert Api("/api").get("/config").json()["hours_today"] == [["10:00", "11:00"]]


# --- The admin's page ---------------------------------------------------------------------


@pytest.fixture
def site() -> Client:
    client = browser()
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client


def page(
    spans: list[tuple[int, str, str]] = [],  # noqa: B006 - read only
    days: list[tuple[str, str, str]] = [],  # noqa: B006
    **fields: str,
) -> dict[str, Any]:
    form: dict[str, Any] = {
        "time_zone": BERLIN, "holidays_country": "", "holidays_region": "",
        "spans-TOTAL_FORMS": len(spans), "spans-INITIAL_FORMS": 0,
        "days-TOTAL_FORMS": len(days), "days-INITIAL_FORMS": 0,
        **fields,
    }  # fmt: skip
    for number, (weekday, opens, closes) in enumerate(spans):
        form[f"spans-{number}-weekday"] = weekday
        form[f"spans-{number}-opens"], form[f"spans-{number}-closes"] = opens, closes
    for number, (day, opens, closes) in enumerate(days):
        form[f"days-{number}-date"] = day
        form[f"days-{number}-opens"], form[f"days-{number}-closes"] = opens, closes
    return form


ADD = "admin:ai_chatbot_schedule_add"


def test_hours_are_edited_on_one_page(site: Client) -> None:
    filled = page(
        [(0, "09:00", "12:00"), (0, "13:00", "18:00"), (4, "22:00", "06:00")],
        [("2026-12-24", "", ""), ("2026-12-31", "09:00", "12:00")],
        holidays_country="de",
        holidays_region="BY",
    )
    answer = site.post(reverse(ADD), filled)
    assert answer.status_code == 302, answer.context["errors"]
    row = Schedule.objects.get()
    assert (row.holidays_country, row.holidays_region) == ("DE", "BY")
    assert not hours.is_open(at("2026-01-06 10:00", BERLIN))
    assert not hours.is_open(at("2026-12-24 10:00", BERLIN))
    assert hours.is_open(at("2026-12-31 10:00", BERLIN))
    assert hours.is_open(at("2026-01-10 05:00", BERLIN))
    # There is but one.
    assert site.get(reverse(ADD)).status_code == 403
    assert site.get(reverse("admin:ai_chatbot_schedule_changelist")).status_code == 200
    change = reverse("admin:ai_chatbot_schedule_change", args=[row.pk])
    assert b"Europe/Berlin" in site.get(change).content


def test_the_admins_page_begins_with_the_sites_time_zone(
    site: Client, settings: Settings
) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    assert b'value="Asia/Shanghai"' in site.get(reverse(ADD)).content


@pytest.mark.parametrize(
    ("filled", "says"),
    [
        (page(time_zone="Mars/Olympus"), "There is no time zone “Mars/Olympus”"),
        (page(time_zone="Europe"), "There is no time zone “Europe”"),
        (page(time_zone="../etc/passwd"), "There is no time zone"),
        (page(holidays_country="XX"), "No public holidays are known of “XX”"),
        (
            page(holidays_country="DE", holidays_region="XX"),
            "no region “XX”, but: Augsburg, BB",
        ),
        (page(holidays_country="CN", holidays_region="XX"), "are the same in all regions"),
        (
            page([(0, "09:00", "13:00"), (0, "12:00", "18:00")]),
            "Times that begin on Monday and on Monday overlap",
        ),
        (
            page([(0, "22:00", "06:00"), (1, "05:00", "12:00")]),
            "Times that begin on Monday and on Tuesday overlap",
        ),
        (
            page([(6, "22:00", "06:00"), (0, "05:00", "12:00")]),
            "Times that begin on Sunday and on Monday overlap",
        ),
        (page([(0, "09:00", "09:00")]), "It closes when it opens"),
        (page(days=[("2026-12-24", "09:00", "")]), "Give both times, or none"),
        (page(days=[("2026-12-24", "09:00", "09:00")]), "It closes when it opens"),
        (page(days=[("2026-12-24", "", ""), ("2026-12-24", "", "")]), "duplicate"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    site: Client, filled: dict[str, Any], says: str
) -> None:
    answer = site.post(reverse(ADD), filled)
    assert answer.status_code == 200
    assert says in answer.content.decode()
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    "spans",
    [
        [(0, "09:00", "12:00"), (0, "12:00", "18:00")],
        [(day, "00:00", "00:00") for day in range(7)],
        [(0, "22:00", "06:00"), (1, "06:00", "12:00")],
    ],
)
def test_spans_that_touch_are_taken(site: Client, spans: list[tuple[int, str, str]]) -> None:
    assert site.post(reverse(ADD), page(spans)).status_code == 302
