"""Names of targets: what is accepted, and how it is stored."""

from __future__ import annotations

import json

from sse.exceptions import InvalidTarget

MAX_CHARACTERS = 200

# Every process of the system listens here: revoked streams are announced on it. No project's
# channel, and stored as it is.
CONTROL = "sse:control"


def storable(name: str) -> str:
    """The name as a text that every database can hold: one to one, and itself if it is plain.

    PostgreSQL's text has no NUL and UTF-8 no lone surrogates, so both are escaped.

    Raises InvalidTarget for an empty name, one over 200 characters, and CONTROL.
    """
    if not isinstance(name, str):
        raise InvalidTarget(f"A target is a string, not {type(name).__name__}.")
    if not name:
        raise InvalidTarget("A target's name is empty.")
    if len(name) > MAX_CHARACTERS:
        raise InvalidTarget(
            f"A target's name has {len(name)} characters; {MAX_CHARACTERS} is the limit."
        )
    if name == CONTROL:
        raise InvalidTarget(f"{CONTROL} is the app's own.")
    escaped = json.dumps(name, ensure_ascii=False)[1:-1]
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")


def readable(stored: str) -> str:
    """The inverse of `storable`."""
    name: str = json.loads(f'"{stored}"')
    return name
