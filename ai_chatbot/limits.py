"""How often one caller may do a thing; all switched off by RATE_LIMITS=off."""

from __future__ import annotations

import time
from typing import Literal

from django.conf import settings
from django.http import HttpRequest
from ninja.throttling import SimpleRateThrottle


class Limit(SimpleRateThrottle):
    """`rate` like `30/m`, for each client address or for each session in a request's path.

    One object serves all threads, so unlike its parent it keeps nothing of a request.
    """

    def __init__(self, scope: str, rate: str, *, per: Literal["address", "session"]) -> None:
        self.scope = scope
        self.per = per
        super().__init__(rate)

    def get_cache_key(self, request: HttpRequest) -> str | None:
        if self.per == "session":
            match = request.resolver_match
            who = match.kwargs.get("session_name", "") if match else ""
        else:
            who = request.META.get("REMOTE_ADDR", "")
        return f"limit:{self.scope}:{who}"

    def allow_request(self, request: HttpRequest) -> bool:
        if not settings.RATE_LIMITS:
            return True
        key = self.get_cache_key(request)
        now, period = time.time(), self.duration or 0
        recent = [then for then in self.cache.get(key, []) if then > now - period]
        if len(recent) >= (self.num_requests or 0):
            return False
        self.cache.set(key, [*recent, now], period)
        return True

    def wait(self) -> float:
        """Seconds; on average a place becomes free so soon."""
        return (self.duration or 0) / max(1, self.num_requests or 1)
