"""The agents' pages: login and console."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from ninja.errors import Throttled

from agent_workbench import access, login_limit, presence
from agent_workbench.exceptions import NotAnAgent


class AgentLoginForm(AuthenticationForm):
    """Django's form, for agents only, and slow for those who guess."""

    def clean(self) -> dict[str, Any]:
        username = self.cleaned_data.get("username", "")
        assert self.request is not None  # noqa: S101 - LoginView passes it
        try:
            login_limit.check(self.request, username)
        except Throttled as error:
            raise ValidationError(_("Too many attempts. Please wait a minute.")) from error
        try:
            cleaned = super().clean()
        except ValidationError:
            login_limit.note_failure(self.request, username)
            raise
        login_limit.forget(self.request, username)
        return cleaned

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        try:
            presence.arrive(access.agent_of(user))
        except NotAnAgent as error:
            raise ValidationError(_("This user is not an agent.")) from error


class Login(LoginView):
    template_name = "agent_workbench/login.html"
    authentication_form = AgentLoginForm
    redirect_authenticated_user = True


@login_required
@never_cache
@ensure_csrf_cookie
def console(request: HttpRequest) -> HttpResponse:
    try:
        agent = access.agent_of(request.user)
    except NotAnAgent as error:
        raise PermissionDenied from error
    return render(request, "agent_workbench/console.html", {"agent": agent})
