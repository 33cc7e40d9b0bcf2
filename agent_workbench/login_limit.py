"""Guessing passwords is slow, at every login and in all processes together.

A try is counted in the database, by one statement for each row, before its password is looked
at: of forty at once no more than the limit get so far. What is stored is keyed digests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import time

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from ninja.errors import Throttled

from agent_workbench.models import LoginTries
from ai_chatbot.limits import caller

PERIOD_SECONDS = 60
# Wrong passwords in a period: for one name from one address, and from one address.
FOR_NAME_FROM_ADDRESS = 5
FROM_ADDRESS = 50
# A name that many addresses guess at: each of them is slowed, and none shut out, since one of
# them may be its owner's. More in an hour than one address can try.
NAME_PERIOD_SECONDS = 3600
FOR_NAME = 600
FOR_NAME_FROM_ADDRESS_THEN = 1

# Names share so many counters, so that inventing names does not fill the table.
_NAME_DIGITS = 4
_PRUNED_AT_ONCE = 100

# A window begins with its first try. Plain SQL, since one statement has to begin it, or count.
_COUNT = """
    INSERT INTO agent_workbench_logintries (key, count, until) VALUES (%s, 1, %s)
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN agent_workbench_logintries.until <= %s
            THEN 1 ELSE agent_workbench_logintries.count + 1 END,
        until = CASE WHEN agent_workbench_logintries.until <= %s
            THEN excluded.until ELSE agent_workbench_logintries.until END
    RETURNING count, until
"""


@dataclass(frozen=True, slots=True)
class _Counted:
    key: str
    count: int
    wait: int


@contextmanager
def attempt(request: HttpRequest, username: str) -> Iterator[None]:
    """Wraps the look at a password: what leaves it by an error was a wrong one.

    Raises Throttled without entering it after too many of them.
    """
    if not settings.RATE_LIMITS:
        yield
        return
    address, name = caller(request), username.casefold()
    from_address = _count(_key("address", address), PERIOD_SECONDS)
    if from_address.count > FROM_ADDRESS:
        raise Throttled(wait=from_address.wait)
    both = _count(_key("name from address", name, address), PERIOD_SECONDS)
    if both.count > FOR_NAME_FROM_ADDRESS:
        # Who tries one name over and over is not to use up the tries of a whole office.
        _give_back(from_address)
        raise Throttled(wait=both.wait)
    for_name = _count(_key("name", name)[:_NAME_DIGITS], NAME_PERIOD_SECONDS)
    if for_name.count > FOR_NAME and both.count > FOR_NAME_FROM_ADDRESS_THEN:
        raise Throttled(wait=both.wait)
    yield
    LoginTries.objects.filter(key=both.key).delete()
    _give_back(from_address)
    _give_back(for_name)


def _give_back(counted: _Counted) -> None:
    LoginTries.objects.filter(key=counted.key, count__gt=0).update(count=F("count") - 1)


def _count(key: str, period: int) -> _Counted:
    now = int(time())
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [key, now + period, now, now])
        count, until = cursor.fetchone()
    if count == 1:
        # Who makes the table longer makes it shorter.
        _prune(now)
    return _Counted(key, count, max(until - now, 1))


@transaction.atomic
def _prune(now: int) -> None:
    over = LoginTries.objects.select_for_update(skip_locked=True).filter(until__lte=now)
    keys = list(over.values_list("key", flat=True)[:_PRUNED_AT_ONCE])
    LoginTries.objects.filter(key__in=keys, until__lte=now).delete()


def _key(*parts: str) -> str:
    # Half of a surrogate pair may come in a form, and is none for UTF-8.
    text = "\n".join(parts).encode("utf-8", "surrogatepass")
    return salted_hmac("login tries", text, algorithm="sha256").hexdigest()
