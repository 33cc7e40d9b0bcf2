"""When people are at work, as edited in the admin. Where nothing is here, the environment
counts."""

from __future__ import annotations

import secrets
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Weekday(models.IntegerChoices):
    MONDAY = 0, _("Monday")
    TUESDAY = 1, _("Tuesday")
    WEDNESDAY = 2, _("Wednesday")
    THURSDAY = 3, _("Thursday")
    FRIDAY = 4, _("Friday")
    SATURDAY = 5, _("Saturday")
    SUNDAY = 6, _("Sunday")


def check_times(opens: time | None, closes: time | None) -> None:
    """Raises ValidationError."""
    if opens is not None and opens == closes and opens != time(0):
        raise ValidationError(
            _("It closes when it opens. A whole day is from 00:00 to 00:00."),
            code="no_time",
        )


def new_stamp() -> str:
    return secrets.token_urlsafe(16)


def validate_time_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(
            _("There is no time zone “%(name)s”. Write it like Europe/Berlin or UTC."),
            code="unknown_time_zone",
            params={"name": name},
        ) from None


class Schedule(models.Model):
    """The one schedule; without it the settings OPENING_HOURS and TIME_ZONE count.

    Without spans of its own it has those of OPENING_HOURS.
    """

    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        default="UTC",
        validators=[validate_time_zone],
        help_text=_("Such as Europe/Berlin."),
    )
    holidays_country = models.CharField(
        _("public holidays of"),
        max_length=2,
        blank=True,
        help_text=_("Such as DE; empty: none."),
    )
    holidays_region = models.CharField(_("region"), max_length=10, blank=True)
    # At most one row.
    only = models.BooleanField(default=True, unique=True, editable=False)
    # Another after every change of the schedule or its spans and days, so that a process can
    # tell whether what it has read still counts.
    stamp = models.CharField(max_length=32, default=new_stamp, db_default="", editable=False)

    class Meta:
        verbose_name = _("opening hours")
        verbose_name_plural = _("opening hours")
        constraints = [
            models.CheckConstraint(condition=Q(only=True), name="schedule_only_one"),
        ]

    def __str__(self) -> str:
        return str(_("opening hours"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.stamp = new_stamp()
        super().save(*args, **kwargs)


class PartOfSchedule(models.Model):
    """Rows are changed by their own `save` and `delete`, on which the
    schedule's stamp hangs."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            super().save(*args, **kwargs)
            self._changed()

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            self._changed()
            return super().delete(*args, **kwargs)

    def _changed(self) -> None:
        Schedule.objects.update(stamp=new_stamp())


class OpeningSpan(PartOfSchedule):
    """From `opens` to `closes` in local time; over midnight where `closes` is not after it."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="spans")
    weekday = models.PositiveSmallIntegerField(_("day"), choices=Weekday)
    opens = models.TimeField(_("opens"))
    closes = models.TimeField(_("closes"))

    class Meta:
        verbose_name = _("opening time")
        verbose_name_plural = _("opening times")
        ordering = ["weekday", "opens"]
        constraints = [
            models.CheckConstraint(
                condition=Q(weekday__in=Weekday.values), name="span_weekday_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_weekday_display()} {self.opens:%H:%M}-{self.closes:%H:%M}"

    def clean(self) -> None:
        check_times(self.opens, self.closes)


class SpecialDay(PartOfSchedule):
    """A day of its own: closed, or open at other times than its weekday, or in spite of a
    public holiday."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="days")
    date = models.DateField(_("date"))
    name = models.CharField(_("name"), max_length=100, blank=True)
    opens = models.TimeField(_("opens"), null=True, blank=True)
    closes = models.TimeField(_("closes"), null=True, blank=True)

    class Meta:
        verbose_name = _("special day")
        verbose_name_plural = _("special days")
        ordering = ["date"]
        constraints = [
            models.UniqueConstraint(fields=["schedule", "date"], name="special_day_once"),
            models.CheckConstraint(
                condition=Q(opens__isnull=True, closes__isnull=True)
                | Q(opens__isnull=False, closes__isnull=False),
                name="special_day_closed_or_both",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.date} {self.name}"

    def clean(self) -> None:
        if (self.opens is None) != (self.closes is None):
            raise ValidationError(
                _("Give both times, or none for a day on which it is closed."),
                code="one_time",
            )
        check_times(self.opens, self.closes)
