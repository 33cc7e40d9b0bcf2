"""People come on duty and leave it: what that means for those who wait, and what these hear."""

from __future__ import annotations

import time
from functools import partial

from django.db.models import Q

from ai_chatbot.conversation import availability, handoff, presence, waiting
from ai_chatbot.conversation.availability import Availability
from ai_chatbot.conversation.rounds import Round
from ai_chatbot.models import LINE_ORDER, ChatSession, Status

# In a long round people come and go: it is asked again after so long.
ASKED_EVERY_SECONDS = 0.25


class _Asked:
    """Who is on duty, as of a moment ago: the same for many who are told one after another."""

    def __init__(self) -> None:
        self._ask()

    def _ask(self) -> None:
        self._at, self._now = time.monotonic(), availability.now()

    def __call__(self) -> Availability:
        if time.monotonic() - self._at > ASKED_EVERY_SECONDS:
            self._ask()
        return self._now


def follow(round: Round) -> None:
    """Nobody waits in line for nobody, and whoever waits by email with the page open is in
    line once somebody is there. Both know whether anybody is."""
    asked = _Asked()
    now = asked()
    if now.someone_on_duty:
        unanswered = ChatSession.objects.filter(
            status=Status.AFTER_HOURS_EMAIL,
            unanswered_since__isnull=False,
            name__in=presence.here(),
        )
        round.each(
            "staff is back", unanswered.order_by(*LINE_ORDER), partial(_back_in_line, asked)
        )
    else:
        round.each(
            "nobody is on duty", ChatSession.objects.pending(), partial(_to_email, asked)
        )
    # Who has no page open reads it with the state; who is in line for nobody hears it above.
    told_here = handoff.LEAVABLE if now.someone_on_duty else (Status.AFTER_HOURS_EMAIL,)
    waiting_here = ChatSession.objects.filter(status__in=told_here, name__in=presence.here())
    untold = waiting_here.exclude(_told(now)).order_by("pk")
    round.each("who is on duty", untold, partial(_tell, now))


def _back_in_line(asked: _Asked, session: ChatSession) -> bool:
    # Somebody may have left since the round began, and who is put in line would read it.
    now = asked()
    if not now.someone_on_duty or not waiting.has_room(session):
        return False
    handoff.staff_back_locked(session, now)
    return True


def _to_email(asked: _Asked, session: ChatSession) -> None:
    now = asked()
    if not now.someone_on_duty:
        handoff.nobody_on_duty_locked(session, now)


def _told(now: Availability) -> Q:
    """As handoff.tell_availability has it: who was told nothing believes in somebody."""
    on_duty = Q(told_on_duty=now.someone_on_duty)
    if now.someone_on_duty:
        on_duty |= Q(told_on_duty__isnull=True)
    if now.back_at is None:
        return on_duty & Q(told_back_at__isnull=True)
    return on_duty & Q(told_back_at=now.back_at)


def _tell(now: Availability, session: ChatSession) -> None:
    handoff.tell_availability(session, now)
