"""Whether a person can come now, and when people are back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from ai_chatbot import events
from ai_chatbot.bells import Bell
from ai_chatbot.conversation import hours

# Rung by whoever changes who is there or who waits, for the watch to look at once.
bell = Bell()


@dataclass(frozen=True, slots=True)
class Availability:
    """`back_at`: when the hours begin again; None while they go on, or if none are to come."""

    someone_on_duty: bool
    back_at: datetime | None


def now() -> Availability:
    """As the rows have it at this moment."""
    schedule, moment = hours.current(), timezone.now()
    if not schedule.is_open(moment):
        return Availability(False, schedule.next_opening(moment))
    return Availability(bool(import_string(settings.HANDOFF_AVAILABILITY)()), None)


def as_json(availability: Availability) -> dict[str, Any]:
    return {
        "someone_on_duty": availability.someone_on_duty,
        "back_at": events.stamp(availability.back_at) if availability.back_at else None,
    }
