"""Guessing passwords is slow: failures count per username and per address."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from ninja.errors import Throttled

from ai_chatbot import tokens

PERIOD_SECONDS = 60
FAILURES_PER_USERNAME = 5
FAILURES_PER_ADDRESS = 50


def check(request: HttpRequest, username: str) -> None:
    """Raises Throttled after too many failures."""
    if not settings.RATE_LIMITS:
        return
    for key, limit in _keys(request, username).items():
        if cache.get(key, 0) >= limit:
            raise Throttled(wait=PERIOD_SECONDS)


def note_failure(request: HttpRequest, username: str) -> None:
    for key in _keys(request, username):
        cache.add(key, 0, PERIOD_SECONDS)
        try:
            cache.incr(key)
        except ValueError:
            # It ran out in between: this failure is the first again.
            cache.set(key, 1, PERIOD_SECONDS)


def forget(request: HttpRequest, username: str) -> None:
    """A right password clears the username's failures, not the address's."""
    cache.delete(next(iter(_keys(request, username))))


def _keys(request: HttpRequest, username: str) -> dict[str, int]:
    address = request.META.get("REMOTE_ADDR", "")
    who = tokens.digest(f"{username.casefold()}\n{address}")
    return {
        f"login:{who}": FAILURES_PER_USERNAME,
        f"login-from:{address}": FAILURES_PER_ADDRESS,
    }
