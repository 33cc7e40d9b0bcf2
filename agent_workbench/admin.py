from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest

from agent_workbench import tokens
from agent_workbench.forms import StaffLoginForm
from agent_workbench.models import Agent

admin.site.login_form = StaffLoginForm


@admin.register(Agent)
class AgentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["display_name", "user", "role", "status", "max_sessions", "seen_at"]
    list_filter = ["role", "status"]
    list_select_related = ["user"]
    search_fields = ["display_name", "user__username"]
    autocomplete_fields = ["user"]
    readonly_fields = ["status", "seen_at"]

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        """A changed role changes what may be read, so open streams have to ask again."""
        super().save_model(request, obj, form, change)
        if change and "role" in form.changed_data:
            tokens.end_streams(obj)
