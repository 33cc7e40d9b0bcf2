"""When people are at work, as edited in the admin. Where nothing is here, the environment
counts."""

from __future__ import annotations

from django.db import models
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


class Schedule(models.Model):
    """The one schedule; without it the settings OPENING_HOURS and TIME_ZONE count."""

    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC")
    holidays_country = models.CharField(
        _("public holidays of"),
        max_length=2,
        blank=True,
        help_text=_("Such as DE; empty: none."),
    )
    holidays_region = models.CharField(_("region"), max_length=10, blank=True)
    # At most one row.
    only = models.BooleanField(default=True, unique=True, editable=False)

    class Meta:
        verbose_name = _("opening hours")
        verbose_name_plural = _("opening hours")
        constraints = [
            models.CheckConstraint(condition=Q(only=True), name="schedule_only_one"),
        ]

    def __str__(self) -> str:
        return str(_("opening hours"))


class OpeningSpan(models.Model):
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


class SpecialDay(models.Model):
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
