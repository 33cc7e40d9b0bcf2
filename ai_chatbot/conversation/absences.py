"""Customers who close their page while somebody is to answer them, and those who come back.

A customer is there while a stream of theirs is open. Of one who never opened any, as an API
client that polls, it is not known, and not held against them: agents are not told that they are
gone. They leave the line only when they have said nothing for as long as others may be away and
keep their place.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from ai_chatbot import events
from ai_chatbot.conversation import handoff, presence
from ai_chatbot.conversation.rounds import Round
from ai_chatbot.models import ChatSession, ChatSessionQuerySet, Message, MessageRole, Status

# Sessions in which a person is to answer.
FOLLOWED = (Status.PENDING_MANUAL, Status.MANUAL_LIVE, Status.AFTER_HOURS_EMAIL)
# `customer_seen_at` is renewed so many times before it would be too old.
RENEWALS = 12
RENEWED_AT_ONCE = 500


def follow(round: Round) -> None:
    _renew(round)
    _come_back(round)
    _go(round)
    _leave_the_line(round)
    _return_to_the_line(round)


def _followed() -> ChatSessionQuerySet:
    return ChatSession.objects.filter(status__in=FOLLOWED)


def _step() -> float:
    return float(settings.CUSTOMER_GONE_SECONDS) / RENEWALS


def _renew(round: Round) -> None:
    """Note when those were seen who are there; of those with the AI alone, that they were."""
    unseen = Q(customer_seen_at__isnull=True)
    old = Q(customer_seen_at__lt=round.now - timedelta(seconds=_step()))
    followed = Q(unseen | old, status__in=FOLLOWED, customer_gone_at__isnull=True)
    here = ChatSession.objects.filter(
        followed | Q(unseen, status=Status.BOT_ACTIVE), name__in=presence.here()
    )
    pks = list(here.order_by("pk").values_list("pk", flat=True)[:RENEWED_AT_ONCE])
    if not pks:
        return
    with transaction.atomic():
        skip = connection.features.has_select_for_update_skip_locked
        rows = ChatSession.objects.filter(pk__in=pks).order_by("pk")
        free = list(rows.select_for_update(skip_locked=skip).values_list("pk", flat=True))
        ChatSession.objects.filter(pk__in=free).update(customer_seen_at=timezone.now())


def _come_back(round: Round) -> None:
    away = _followed().filter(customer_gone_at__isnull=False, name__in=presence.here())
    round.each("customers come back", away.order_by("pk"), _is_back)


def _is_back(session: ChatSession) -> None:
    session.customer_gone_at = None
    session.customer_seen_at = timezone.now()
    session.save(update_fields=["customer_gone_at", "customer_seen_at"])
    _tell_agents(session)


def _go(round: Round) -> None:
    limit = round.before(settings.CUSTOMER_GONE_SECONDS + _step())
    if limit is None:
        return
    unseen = _followed().filter(customer_gone_at__isnull=True, customer_seen_at__lt=limit)
    unseen = unseen.exclude(name__in=presence.here()).order_by("customer_seen_at")

    def go(session: ChatSession) -> None:
        # Who writes, or asks for a person, is there, page or not.
        said = session.messages.filter(role=MessageRole.USER).order_by("-pk").first()
        signs = [session.customer_seen_at, session.escalated_at, said and said.created_at]
        seen_at = max(sign for sign in signs if sign)
        session.customer_seen_at = seen_at
        if seen_at < limit:
            session.customer_gone_at = seen_at
        session.save(update_fields=["customer_gone_at", "customer_seen_at"])
        if session.customer_gone_at:
            _tell_agents(session)

    round.each("customers go", unseen, go)


def _leave_the_line(round: Round) -> None:
    if not settings.CUSTOMER_ABANDON_SECONDS:
        return
    line = ChatSession.objects.pending()
    if limit := round.before(settings.CUSTOMER_ABANDON_SECONDS):
        gone = line.filter(customer_gone_at__lt=limit, **_silent_since(limit))
        left = gone.exclude(name__in=presence.here())
        round.each("customers leave the line", left, _leave)
    if limit := round.before(settings.CUSTOMER_RETURN_SECONDS):
        unknown = line.filter(customer_seen_at__isnull=True, **_silent_since(limit))
        left = unknown.exclude(name__in=presence.here())
        round.each("customers without a page leave the line", left, _leave)


def _silent_since(limit: object) -> dict[str, object]:
    return {"escalated_at__lt": limit, "last_message_at__lt": limit}


def _leave(session: ChatSession) -> None:
    handoff.leave_line_locked(session)


def _return_to_the_line(round: Round) -> None:
    left = ChatSession.objects.filter(status=Status.BOT_ACTIVE, left_line_at__isnull=False)
    left = left.order_by("left_line_at")
    in_time = left
    if limit := round.before(settings.CUSTOMER_RETURN_SECONDS):
        round.each("places are forgotten", left.filter(left_line_at__lt=limit), _forget)
        in_time = left.filter(left_line_at__gte=limit)
    wrote = Message.objects.filter(
        session=OuterRef("pk"), role=MessageRole.USER, created_at__gt=OuterRef("left_line_at")
    )
    back = in_time.filter(Q(name__in=presence.here()) | Exists(wrote))
    round.each("customers return to the line", back, _rejoin)


def _forget(session: ChatSession) -> None:
    handoff.forget_place_locked(session)


def _rejoin(session: ChatSession) -> None:
    session.customer_gone_at = None
    if session.customer_seen_at:
        session.customer_seen_at = timezone.now()
    handoff.rejoin_line_locked(session)


def _tell_agents(session: ChatSession) -> None:
    if session.status == Status.MANUAL_LIVE:
        events.own_session_updated(session)
    else:
        events.queue_updated(session, "updated")
