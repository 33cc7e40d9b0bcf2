"""What daphne and uvicorn do by themselves to requests, and here should not."""

from __future__ import annotations

import inspect
import logging
import sys
from functools import cache, partialmethod, wraps
from typing import Any


@cache
def leave_out_queries() -> None:
    """Keep queries, and with them tokens and what was searched for, out of the access log.

    In the log and not in the request, so that it holds as well for what the server refuses
    before it asks the application.
    """
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).addFilter(_without_queries)
    if "daphne.server" not in sys.modules:
        return
    from daphne.access import AccessLogGenerator

    write_entry = AccessLogGenerator.write_entry

    @wraps(write_entry)
    def without_query(
        self: Any, host: Any, date: Any, request: str, *rest: Any, **more: Any
    ) -> None:
        write_entry(self, host, date, request.partition("?")[0], *rest, **more)

    AccessLogGenerator.write_entry = without_query


def _without_queries(record: logging.LogRecord) -> bool:
    """uvicorn gives the address as an argument of its own, as in `(client, "GET", "/x?y")`."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            argument.partition("?")[0]
            if isinstance(argument, str) and argument.startswith("/")
            else argument
            for argument in record.args
        )
    return True


@cache
def leave_bodies_alone() -> None:
    """Twisted reads forms before daphne sees the request, for nothing: daphne does not use what
    was read, and one that cannot be read is answered without a word by Twisted."""
    if "daphne.server" not in sys.modules:
        return
    from daphne.http_protocol import WebRequest
    from twisted.web.http import Request

    if "parsePOSTFormSubmission" in inspect.signature(Request.__init__).parameters:
        WebRequest.__init__ = partialmethod(WebRequest.__init__, parsePOSTFormSubmission=False)
