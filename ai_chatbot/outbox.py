"""Mail on its way: written with what it tells of, sent afterwards by any process.

A mail is claimed for a LEASE, composed, sent while no transaction is open, and marked. If its
process dies in between, another one sends it after the lease: it may come twice, with the same
Message-ID, and is not lost. What fails is tried again after pauses that grow, a day in all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from smtplib import (
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)
from socket import SHUT_RDWR
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import Error, connection, transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from ai_chatbot import letters
from ai_chatbot.bells import Bell
from ai_chatbot.conversation import presence
from ai_chatbot.models import ChatSession, Mail, Message, Status
from sse.process import outages
from sse.process.runtime import Runtime, get_runtime
from sse.process.supervisor import Pulse

logger = logging.getLogger(__name__)

# More than SEND_SECONDS, and a few tries to note what came of it.
LEASE = timedelta(seconds=120)
# One mail, all its steps together; EMAIL_TIMEOUT bounds each.
SEND_SECONDS = 60.0
# How often a process looks for mail that nobody rang it for, or whose time has come.
SWEEP_SECONDS = 2.0
PULSE_SECONDS = 1.0
# 5, 20, 80 seconds and so on to four hours: a day in all.
MOST_TRIES = 12
FIRST_PAUSE_SECONDS = 5.0
PAUSE_GROWS = 4
LONGEST_PAUSE_SECONDS = 4 * 3600.0
# Threads that a mail server does not let go of. With so many, no more mail is tried.
MOST_THREADS = 4
ERROR_CHARACTERS = 300

bell = Bell()

# As this process counted last; None before.
_standing: dict[str, int] | None = None


class MailRefused(Exception):
    """By the backend itself, without a reason."""


def owe_staff(session: ChatSession) -> None:
    """One mail for each session to STAFF_EMAIL, if there is any; under the session's lock."""
    if not settings.STAFF_EMAIL:
        return
    if session.mails.filter(kind=Mail.Kind.STAFF).exists():
        return
    _write(Mail(session=session, kind=Mail.Kind.STAFF, due_at=timezone.now()))


def owe_reply(session: ChatSession, message: Message) -> None:
    """What an agent wrote goes to the contact address, unless the customer reads it first.

    In a live conversation only to a customer who is away: who stays a moment less than it takes
    to be sure would get the last words of every chat by mail.
    """
    if not session.contact_email:
        return
    if session.status == Status.MANUAL_LIVE and presence.is_here(session):
        return
    due_at = message.created_at + letters.SETTLES
    _write(Mail(session=session, kind=Mail.Kind.REPLY, message=message, due_at=due_at))


def delivery(message: Message) -> str:
    """How a message of an agent's goes to the customer, as far as is known now: `live`, `mail`
    or `none`."""
    if presence.is_here(message.session):
        return "live"
    return "mail" if message.mails.exists() else "none"


def send_again(mails: QuerySet[Mail]) -> int:
    """Those that failed for good begin anew; how many."""
    count = mails.filter(state=Mail.State.FAILED).update(
        state=Mail.State.WAITING, tries=0, due_at=timezone.now(), lease_until=None, error=""
    )
    transaction.on_commit(bell.ring, robust=True)
    return count


def standing() -> dict[str, int] | None:
    """`{waiting, failed}` as this process counted last, some seconds ago."""
    return _standing


def _write(mail: Mail) -> None:
    mail.save()
    transaction.on_commit(bell.ring, robust=True)


# --- Sending ----------------------------------------------------------------------------


async def keep_sending(pulse: Pulse) -> None:
    """Send mail for as long as the process serves. Any process may, also several."""
    bell.hang()
    runtime = get_runtime()
    while True:
        pulse()
        try:
            sends = True
            while sends:
                pulse()
                await runtime.database(_count, purpose="chores")
                sends = await _send_next(runtime, pulse)
        except Error as error:
            if not outages.kind(error):
                raise
            outages.note("mail", error)
        await bell.wait(SWEEP_SECONDS)


