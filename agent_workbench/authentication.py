"""Who calls: the bearer token of an API client, or the session cookie of a page."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.security.apikey import APIKeyCookie
from ninja.utils import check_csrf

from agent_workbench import access, tokens
from agent_workbench.exceptions import CsrfFailed
from agent_workbench.models import Agent


class AgentToken(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> Agent:
        return tokens.agent_for(token)


class AgentCookie(APIKeyCookie):
    """Django's login. CSRF applies, but a caller without a session is told to log in."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> Agent | None:
        if not request.user.is_authenticated:
            return None
        agent: Agent | None = super().__call__(request)
        return agent

    def _get_key(self, request: HttpRequest) -> str | None:
        if check_csrf(request):
            raise CsrfFailed
        return request.COOKIES.get(self.param_name)

    def authenticate(self, request: HttpRequest, key: str | None) -> Agent:
        return access.agent_of(request.user)


def caller(request: HttpRequest) -> Agent:
    """The authenticated agent. Identity comes from here and never from a body."""
    agent: Agent = request.auth  # type: ignore[attr-defined] # ninja sets it
    return agent
