"""What `manage.py check` says of settings that cannot work; .env.example has them all."""

from __future__ import annotations

from email.utils import parseaddr
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection
from django.utils.module_loading import import_string

from ai_chatbot.conversation import timetable
from ai_chatbot.texts import REPLY_CHARACTERS
from config.env_file import unread_lines, unread_names

# Nobody waits for an answer longer than this.
AI_MOST_SECONDS = 3600
# A month.
WATCH_MOST_SECONDS = 31 * 86_400
MAIL_MOST_SECONDS = 60
CONTACT_MOST_DAYS = 366
SMTP = "django.core.mail.backends.smtp.EmailBackend"
CONSOLE = "django.core.mail.backends.console.EmailBackend"


def service(**_: Any) -> list[CheckMessage]:
    if settings.SERVICE in settings.SERVICES:
        return []
    return [
        Error(
            f"SERVICE is {settings.SERVICE!r}, which is no service: nothing would be served.",
            hint=f"Set it to one of: {', '.join(settings.SERVICES)}.",
            id="config.E001",
        )
    ]


def ai_backend(**_: Any) -> list[CheckMessage]:
    path = settings.AI_BACKENDS.get(settings.AI_BACKEND, settings.AI_BACKEND)
    try:
        backend = import_string(path)
    except ImportError as error:
        problem = f"which cannot be imported: {error}"
    else:
        if callable(getattr(backend, "reply", None)):
            return []
        problem = "which is no backend: it has no method `reply`."
    return [
        Error(
            f"AI_BACKEND is {settings.AI_BACKEND!r}, {problem}",
            hint=f"Use {', '.join(settings.AI_BACKENDS)}, or the dotted path of a class like "
            "ai_chatbot.backends.Backend.",
            id="config.E002",
        )
    ]


def opening_hours(**_: Any) -> list[CheckMessage]:
    try:
        timetable.parse(settings.OPENING_HOURS)
    except timetable.InvalidHours as error:
        return [
            Error(
                f"OPENING_HOURS cannot be read: {error}",
                hint="Write it like: mon-fri 09:00-18:00; sat 22:00-06:00. Empty: always open.",
                id="config.E003",
            )
        ]
    return []


def agent_absence(**_: Any) -> list[CheckMessage]:
    # A day: who is away for longer than that is not at work.
    if 1 <= settings.AGENT_ABSENCE_SECONDS <= 86_400:
        return []
    return [
        Error(
            f"AGENT_ABSENCE_SECONDS is {settings.AGENT_ABSENCE_SECONDS:g}: nobody, or "
            "everybody, would be held to be there.",
            hint="Set it to a number of seconds from 1 to 86400; 60 suits most.",
            id="config.E009",
        )
    ]


def watch(**_: Any) -> list[CheckMessage]:
    names = (
        "AGENT_SILENT_WARN_SECONDS",
        "AGENT_SILENT_ALERT_SECONDS",
        "AGENT_SILENT_REQUEUE_SECONDS",
        "CUSTOMER_ABANDON_SECONDS",
        "CUSTOMER_RETURN_SECONDS",
        "IDLE_FOLLOW_UP_SECONDS",
        "IDLE_CLOSE_SECONDS",
    )
    least = {"CUSTOMER_GONE_SECONDS": 1.0, **dict.fromkeys(names, 0.0)}
    return [
        Error(
            f"{name} is {getattr(settings, name):g}, which is no time to wait.",
            hint=f"Set it to a number of seconds, {limit:g} or more.",
            id="config.E011",
        )
        for name, limit in least.items()
        if not limit <= getattr(settings, name) <= WATCH_MOST_SECONDS
    ]


def transfers(**_: Any) -> list[CheckMessage]:
    if 0 < settings.TRANSFER_SECONDS <= 86_400:
        return []
    return [
        Error(
            f"TRANSFER_SECONDS is {settings.TRANSFER_SECONDS:g}: nobody could accept a "
            "conversation, or a request would stand for ever.",
            hint="Set it to a number of seconds above 0 and up to 86400; 60 suits most.",
            id="config.E014",
        )
    ]


