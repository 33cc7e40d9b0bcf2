"""What a serving process is to do and says of itself when it starts."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from agent_workbench import watch
from ai_chatbot import outbox, replies
from ai_chatbot.conversation import waiting
from config import checks
from config.env_file import unread_lines, unread_names
from sse.process.supervisor import Work

logger = logging.getLogger(__name__)


def work() -> list[Work]:
    """What it keeps running. Both services change the line of those who wait, and neither needs
    the other to look after it; both write mail."""
    found: list[Work] = [waiting.keep_announcing, watch.keep_watch, outbox.keep_sending]
    if settings.SERVES_CHATBOT:
        found += [replies.keep_answering, replies.keep_sweeping]
    return found


def about() -> str:
    """Service, version, database and AI backend, without passwords and keys."""
    return f"{settings.SERVICE} {settings.VERSION}; database: {_database()}; AI: {_ai()}"


def _database() -> str:
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite {given['NAME']}"
    port = f":{given['PORT']}" if given["PORT"] else ""
    return f"{connection.vendor} {given['HOST'] or 'local'}{port}/{given['NAME']}"


def _ai() -> str:
    if settings.AI_BACKEND != "openai":
        return str(settings.AI_BACKEND)
    try:
        parts = urlsplit(settings.OPENAI_BASE_URL)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"openai {settings.OPENAI_MODEL} at no address"
    return f"openai {settings.OPENAI_MODEL} at {parts.hostname}{port}"


def warn_of_mail() -> None:
    """Of mail that nobody gets."""
    for problem in checks.mail_that_nobody_gets():
        logger.warning("%s", problem)


def warn_of_unread() -> None:
    """What stands in the .env file for nothing."""
    for number in unread_lines():
        logger.warning("%s, line %d: not read, no NAME=value", settings.ENV_FILE, number)
    names = unread_names()
    if names:
        logger.warning("%s has what no setting reads: %s", settings.ENV_FILE, ", ".join(names))
