"""Patterns for text that others write: searched in time linear in its length, whatever it says.

RE2 decides without trying again, so no message can hold a thread for longer than its length
warrants; look-arounds and back-references, which would need that, are refused when compiled.
`\\w`, `\\b`, `\\d` and `\\s` mean ASCII here; SPACE is what str.split takes for white space.
"""

from __future__ import annotations

import re2

# More of a text than this is never looked at for what it asks; as long as a message may be.
# One search is linear; replacing does one search for each place found, and so is bounded too.
TEXT_CHARACTERS = 4000

SPACE = r"[\s\v\x1c-\x1f\x{85}\pZ]"
NOT_SPACE = r"[^\s\v\x1c-\x1f\x{85}\pZ]"

_options = re2.Options()
# A pattern that cannot be compiled is raised, not also written to stderr.
_options.log_errors = False


def literal(text: str) -> str:
    """The pattern that matches this text and nothing else."""
    escaped: str = re2.escape(text)
    return escaped


class Pattern:
    """A compiled pattern. Works on UTF-8, so that no position has to be translated."""

    def __init__(self, pattern: str) -> None:
        """Raises re2.error for what cannot be matched in linear time."""
        self.pattern = pattern
        self._regexp = re2.compile(pattern.encode(), _options)

    def search(self, text: str) -> bool:
        return self._regexp.search(_bytes(text)) is not None

    def fullmatch(self, text: str) -> bool:
        return self._regexp.fullmatch(_bytes(text)) is not None

    def sub(self, replacement: str, text: str) -> str:
        """`replacement` stands as it is: no group references."""
        return replacement.join(self.split(text))

    def split(self, text: str) -> list[str]:
        data = _bytes(text)
        parts, end = [], 0
        for match in self._regexp.finditer(data):
            start, next_end = match.span()
            parts.append(data[end:start].decode())
            end = next_end
        return [*parts, data[end:].decode()]

    def findall(self, text: str) -> list[str]:
        """The matches as they stand, groups or not."""
        return [match.group().decode() for match in self._regexp.finditer(_bytes(text))]


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair, which no pattern is about, must not raise.
    return text.encode(errors="replace")