def ways_of_assignment(**_: Any) -> list[CheckMessage]:
    if settings.ASSIGNMENT in settings.ASSIGNMENTS:
        return []
    return [
        Error(
            f"ASSIGNMENT is {settings.ASSIGNMENT!r}, which is no way to assign conversations.",
            hint=f"Set it to one of: {', '.join(settings.ASSIGNMENTS)}.",
            id="config.E016",
        )
    ]


def database_threads(**_: Any) -> list[CheckMessage]:
    threads = sum(settings.SSE_DATABASE_THREADS.values())
    if connection.vendor == "sqlite" or threads < settings.DATABASE_POOL_MAX:
        return []
    return [
        Error(
            f"DATABASE_POOL_MAX is {settings.DATABASE_POOL_MAX}; streams, the AI and the watch "
            f"take {threads} connections of those, which leaves none for requests.",
            hint=f"Set it to {threads + 1} or more; {threads + 10} is usual.",
            id="config.E006",
        )
    ]


def database_deadline(**_: Any) -> list[CheckMessage]:
    bounds = (settings.DATABASE_STATEMENT_SECONDS, settings.DATABASE_LOCK_SECONDS)
    deadline = settings.DATABASE_DEADLINE_SECONDS
    if min(bounds) >= 0 and deadline > max(bounds):
        return []
    return [
        Error(
            f"DATABASE_DEADLINE_SECONDS is {deadline:g}, DATABASE_STATEMENT_SECONDS and "
            f"DATABASE_LOCK_SECONDS are {bounds[0]:g} and {bounds[1]:g}: a slow statement "
            "would cost its connection before the database itself ends it.",
            hint="Set the deadline to more than the other two; 10, 8 and 5 are usual.",
            id="config.E007",
        )
    ]


def openai_key(**_: Any) -> list[CheckMessage]:
    if settings.AI_BACKEND != "openai" or settings.OPENAI_API_KEY:
        return []
    try:
        if urlsplit(settings.OPENAI_BASE_URL).hostname != "api.openai.com":
            return []
    except ValueError:
        # openai_address says so.
        return []
    return [
        Warning(
            "AI_BACKEND is openai without an OPENAI_API_KEY: every answer would be refused.",
            hint="Set OPENAI_API_KEY, or OPENAI_BASE_URL to a server that needs none.",
            id="config.W001",
        )
    ]


def openai_address(**_: Any) -> list[CheckMessage]:
    if settings.AI_BACKEND != "openai":
        return []
    try:
        parts = urlsplit(settings.OPENAI_BASE_URL)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return []
    except ValueError:
        # Of an address in brackets, or a port.
        pass
    return [
        Error(
            f"OPENAI_BASE_URL is {settings.OPENAI_BASE_URL!r}, which is no server's address.",
            hint="Write it like https://api.openai.com/v1 or http://127.0.0.1:8080/v1.",
            id="config.E010",
        )
    ]


def answers(**_: Any) -> list[CheckMessage]:
    most = {
        "AI_ANSWER_CHARACTERS": REPLY_CHARACTERS,
        "AI_ANSWER_SECONDS": AI_MOST_SECONDS,
        "AI_PATIENCE_SECONDS": AI_MOST_SECONDS,
        "OPENAI_TIMEOUT_SECONDS": AI_MOST_SECONDS,
        "OPENAI_MAX_TOKENS": 1_000_000,
    }
    return [
        Error(
            f"{name} is {getattr(settings, name):g}: no answer of the AI could be given.",
            hint=f"Set it to a number above 0 and up to {limit}; the default suits most.",
            id="config.E008",
        )
        for name, limit in most.items()
        if not 0 < getattr(settings, name) <= limit
    ]


