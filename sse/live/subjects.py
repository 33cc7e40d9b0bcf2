"""What streams can be ended by, beside what their project names in a grant."""

from __future__ import annotations

import hashlib

_OF_A_SESSION = "sse:session:"


def subject_of_user(pk: object) -> str:
    """Of every stream whose reader is this user."""
    return f"sse:user:{pk}"


def subject_of_session(key: str) -> str:
    """Of every stream opened with this session. By a digest: subjects stand in the log, where
    a session's key would let its readers in."""
    return f"{_OF_A_SESSION}{hashlib.sha256(key.encode()).hexdigest()}"


def is_of_a_session(subject: str) -> bool:
    return subject.startswith(_OF_A_SESSION)
