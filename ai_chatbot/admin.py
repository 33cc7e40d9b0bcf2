from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ai_chatbot.conversation import handoff
from ai_chatbot.exceptions import ConversationError
from ai_chatbot.models import Article, ChatSession, Message, Reason


class MessageInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Message
    fields = ["created_at", "role", "agent_name", "content", "status"]
    readonly_fields = ["created_at", "role", "agent_name", "content", "status"]
    ordering = ["pk"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


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
        (_("Customer"), {"fields": ["nickname", "email", "language", "metadata"]}),
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
    inlines = [MessageInline]
    actions = ["release_to_ai", "close_sessions"]
    ordering = ["-pk"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        # Needed for the actions; every field is read-only.
        return super().has_change_permission(request)

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> list[str]:
        return [field.name for field in ChatSession._meta.fields]

    @admin.action(description=_("Release to the AI"), permissions=["change"])
    def release_to_ai(self, request: HttpRequest, sessions: QuerySet[ChatSession]) -> None:
        self._each(request, sessions, lambda name: handoff.release(name, None))

    @admin.action(description=_("Close"), permissions=["change"])
    def close_sessions(self, request: HttpRequest, sessions: QuerySet[ChatSession]) -> None:
        self._each(
            request,
            sessions,
            lambda name: handoff.close(name, None, reason=Reason.CLOSED_BY_AGENT),
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


@admin.register(Article)
class ArticleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["title", "slug", "language", "published", "updated_at"]
    list_filter = ["language", "published"]
    list_editable = ["published"]
    search_fields = ["title", "body", "slug"]
    prepopulated_fields = {"slug": ["title"]}