def env_file(**_: Any) -> list[CheckMessage]:
    warnings: list[CheckMessage] = [
        Warning(
            f"{settings.ENV_FILE}, line {number}: not read, no NAME=value.",
            hint="A setting is NAME=value, without a space before or after the name.",
            id="config.W003",
        )
        for number in unread_lines()
    ]
    names = unread_names()
    if not names:
        return warnings
    return [
        *warnings,
        Warning(
            f"{settings.ENV_FILE} has what no setting reads: {', '.join(names)}.",
            hint="All settings are in .env.example.",
            id="config.W002",
        ),
    ]


def mail(**_: Any) -> list[CheckMessage]:
    problems = [
        Error(
            f"{name} is {address!r}, which is no email address.",
            hint="Write it like support@example.com or Our Shop <support@example.com>.",
            id="config.E020",
        )
        for name, addresses in (
            ("DEFAULT_FROM_EMAIL", [settings.DEFAULT_FROM_EMAIL]),
            ("STAFF_EMAIL", settings.STAFF_EMAIL),
        )
        for address in addresses
        if not _is_address(address)
    ]
    if settings.EMAIL_BACKEND == SMTP and not settings.EMAIL_HOST:
        problems.append(
            Error(
                "EMAIL_URL names no mail server.",
                hint="Write it like smtp+tls://user:password@mail.example.com:587.",
                id="config.E021",
            )
        )
    if not 0 < settings.EMAIL_TIMEOUT <= MAIL_MOST_SECONDS:
        problems.append(
            Error(
                f"EMAIL_TIMEOUT_SECONDS is {settings.EMAIL_TIMEOUT:g}: no mail could be sent.",
                hint=f"Set it to a number above 0 and up to {MAIL_MOST_SECONDS}; 10 is usual.",
                id="config.E022",
            )
        )
    warnings = [
        Warning(text, hint="Set STAFF_EMAIL and EMAIL_URL; see .env.example.", id="config.W020")
        for text in mail_that_nobody_gets()
    ]
    return [*problems, *warnings]


def mail_that_nobody_gets() -> list[str]:
    if settings.DEMO or settings.DEBUG:
        return []
    found = []
    if not settings.STAFF_EMAIL:
        found.append(
            "STAFF_EMAIL is empty: no mail says that a customer wants to be written to."
        )
    if settings.EMAIL_BACKEND == CONSOLE:
        found.append("EMAIL_URL is empty: mail to customers is printed and not sent.")
    return found


def _is_address(text: str) -> bool:
    address = parseaddr(text)[1]
    try:
        validate_email(address)
    except ValidationError:
        return False
    return not {"\r", "\n"} & set(text)


def addresses_of_pages(**_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"{name} is {getattr(settings, name)!r}, which is no page's address.",
            hint="Write it like https://support.example.com.",
            id="config.E023",
        )
        for name in ("PUBLIC_URL", "WORKBENCH_URL")
        if not _is_page(getattr(settings, name))
    ]


def _is_page(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment)
        )
    except ValueError:
        # Of an address in brackets, or a port.
        return False


def contact_links(**_: Any) -> list[CheckMessage]:
    if 0 < settings.CONTACT_LINK_DAYS <= CONTACT_MOST_DAYS:
        return []
    return [
        Error(
            f"CONTACT_LINK_DAYS is {settings.CONTACT_LINK_DAYS:g}: the links of mails would "
            "lead nowhere, or for ever into a conversation.",
            hint=f"Set it to a number above 0 and up to {CONTACT_MOST_DAYS}; 14 is usual.",
            id="config.E024",
        )
    ]


ALL = (
    env_file,
    service,
    ai_backend,
    opening_hours,
    agent_absence,
    watch,
    transfers,
    ways_of_assignment,
    database_threads,
    database_deadline,
    answers,
    openai_key,
    openai_address,
    mail,
    addresses_of_pages,
    contact_links,
)
