"""The agents' pages: login and console."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie

from agent_workbench import access
from agent_workbench.exceptions import NotAnAgent
from agent_workbench.forms import AgentLoginForm


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