async def _send_next(runtime: Runtime, pulse: Pulse) -> bool:
    """Send one that is due; whether there was any."""
    if _senders.full():
        pulse(False)
        return False
    claimed = await runtime.database(claim, purpose="chores")
    if claimed is None:
        return False
    pk, tries = claimed
    error: BaseException | None = None
    try:
        message = await runtime.database(compose, pk, purpose="chores")
        if message is None:
            await _mark(runtime, pulse, needless, pk, tries)
            return True
        await _send(message, pulse)
    except letters.TooEarly as early:
        await _mark(runtime, pulse, postponed, pk, tries, early.until)
        return True
    except (SMTPException, OSError, MailRefused) as trouble:
        error = trouble
    except Exception as trouble:
        if outages.kind(trouble):
            # The lease runs out, and it is found again when the database is back.
            raise
        # Of a template, a backend or an address: it fails for good if it goes on doing so.
        logger.exception("mail %s cannot be sent", pk)
        error = trouble
    if error is None:
        await _mark(runtime, pulse, sent, pk, tries)
    else:
        await _mark(runtime, pulse, failed, pk, tries, error)
    return True


async def _mark(runtime: Runtime, pulse: Pulse, mark: Callable[..., None], *args: Any) -> None:
    """Note what came of a mail, however long the database takes: else it is sent again."""
    while True:
        try:
            await runtime.database(mark, *args, purpose="chores")
        except Error as error:
            if not outages.kind(error):
                raise
            outages.note("a mail's end", error)
            pulse(None)
            await asyncio.sleep(PULSE_SECONDS)
        else:
            return


async def _send(message: EmailMessage, pulse: Pulse) -> None:
    """Raises what the backend does, and TimeoutError after SEND_SECONDS."""
    backend = get_connection()
    sending = _senders.start(lambda: _deliver(backend, message))
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + SEND_SECONDS
    while not sending.done() and loop.time() < ends_at:
        pulse()
        await asyncio.wait({sending}, timeout=PULSE_SECONDS)
    if not sending.done():
        _hang_up(backend)
        raise TimeoutError(f"not taken within {SEND_SECONDS:g} s")
    sending.result()


def _deliver(backend: BaseEmailBackend, message: EmailMessage) -> None:
    if not backend.send_messages([message]):
        raise MailRefused("the mail backend sent nothing")


def _hang_up(backend: BaseEmailBackend) -> None:
    """End what a thread waits for, if it has come as far as to have a connection."""
    opened = getattr(getattr(backend, "connection", None), "sock", None)
    if opened is not None:
        with suppress(OSError):
            opened.shutdown(SHUT_RDWR)


class _Senders:
    """Threads that talk to a mail server. They do not keep the process from ending."""

    def __init__(self) -> None:
        self._running: set[threading.Thread] = set()

    def full(self) -> bool:
        self._running = {thread for thread in self._running if thread.is_alive()}
        return len(self._running) >= MOST_THREADS

    def start(self, work: Callable[[], None]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell(error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
                # It may have been given up, and then nobody asks.
                done.exception()

        def run() -> None:
            error: BaseException | None = None
            try:
                work()
            except Exception as trouble:  # noqa: BLE001 - it is raised where it is awaited
                error = trouble
            # The loop ends with its process.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, error)

        thread = threading.Thread(target=run, name="mail", daemon=True)
        self._running.add(thread)
        thread.start()
        return done


_senders = _Senders()


# --- In the database --------------------------------------------------------------------


def claim() -> tuple[int, int] | None:
    """Take the mail that is due for longest, for a LEASE: its key, and which try this is."""
    # Looking takes no lock; on SQLite a transaction would.
    while _due().exists():
        claimed = _claim()
        if claimed is None:
            # Others were quicker.
            return None
        pk, tries = claimed
        if tries <= MOST_TRIES:
            return pk, tries
        failed(pk, tries, MailRefused("its process ended in the middle, again and again"))
    return None


@transaction.atomic
def _claim() -> tuple[int, int] | None:
    rows = _due().order_by("due_at", "pk")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    found = rows.values_list("pk", "tries").first()
    if found is None:
        return None
    pk, tries = found
    Mail.objects.filter(pk=pk).update(tries=tries + 1, lease_until=timezone.now() + LEASE)
    return pk, tries + 1


def _due() -> QuerySet[Mail]:
    now = timezone.now()
    return Mail.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=now),
        state=Mail.State.WAITING,
        due_at__lte=now,
    )


