"""What a shop tells of its customer: an object within bounds that every reader can bear."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

BYTES = 8192
LEVELS = 10
KEYS = 200


def checked(value: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises ValueError where it could not be stored, or not be read again."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except RecursionError as error:
        raise ValueError(f"At most {LEVELS} levels of objects and lists.") from error
    except ValueError as error:
        raise ValueError("This is not JSON that can be stored.") from error
    if size > BYTES:
        raise ValueError(f"At most {BYTES} bytes of JSON.")
    if levels(text) > LEVELS:
        raise ValueError(f"At most {LEVELS} levels of objects and lists.")
    if _keys(value) > KEYS:
        raise ValueError(f"At most {KEYS} keys.")
    if "\\u0000" in text:
        raise ValueError("The character NUL cannot be stored.")
    return value


def levels(text: str) -> int:
    """How deep the JSON text is nested. Python's own reader fails beyond some hundred levels,
    sooner the deeper its caller stands."""
    deepest = level = 0
    quoted = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character in "[{":
            level += 1
            deepest = max(deepest, level)
        elif character in "]}":
            level -= 1
    return deepest


def _keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    if isinstance(value, list):
        return sum(map(_keys, value))
    return 0


class MetadataField(models.JSONField):
    """A JSONField; what it finds nested deeper than LEVELS is handed out as a text."""

    def from_db_value(
        self, value: Any, expression: Any, connection: BaseDatabaseWrapper
    ) -> Any:
        if (
            isinstance(value, str)
            and value.count("[") + value.count("{") > LEVELS
            and levels(value) > LEVELS
        ):
            return {"nested_too_deep": value}
        return super().from_db_value(value, expression, connection)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        # The same column.
        return name, "django.db.models.JSONField", args, kwargs
