"""Conversations in which nothing more is said: the customer is asked once, then they end."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import F, Q
from django.utils.translation import gettext as _
from django.utils.translation import override

from ai_chatbot import turns
from ai_chatbot.conversation import handoff
from ai_chatbot.conversation.rounds import Round
from ai_chatbot.models import ChatSession, ChatSessionQuerySet, Reason, Status


def follow(round: Round) -> None:
    asks, closes = settings.IDLE_FOLLOW_UP_SECONDS, settings.IDLE_CLOSE_SECONDS
    if closes:
        # As long as the link of the last mail leads back. Beside so many days a time in which
        # nobody looked is nothing.
        expired = round.now - max(
            timedelta(days=settings.CONTACT_LINK_DAYS), timedelta(seconds=closes)
        )
        by_email = ChatSession.objects.filter(
            status=Status.AFTER_HOURS_EMAIL,
            unanswered_since__isnull=True,
            last_message_at__lt=expired,
        )
        round.each("conversations by email end", by_email.order_by("last_message_at"), _close)
    if closes and (limit := round.before(closes)):
        idle = _answered().filter(last_message_at__lt=limit)
        if asks:
            # A line of ours was the last.
            idle = idle.filter(followed_up_at=F("last_message_at"))
        round.each("idle conversations end", idle, _close)
    if asks and (limit := round.before(asks)):
        idle = _answered().filter(last_message_at__lt=limit)
        unasked = Q(followed_up_at__isnull=True) | Q(followed_up_at__lt=F("last_message_at"))
        round.each("idle customers are asked", idle.filter(unasked), _ask)


def _answered() -> ChatSessionQuerySet:
    """The next word is the customer's, who has no place in the line to return to."""
    live = Q(status=Status.MANUAL_LIVE, unanswered_since__isnull=True)
    return ChatSession.objects.filter(
        live | Q(status=Status.BOT_ACTIVE, left_line_at__isnull=True)
    ).order_by("last_message_at")


def _ask(session: ChatSession) -> bool:
    if turns.owed(session):
        return False
    with override(session.language):
        line = handoff.say(
            session,
            _("Is there anything else we can help you with? If not, no reply is needed."),
        )
    session.followed_up_at = line.created_at
    session.save(update_fields=["followed_up_at", "last_message_at", "updated_at"])
    return True


def _close(session: ChatSession) -> bool:
    if turns.owed(session):
        return False
    handoff.close_locked(session, None, reason=Reason.IDLE)
    return True
