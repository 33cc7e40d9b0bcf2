"""Cursors: opaque to clients, `epoch-seq` for one target, joined by `~` for several."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Of one stream. What is longer than a cursor of so many is none of ours.
MAX_TARGETS = 1000
MAX_CHARACTERS = MAX_TARGETS * len("0123456789abcdef-123456789012345678~")

# Epochs of 8 digits are in the cursors and the rows of earlier versions.
_ONE = r"[0-9a-f]{8}(?:[0-9a-f]{8})?-[0-9]{1,18}"
_CURSOR = re.compile(rf"{_ONE}(?:~{_ONE})*", re.ASCII)


def one(epoch: str, seq: int) -> str:
    return f"{epoch}-{seq}"


def join(cursors: Iterable[str]) -> str:
    """One cursor for a stream of several targets, from the cursors of each."""
    return "~".join(cursors)


def parse(cursor: str) -> dict[str, int] | None:
    """`{epoch: seq}`, or None for what was never a cursor."""
    if len(cursor) > MAX_CHARACTERS or not _CURSOR.fullmatch(cursor):
        return None
    positions: dict[str, int] = {}
    for part in cursor.split("~"):
        epoch, _, seq = part.partition("-")
        positions[epoch] = int(seq)
    return positions
