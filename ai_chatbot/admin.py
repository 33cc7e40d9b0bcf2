from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ai_chatbot import outbox
from ai_chatbot.conversation import handoff, people, timetable
from ai_chatbot.exceptions import ConversationError
from ai_chatbot.models import (
    Article,
    AuditEntry,
    ChatSession,
    HandoffRecord,
    HandoffRule,
    Mail,
    Message,
    OpeningSpan,
    Reason,
    Schedule,
    SpecialDay,
    Weekday,
)
from ai_chatbot.rules_admin import HandoffRuleAdmin

admin.site.register(HandoffRule, HandoffRuleAdmin)


class ReadOnly(admin.options.BaseModelAdmin):  # type: ignore[type-arg]
    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class MessageInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = Message
    fields = ["created_at", "role", "agent_name", "content", "status"]
    readonly_fields = ["created_at", "role", "agent_name", "content", "status"]
    ordering = ["pk"]
    extra = 0
    can_delete = False


class HandoffInline(ReadOnly, admin.StackedInline):  # type: ignore[type-arg]
    model = HandoffRecord
    fields = [
        ("created_at", "code", "severity", "outcome"),
        "text",
        "question",
        "summary",
        ("agent_name", "taken_at", "waited_seconds", "ended_at"),
    ]
    readonly_fields = [field.name for field in HandoffRecord._meta.fields]
    ordering = ["-pk"]
    extra = 0
    can_delete = False


@admin.register(ChatSession)
class ChatSessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Sessions are read here; their status changes by the verbs, which reach open streams."""

    list_display = [
        "name", "nickname", "status", "agent_name", "language", "created_at", "last_message_at",
    ]  # fmt: skip
    list_filter = [
        "status",
        "language",
        "created_at",
        ("agent", admin.RelatedOnlyFieldListFilter),
    ]
    search_fields = ["name", "nickname", "email", "messages__content"]
    date_hierarchy = "created_at"
    fieldsets = [
        (None, {"fields": ["name", "status", "agent", "agent_name"]}),
        (
            _("Customer"),
            {
                "fields": [
                    "nickname", "email", "language", "metadata", "contact_email",
                    "contact_note", "contact_left_at",
                ]
            },
        ),
        (
            _("Handoff"),
            {
                "fields": [
                    "escalated_at", "escalation_reason", "taken_at", "waited_seconds",
                    "ownership_epoch",
                ]
            },
        ),
        (_("Times"), {"fields": ["created_at", "updated_at", "last_message_at", "closed_at"]}),
    ]  # fmt: skip
    inlines = [HandoffInline, MessageInline]
    actions = ["release_to_ai", "close_sessions"]
    ordering = ["-pk"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_supervise_permission(self, request: HttpRequest) -> bool:
        """What the actions ask for; every field is read-only."""
        return request.user.has_perm("ai_chatbot.supervise_sessions")

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> list[str]:
        return [field.name for field in ChatSession._meta.fields]

    @admin.action(description=_("Release to the AI"), permissions=["supervise"])
    def release_to_ai(self, request: HttpRequest, sessions: QuerySet[ChatSession]) -> None:
        by = people.administration(request.user)
        self._each(request, sessions, lambda name: handoff.release(name, by))

    @admin.action(description=_("Close"), permissions=["supervise"])
    def close_sessions(self, request: HttpRequest, sessions: QuerySet[ChatSession]) -> None:
        by = people.administration(request.user)
        self._each(
            request,
            sessions,
            lambda name: handoff.close(name, by, reason=Reason.CLOSED_BY_AGENT),
        )

    def _each(
        self,
        request: HttpRequest,
        sessions: QuerySet[ChatSession],
        verb: Callable[[str], ChatSession],
    ) -> None:
        done = 0
        for name in sessions.values_list("name", flat=True):
            try:
                verb(name)
                done += 1
            except ConversationError as error:
                # Not the name first: the page makes a first letter a capital.
                self.message_user(request, f"{error} ({name})", messages.WARNING)
        if done:
            text = ngettext("%d session was changed.", "%d sessions were changed.", done) % done
            self.message_user(request, text, messages.SUCCESS)


@admin.register(Mail)
class MailAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Mail is looked at here, and what failed for good sent again."""

    list_display = ["pk", "kind", "session", "state", "tries", "created_at", "due_at", "error"]
    list_filter = ["state", "kind", "created_at"]
    search_fields = ["session__name"]
    list_select_related = ["session"]
    fields = [
        "kind", "session", "state", "tries", "created_at", "due_at", "sent_at", "error",
    ]  # fmt: skip
    actions = ["send_again"]
    ordering = ["-pk"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> list[str]:
        # May be changed, for the action; every field is read-only.
        return [field.name for field in Mail._meta.fields]

    @admin.action(description=_("Send again what failed"), permissions=["change"])
    def send_again(self, request: HttpRequest, mails: QuerySet[Mail]) -> None:
        count = outbox.send_again(mails)
        text = ngettext("%d email will be sent again.", "%d emails will be sent again.", count)
        text %= count
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)


