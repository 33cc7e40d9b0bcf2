from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from agent_workbench import accounts
from agent_workbench.forms import AccountForm, AgentForm, StaffLoginForm
from agent_workbench.models import Agent
from ai_chatbot.conversation import people

admin.site.login_form = StaffLoginForm
admin.site.unregister(get_user_model())


@admin.register(get_user_model())
class AccountAdmin(UserAdmin):  # type: ignore[type-arg]
    """Django's own, which leaves one administrator at least."""

    form = AccountForm

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        gone, count, not_permitted, protected = super().get_deleted_objects(objs, request)
        if not accounts.administrator_remains_without([user.pk for user in objs]):
            protected = [*protected, _("The last administrator")]
        return gone, count, not_permitted, protected


@admin.register(Agent)
class AgentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = AgentForm
    list_display = ["display_name", "user", "role", "status", "max_sessions", "seen_at"]
    list_filter = ["role", "status"]
    list_select_related = ["user"]
    search_fields = ["display_name", "user__username"]
    autocomplete_fields = ["user"]

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        obj.changed_by = people.administration(request.user)
        # The rest changes at any moment, without being edited: presence, whose turn it is.
        obj.save(update_fields=list(form.cleaned_data) if change else None)

    def delete_model(self, request: HttpRequest, obj: Agent) -> None:
        obj.changed_by = people.administration(request.user)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        for agent in queryset:
            self.delete_model(request, agent)

    def get_readonly_fields(self, request: HttpRequest, obj: Agent | None = None) -> list[str]:
        fields = ["status", "seen_at"]
        if obj is not None:
            # What is the user's by the role would stay with the former one.
            fields.append("user")
        if not request.user.is_superuser:
            # An administrator is one in Django's admin too.
            fields.append("role")
        return fields
