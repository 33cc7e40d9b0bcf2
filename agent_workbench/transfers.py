"""Transfers: the owner asks another agent to take a conversation, and stays its owner until
that agent accepts."""

from __future__ import annotations


def expire() -> None:
    """End the requests that nobody answered in time, or whose conversation has moved on."""
