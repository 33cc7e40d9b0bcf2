"""How often one caller may do a thing; all switched off by RATE_LIMITS=off."""

from __future__ import annotations

import threading
from typing import Literal

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from ninja.throttling import BaseThrottle

from ai_chatbot.counters import counter
from sse.live.addresses import network

PERIOD_SECONDS = 60.0


class Limit(BaseThrottle):
    """`amount` requests a minute, for each client address or for each session in a request's
    path. A request is counted before it is answered, and not if it is refused."""

    def __init__(self, scope: str, amount: int, *, per: Literal["address", "session"]) -> None:
        self.scope = scope
        self.amount = amount
        self.per = per
        # One object serves all threads, and ninja asks for the wait without the request.
        self._refused = threading.local()

    def allow_request(self, request: HttpRequest) -> bool:
        if not settings.RATE_LIMITS:
            return True
        wait = counter().hit(self.scope, self._who(request), self.amount, PERIOD_SECONDS)
        self._refused.wait = wait
        return not wait

    def wait(self) -> float:
        """Seconds until one more is let through."""
        seconds: float = self._refused.wait
        return seconds

    def _who(self, request: HttpRequest) -> str:
        if self.per == "address":
            return caller(request)
        match = request.resolver_match
        return match.kwargs.get("session_name", "") if match else ""


def caller(request: HttpRequest) -> str:
    """The client as limits know it: see sse.live.addresses.network."""
    return network(request.META.get("REMOTE_ADDR", ""))


def origin(request: HttpRequest) -> str:
    """The caller as it may be stored: without the key nobody gets from it to the address."""
    return salted_hmac("origin", caller(request), algorithm="sha256").hexdigest()[:32]
