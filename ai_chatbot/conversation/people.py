"""An agent as the conversation knows one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """The user's id and the name that customers see."""

    id: int
    name: str
    # May act on conversations that other agents have.
    supervises: bool = False
