"""Why a stream does not open, as the answer that its client gets."""

from __future__ import annotations

import logging

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import DataError, Error
from django.http import Http404

from sse.exceptions import InvalidTarget, Refused
from sse.process import outages

logger = logging.getLogger("sse.streams")


def of(error: Exception, what: str) -> Refused:
    """The answer to whatever a stream's authorisation raised; `what` names it in the log."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, PermissionDenied):
        return Refused(403, "FORBIDDEN", str(error) or "This is not allowed.")
    if isinstance(error, Http404):
        return Refused(404, "NOT_FOUND", "There is nothing here.")
    if isinstance(error, (SuspiciousOperation, BadRequest)) or _sent_what_cannot_be(error):
        return bad_request()
    if isinstance(error, InvalidTarget):
        # Made from the address, most likely.
        logger.warning("%s: %s", what, error)
        return bad_request("There is no channel of this name.")
    if isinstance(error, Error):
        return no_database(error)
    logger.error("%s failed", what, exc_info=error)
    return Refused(500, "INTERNAL_ERROR", "Something went wrong on our side.")


def _sent_what_cannot_be(error: Exception) -> bool:
    """Whether a value was looked for that the database cannot hold, such as a text with NUL."""
    return isinstance(error, DataError) or (
        isinstance(error, ValueError) and "NUL (0x00)" in str(error)
    )


def bad_request(message: str = "The request cannot be understood.") -> Refused:
    return Refused(400, "BAD_REQUEST", message)


def wrong_method(*allowed: str) -> Refused:
    return Refused(
        405,
        "METHOD_NOT_ALLOWED",
        "This address does not know the method.",
        headers={"Allow": ", ".join(allowed)},
    )


def logged_out() -> Refused:
    return Refused(401, "LOGGED_OUT", "This session is over.")


def going_away() -> Refused:
    return Refused(503, "GOING_AWAY", "This process is stopping.", headers={"Retry-After": "1"})


def closed_meanwhile() -> Refused:
    return Refused(
        503,
        "CLOSED_MEANWHILE",
        "Streams were closed while this one was being opened.",
        headers={"Retry-After": "1"},
    )


def no_database(error: Error) -> Refused:
    outages.note("a stream is refused", error)
    unmigrated = outages.unmigrated(error)
    return Refused(
        503,
        "DATABASE_UNAVAILABLE",
        outages.UNMIGRATED if unmigrated else "The database does not answer.",
        {"reason": "unmigrated" if unmigrated else outages.kind(error)},
        {"Retry-After": "2"},
    )


def too_many(whose: str, limit: int) -> Refused:
    return Refused(
        429,
        "TOO_MANY_STREAMS",
        f"There are {limit} open streams {whose} already.",
        {"limit": limit},
        {"Retry-After": "10"},
    )
