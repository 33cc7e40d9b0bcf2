"""Who has the conversation: every change of a session's status goes through here.

Each verb locks the session, checks, changes it and announces, in one transaction; its `_locked`
twin is for a caller who holds the lock, and nothing else is read anew. The order of locks is:
session, places of its address, agents by their key, its turn, its event target, the target of
all agents, an agent's target, the target that revocations are announced on.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import override

from ai_chatbot import events, turns
from ai_chatbot.conversation import audit, availability, records, waiting
from ai_chatbot.conversation.availability import Availability
from ai_chatbot.conversation.people import Person
from ai_chatbot.conversation.records import Cause
from ai_chatbot.exceptions import (
    AlreadyTaken,
    IllegalTransition,
    ManualInProgress,
    NotAssigned,
    NotLive,
    NotPending,
    SessionClosed,
    SessionNotFound,
)
from ai_chatbot.models import (
    ChatSession,
    Message,
    MessageRole,
    Outcome,
    Priority,
    Reason,
    Severity,
    Status,
)

# What a customer may leave again for the AI.
LEAVABLE = (Status.PENDING_MANUAL, Status.AFTER_HOURS_EMAIL)


def lock(session_name: str) -> ChatSession:
    """The session, its row locked until the transaction ends. Raises SessionNotFound."""
    try:
        return ChatSession.objects.select_for_update().get(name=session_name)
    except ChatSession.DoesNotExist:
        raise SessionNotFound from None


# --- Asking for a person ----------------------------------------------------------------


@transaction.atomic
def escalate(
    session_name: str, *, reason: Reason = Reason.REQUESTED, text: str = ""
) -> ChatSession:
    """Ask for a person: into the line, or to email if nobody can come or too many from the
    same address are waiting.

    Raises SessionNotFound, SessionClosed, ManualInProgress.
    """
    return escalate_locked(lock(session_name), Cause(reason, text))


def escalate_locked(session: ChatSession, cause: Cause) -> ChatSession:
    if session.status == Status.CLOSED:
        raise SessionClosed
    if session.status in (Status.PENDING_MANUAL, Status.MANUAL_LIVE):
        raise ManualInProgress(status=session.status)
    now = timezone.now()
    available = availability.now()
    someone_can_come = available.someone_on_duty
    has_room = someone_can_come and waiting.has_room(session)
    by_email = session.status == Status.AFTER_HOURS_EMAIL
    if has_room:
        turns.abort_active(session, "escalated")
    if not by_email:
        if session.left_line_at is None:
            session.escalated_at = session.unanswered_since = now
        records.begin(session, cause)
    session.left_line_at = None
    # Also of one who was written to, and asks for a person again.
    session.unanswered_since = session.unanswered_since or now
    session.escalation_reason = (
        cause.text[: records.TEXT_CHARACTERS] or session.escalation_reason
    )
    session.priority = max(session.priority, cause.priority)
    session.skills = sorted({*session.skills, *cause.skills})
    with override(session.language):
        if cause.unasked:
            say(session, _("I am asking a person from our team to help you."))
        if has_room:
            session.escalated_at = session.escalated_at or now
            say(session, _("You are in line for a member of our team. Please stay here."))
            _become(session, Status.PENDING_MANUAL, cause.reason, available)
        elif someone_can_come:
            say(
                session,
                _(
                    "Many people from your network are in line already. Leave your message and "
                    "your email address, and we will write to you."
                ),
            )
        else:
            _say_nobody_is_here(session)
        if not has_room:
            if by_email:
                session.save()
            else:
                _become(session, Status.AFTER_HOURS_EMAIL, Reason.NOBODY_ON_DUTY, available)
    return session


@transaction.atomic
def cancel_escalation(session_name: str) -> ChatSession:
    """Back to the AI, from the line or from waiting for an email.

    Raises SessionNotFound, NotPending.
    """
    session = lock(session_name)
    if session.status not in LEAVABLE:
        raise NotPending(status=session.status)
    was_in_line = session.status == Status.PENDING_MANUAL
    records.end(session, Outcome.CANCELLED)
    _forget_handoff(session)
    with override(session.language):
        say(
            session,
            _("You left the line. The AI assistant is with you again.")
            if was_in_line
            else _("The AI assistant is with you again."),
        )
    _become(session, Status.BOT_ACTIVE, Reason.CANCELLED)
    return session


def prioritise_locked(session: ChatSession, priority: Priority) -> ChatSession:
    """Places in the line move by it. Raises SessionClosed."""
    if session.status == Status.CLOSED:
        raise SessionClosed
    if session.priority == priority:
        return session
    session.priority = priority
    session.save(update_fields=["priority", "updated_at"])
    if session.status in LEAVABLE:
        events.queue_updated(session, "updated")
        transaction.on_commit(waiting.bell.ring, robust=True)
    elif session.status == Status.MANUAL_LIVE:
        events.own_session_updated(session)
    return session


# --- Duty and presence: what follows when time passes -----------------------------------


def nobody_on_duty_locked(session: ChatSession, now: Availability | None = None) -> ChatSession:
    """The last agent left, or the hours ended: whoever waits keeps the place, by email.

    `now`: what the caller knows of who is on duty; else it is asked.
    """
    if session.status != Status.PENDING_MANUAL:
        raise NotPending(status=session.status)
    with override(session.language):
        _say_nobody_is_here(session)
    _become(session, Status.AFTER_HOURS_EMAIL, Reason.NOBODY_ON_DUTY, now)
    return session


def staff_back_locked(session: ChatSession, now: Availability | None = None) -> ChatSession:
    """Somebody came on duty, or the customer is back who had left an address and the line:
    back into the line, at the place that was kept. `now` as above."""
    if session.status != Status.AFTER_HOURS_EMAIL:
        raise NotPending(status=session.status)
    turns.abort_active(session, "staff_back")
    session.escalated_at = session.escalated_at or timezone.now()
    was_away, session.left_line_at = session.left_line_at is not None, None
    with override(session.language):
        if was_away:
            say(session, _("Welcome back. You have your old place in line again."))
        else:
            say(session, _("Our team is back, and you are in line to talk to someone."))
    reason = Reason.CUSTOMER_BACK if was_away else Reason.STAFF_BACK
    _become(session, Status.PENDING_MANUAL, reason, now)
    return session


def leave_line_locked(session: ChatSession) -> ChatSession:
    """The customer went away while waiting; who is back in time has the place again. Whoever
    left an address is written to."""
    if session.status != Status.PENDING_MANUAL:
        raise NotPending(status=session.status)
    session.left_line_at = timezone.now()
    session.queue_position = session.told_wait = None
    with override(session.language):
        say(session, _("You were away, so we took you out of the line for now."))
    if session.contact_email:
        session.unanswered_since = session.unanswered_since or session.left_line_at
        _become(session, Status.AFTER_HOURS_EMAIL, Reason.CUSTOMER_GONE)
    else:
        records.end(session, Outcome.CUSTOMER_GONE)
        _become(session, Status.BOT_ACTIVE, Reason.CUSTOMER_GONE)
    return session


def rejoin_line_locked(session: ChatSession) -> ChatSession:
    """The customer is back in time: into the line at the old place, or to email."""
    if session.status != Status.BOT_ACTIVE or session.left_line_at is None:
        raise NotPending(status=session.status)
    turns.abort_active(session, "escalated")
    session.left_line_at = None
    session.escalated_at = session.escalated_at or timezone.now()
    session.unanswered_since = session.unanswered_since or timezone.now()
    records.begin(session, Cause(Reason.CUSTOMER_BACK, session.escalation_reason))
    with override(session.language):
        say(session, _("Welcome back. You have your old place in line again."))
    return _into_line(session, Reason.CUSTOMER_BACK)


def forget_place_locked(session: ChatSession) -> ChatSession:
    """The customer did not come back in time: nothing of the request for a person is left."""
    if session.status != Status.BOT_ACTIVE or session.left_line_at is None:
        raise NotPending(status=session.status)
    _forget_handoff(session)
    session.save()
    return session


def requeue_locked(
    session: ChatSession, reason: Reason, by: Person | None = None
) -> ChatSession:
    """From an agent back into the line, ahead of others of its priority; and on to email if
    nobody is on duty.

    `reason`: REQUEUED, AGENT_LOST or AGENT_SILENT. Raises NotLive.
    """
    if session.status != Status.MANUAL_LIVE:
        raise NotLive(status=session.status)
    now = timezone.now()
    name = session.agent_name
    records.end(session, Outcome(reason))
    audit.note(audit.REQUEUE, by, session=session.name, reason=reason, agent=session.agent_id)
    session.former_agent_id = session.agent_id
    session.agent, session.agent_name = None, ""
    session.ahead = True
    session.escalated_at = session.escalated_at or now
    session.unanswered_since = session.unanswered_since or now
    session.silence_noticed = 0
    severity = Severity.MEDIUM if reason == Reason.REQUEUED else Severity.HIGH
    records.begin(session, Cause(reason, session.escalation_reason, severity=severity))
    with override(session.language):
        if reason == Reason.AGENT_LOST:
            text = _(
                "The connection to %(name)s was lost. You are in line for a colleague, ahead "
                "of others."
            )
        else:
            text = _(
                "%(name)s had to leave the conversation. You are in line for a colleague, "
                "ahead of others."
            )
        say(session, text % {"name": name})
    return _into_line(session, reason)


def _into_line(session: ChatSession, reason: Reason) -> ChatSession:
    """And on to email if nobody is on duty."""
    now = availability.now()
    _become(session, Status.PENDING_MANUAL, reason, now)
    return session if now.someone_on_duty else nobody_on_duty_locked(session, now)


# --- Owners -----------------------------------------------------------------------------


@transaction.atomic
def take_over(session_name: str, agent: Person) -> ChatSession:
    """Make the agent the session's one owner. Repeating it changes nothing.

    Raises SessionNotFound, SessionClosed, AlreadyTaken (with who has it).
    """
    return take_over_locked(lock(session_name), agent)


def take_over_locked(
    session: ChatSession,
    agent: Person,
    *,
    reason: Reason = Reason.TAKEN_OVER,
    by: Person | None = None,
    force: bool = False,
) -> ChatSession:
    """`reason`: TAKEN_OVER, ASSIGNED or TRANSFERRED; `by`: who decided, if not the agent.

    `force`: also from another owner. Whether the agent has room is the caller's to know.
    Raises SessionClosed, AlreadyTaken.
    """
    check_may_take(session, agent, force=force)
    if session.status == Status.MANUAL_LIVE:
        if session.agent_id == agent.id:
            return session
        records.end(session, Outcome.TRANSFERRED)
    turns.abort_active(session, "taken_over")
    now = timezone.now()
    was_live, former = session.status == Status.MANUAL_LIVE, session.agent_name
    if session.escalated_at and not was_live:
        session.waited_seconds = round((now - session.escalated_at).total_seconds())
    if was_live:
        session.former_agent_id = session.agent_id
    session.taken_at = now
    session.left_line_at = None
    session.silence_noticed = 0
    session.unanswered_since = session.unanswered_since or now
    session.agent_id, session.agent_name = agent.id, agent.name
    records.take(session, agent, reason)
    action = {Reason.ASSIGNED: audit.ASSIGN, Reason.TRANSFERRED: audit.TRANSFER}
    audit.note(
        action.get(reason, audit.TAKE_OVER),
        by or (None if reason == Reason.ASSIGNED else agent),
        session=session.name,
        agent=agent.id,
        former=session.former_agent_id if was_live else None,
    )
    with override(session.language):
        if was_live:
            text = _("%(name)s has taken over from %(former)s.")
        else:
            text = _("%(name)s has joined the conversation.")
        say(session, text % {"name": agent.name, "former": former})
    _become(session, Status.MANUAL_LIVE, reason)
    events.session_assigned(session)
    return session


def check_may_take(session: ChatSession, agent: Person, *, force: bool = False) -> None:
    """`force`: also from another owner. Raises SessionClosed, AlreadyTaken."""
    if session.status == Status.CLOSED:
        raise SessionClosed
    others = session.status == Status.MANUAL_LIVE and session.agent_id != agent.id
    if others and not force:
        raise AlreadyTaken(agent=events.person(session.agent_id, session.agent_name))


@transaction.atomic
def release(session_name: str, by: Person | None) -> ChatSession:
    """Give the conversation back to the AI. `by` None: the site's administration.

    Raises SessionNotFound, NotLive, NotAssigned.
    """
    session = lock(session_name)
    if session.status != Status.MANUAL_LIVE:
        raise NotLive(status=session.status)
    check_owner(session, by)
    records.end(session, Outcome.RELEASED)
    audit.note(audit.RELEASE, by, session=session.name, agent=session.agent_id)
    _forget_handoff(session)
    session.former_agent_id = session.agent_id
    session.agent, session.agent_name = None, ""
    with override(session.language):
        say(session, _("The AI assistant is with you again."))
    _become(session, Status.BOT_ACTIVE, Reason.RELEASED)
    return session


@transaction.atomic
def close(session_name: str, by: Person | None, *, reason: Reason) -> ChatSession:
    """End the conversation; a closed one stays as it is. `by` None: customer, administration,
    or the system.

    An agent may close the conversation they have, or one that nobody has.
    Raises SessionNotFound, NotAssigned.
    """
    return close_locked(lock(session_name), by, reason=reason)


def close_locked(session: ChatSession, by: Person | None, *, reason: Reason) -> ChatSession:
    if session.status == Status.CLOSED:
        return session
    if by is not None and session.agent_id is not None:
        check_owner(session, by)
    turns.abort_active(session, "closed")
    records.end(session, Outcome.CLOSED)
    audit.note(audit.CLOSE, by, session=session.name, reason=reason, agent=session.agent_id)
    _forget_handoff(session)
    session.closed_at = timezone.now()
    with override(session.language):
        say(session, _("This conversation is closed."))
    _become(session, Status.CLOSED, reason)
    return session


@transaction.atomic
def reopen(session_name: str, by: Person | None = None) -> ChatSession:
    """A closed conversation goes on, with the AI. Raises SessionNotFound, IllegalTransition."""
    session = lock(session_name)
    if session.status != Status.CLOSED:
        raise IllegalTransition(status=session.status, to=str(Status.BOT_ACTIVE))
    audit.note(audit.REOPEN, by, session=session.name)
    session.former_agent_id = session.agent_id or session.former_agent_id
    session.agent, session.agent_name = None, ""
    session.closed_at = None
    with override(session.language):
        say(session, _("This conversation is open again."))
    _become(session, Status.BOT_ACTIVE, Reason.REOPENED)
    return session


# --- What they share --------------------------------------------------------------------


def _become(
    session: ChatSession, status: Status, reason: Reason, now: Availability | None = None
) -> None:
    """`now`: what the caller knows of who is on duty. Saves whatever else has changed."""
    if not session.may_become(status):
        raise IllegalTransition(status=session.status, to=str(status))
    previous, session.status = session.status, status
    session.ownership_epoch += 1
    if status != Status.PENDING_MANUAL:
        session.queue_position = session.told_wait = None
    if status == Status.AFTER_HOURS_EMAIL:
        records.stand(session, Outcome.BY_EMAIL)
    elif status == Status.PENDING_MANUAL:
        records.stand(session, Outcome.WAITING)
    untold = None
    if status in LEAVABLE:
        now = now or availability.now()
        untold = now if _note_availability(session, now) else None
    session.save()
    if previous in turns.ANSWERED and status in turns.ANSWERED:
        # The AI has it as before, so an answer that is being given goes on.
        turns.follow(session)
    events.status_changed(session, previous, reason)
    if untold:
        events.availability_changed(session, untold.someone_on_duty, untold.back_at)
    if status == Status.PENDING_MANUAL:
        events.queue_updated(session, "added")
    elif previous == Status.PENDING_MANUAL:
        events.queue_updated(session, "removed")
    if Status.PENDING_MANUAL in (previous, status):
        transaction.on_commit(waiting.bell.ring, robust=True)
    transaction.on_commit(availability.bell.ring, robust=True)


def tell_availability(session: ChatSession, now: Availability) -> None:
    """Tell a customer who waits whether anybody is on duty, unless that is what was told last.

    Under the session's lock.
    """
    if _note_availability(session, now):
        session.save(update_fields=["told_on_duty", "told_back_at"])
        events.availability_changed(session, now.someone_on_duty, now.back_at)


def _note_availability(session: ChatSession, now: Availability) -> bool:
    """Whether the customer, who waits, has to be told: was told something else last."""
    # Nobody is put in line unless somebody is on duty.
    on_duty = session.told_on_duty is None or session.told_on_duty
    if (on_duty, session.told_back_at) == (now.someone_on_duty, now.back_at):
        return False
    session.told_on_duty, session.told_back_at = now.someone_on_duty, now.back_at
    return True


def say(session: ChatSession, text: str) -> Message:
    """A line of the system's own, which the customer sees."""
    message = Message.objects.create(session=session, role=MessageRole.SYSTEM, content=text)
    session.last_message_at = message.created_at
    events.message_added(message)
    return message


def _say_nobody_is_here(session: ChatSession) -> None:
    say(
        session,
        _(
            "Nobody from our team is here right now. Leave your message and your email "
            "address, and we will write to you."
        ),
    )


def _forget_handoff(session: ChatSession) -> None:
    """Leave nothing that would look like a request for a person."""
    session.escalated_at = None
    session.escalation_reason = ""
    session.queue_position = session.told_wait = None
    session.left_line_at = None
    session.unanswered_since = None
    session.silence_noticed = 0
    session.ahead = False
    session.priority = Priority.NORMAL
    session.skills = []


def check_owner(session: ChatSession, by: Person | None) -> None:
    """Raises NotAssigned."""
    if by is not None and session.agent_id != by.id and not by.supervises:
        raise NotAssigned(agent=events.person(session.agent_id, session.agent_name))