def compose(pk: int) -> EmailMessage | None:
    """None where it need not be sent any more, or has been deleted."""
    mail = Mail.objects.select_related("session", "message").filter(pk=pk).first()
    return None if mail is None else letters.write(mail)


def sent(pk: int, tries: int) -> None:
    _claimed(pk, tries).update(
        state=Mail.State.SENT, sent_at=timezone.now(), lease_until=None, error=""
    )
    logger.info("mail %s is sent", pk)


def postponed(pk: int, tries: int, until: datetime) -> None:
    """It was not tried yet."""
    _claimed(pk, tries).update(due_at=until, tries=tries - 1, lease_until=None)


def needless(pk: int, tries: int) -> None:
    _claimed(pk, tries).update(state=Mail.State.NEEDLESS, lease_until=None, error="")


def failed(pk: int, tries: int, error: BaseException) -> None:
    """It is tried again, unless that is of no use."""
    text = _what(error)
    if _is_final(error) or tries >= MOST_TRIES:
        logger.error("mail %s failed for good, at try %d: %s", pk, tries, _kind(error))
        _claimed(pk, tries).update(state=Mail.State.FAILED, lease_until=None, error=text)
        return
    pause = min(FIRST_PAUSE_SECONDS * PAUSE_GROWS ** (tries - 1), LONGEST_PAUSE_SECONDS)
    logger.warning("mail %s failed, again in %g s: %s", pk, pause, _kind(error))
    _claimed(pk, tries).update(
        due_at=timezone.now() + timedelta(seconds=pause), lease_until=None, error=text
    )


def _claimed(pk: int, tries: int) -> QuerySet[Mail]:
    """The mail, unless another process has claimed it since."""
    return Mail.objects.filter(pk=pk, tries=tries, state=Mail.State.WAITING)


def _is_final(error: BaseException) -> bool:
    """Whether the server will never take it: 5xx for the addresses or the mail itself. A login
    that fails, or a greeting, is a matter of the settings."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, (SMTPSenderRefused, SMTPDataError)) and error.smtp_code >= 500


def _kind(error: BaseException) -> str:
    """For the log: without what the server said, which may name the customer's address."""
    name = type(error).__name__
    if isinstance(error, SMTPRecipientsRefused):
        codes = sorted({code for code, _ in error.recipients.values()})
        return f"{name} {', '.join(map(str, codes))}"
    if isinstance(error, SMTPResponseException):
        return f"{name} {error.smtp_code}"
    theirs = isinstance(error, SMTPException) and not isinstance(error, SMTPServerDisconnected)
    text = "" if theirs else str(error)
    return f"{name}: {text}" if text else name


def _what(error: BaseException) -> str:
    """For the admin."""
    text = " ".join(f"{type(error).__name__}: {error}".replace("\x00", "").split())
    return text[:ERROR_CHARACTERS]


def _count() -> None:
    global _standing
    counted = dict(
        Mail.objects.filter(state__in=[Mail.State.WAITING, Mail.State.FAILED])
        .order_by()
        .values_list("state")
        .annotate(Count("pk"))
    )
    _standing = {
        "waiting": counted.get(Mail.State.WAITING, 0),
        "failed": counted.get(Mail.State.FAILED, 0),
    }