@admin.register(HandoffRecord)
class HandoffRecordAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = [
        "created_at", "session", "code", "severity", "outcome", "agent_name", "waited_seconds",
    ]  # fmt: skip
    list_filter = ["outcome", "severity", "created_at"]
    list_select_related = ["session"]
    search_fields = ["session__name", "code", "text", "summary", "question"]
    ordering = ["-pk"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """A record goes with its session, and only so."""
        match = request.resolver_match
        here = match is None or "handoffrecord" in (match.url_name or "")
        return not here and super().has_delete_permission(request)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["at", "action", "actor_name", "session_name", "details"]
    list_filter = ["action", "at"]
    search_fields = ["actor_name", "session_name", "action"]
    ordering = ["-pk"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Article)
class ArticleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["title", "slug", "language", "published", "updated_at"]
    list_filter = ["language", "published"]
    list_editable = ["published"]
    search_fields = ["title", "body", "slug"]
    prepopulated_fields = {"slug": ["title"]}


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Schedule
        fields = ["time_zone", "holidays_country", "holidays_region"]

    def clean_holidays_country(self) -> str:
        return str(self.cleaned_data["holidays_country"]).upper()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        country = cleaned.get("holidays_country", "")
        region = cleaned.get("holidays_region", "")
        try:
            known = timetable.regions(country) if country else []
        except timetable.UnknownHolidays:
            self.add_error(
                "holidays_country",
                _("No public holidays are known of “%(country)s”. Write it like DE or US.")
                % {"country": country},
            )
            return cleaned
        if not region or region in known:
            return cleaned
        if known:
            text = _("“%(country)s” has no region “%(region)s”, but: %(known)s.")
        else:
            text = _("The public holidays of “%(country)s” are the same in all regions.")
        named = {"country": country, "region": region, "known": ", ".join(known)}
        self.add_error("holidays_region", text % named)
        return cleaned


WEEK_SECONDS = int(timedelta(days=7).total_seconds())
DAY_SECONDS = int(timedelta(days=1).total_seconds())


class SpanFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    def clean(self) -> None:
        """No two may overlap, the last of Sunday and the first of Monday included."""
        super().clean()
        stretches = []
        for form in self.forms:
            span = getattr(form, "cleaned_data", {})
            if span.get("DELETE") or None in map(span.get, ("weekday", "opens", "closes")):
                continue
            opens, closes = (
                moment.hour * 3600 + moment.minute * 60 + moment.second
                for moment in (span["opens"], span["closes"])
            )
            begins = span["weekday"] * DAY_SECONDS + opens
            length = (closes - opens) % DAY_SECONDS or DAY_SECONDS
            stretches.append((begins, begins + length, Weekday(span["weekday"]).label))
        if not stretches:
            return
        stretches.sort()
        first = stretches[0]
        around = (first[0] + WEEK_SECONDS, first[1] + WEEK_SECONDS, first[2])
        for earlier, later in pairwise([*stretches, around]):
            if later[0] < earlier[1]:
                raise ValidationError(
                    _("Times that begin on %(one)s and on %(other)s overlap."),
                    code="overlap",
                    params={"one": earlier[2], "other": later[2]},
                )


class OpeningSpanInline(admin.TabularInline):  # type: ignore[type-arg]
    model = OpeningSpan
    formset = SpanFormSet
    extra = 0


class SpecialDayInline(admin.TabularInline):  # type: ignore[type-arg]
    model = SpecialDay
    extra = 0


@admin.register(Schedule)
class ScheduleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """All there is to opening hours, on one page."""

    form = ScheduleForm
    inlines = [OpeningSpanInline, SpecialDayInline]
    fieldsets = [
        (
            None,
            {
                "fields": ["time_zone", "holidays_country", "holidays_region"],
                "description": _(
                    "Times belong to the day on which they begin. They go on past midnight "
                    "where the closing time is not after the opening time; 00:00 to 00:00 is a "
                    "whole day. Without any, the setting OPENING_HOURS applies. Public "
                    "holidays are closed, unless they are among the special days; a special "
                    "day without times is closed."
                ),
            },
        )
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not Schedule.objects.exists()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"time_zone": settings.TIME_ZONE, **super().get_changeform_initial_data(request)}
