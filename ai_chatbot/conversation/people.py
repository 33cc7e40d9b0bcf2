"""An agent as the conversation knows one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Person:
    """The user's id and the name that customers see."""

    id: int
    name: str
    # May act on conversations that other agents have.
    supervises: bool = False


def administration(user: Any) -> Person:
    """A user of Django's admin, who need not be an agent and may act on every conversation."""
    return Person(user.pk, user.get_username(), supervises=True)
