"""What a command says instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError
from django.db import Error

from sse.exceptions import SseError
from sse.process import outages


@contextmanager
def told_by_the_command() -> Iterator[None]:
    try:
        yield
    except SseError as error:
        raise CommandError(str(error)) from error
    except Error as error:
        if not outages.unmigrated(error):
            raise
        raise CommandError(outages.UNMIGRATED) from error
