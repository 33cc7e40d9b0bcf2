"""Every error as the one JSON object of the contract, whatever raised it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, Error
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin
from django.views.defaults import bad_request
from django.views.defaults import server_error as default_server_error
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, Throttled, ValidationError

from ai_chatbot.exceptions import ConversationError
from sse.process import outages

logger = logging.getLogger(__name__)

API_PREFIXES = ("/api/", "/workbench-api/")

CODES = {
    400: ("BAD_REQUEST", "The request cannot be understood."),
    401: ("INVALID_TOKEN", "A valid token is needed."),
    403: ("FORBIDDEN", "This is not allowed."),
    404: ("NOT_FOUND", "There is nothing here."),
    405: ("METHOD_NOT_ALLOWED", "This address does not know the method."),
    413: ("TOO_LARGE", "The request is too large."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "JSON is expected here."),
    429: ("TOO_MANY_REQUESTS", "Too many requests; try again later."),
    500: ("INTERNAL_ERROR", "Something went wrong on our side."),
    503: ("UNAVAILABLE", "The service cannot answer now."),
}


# By sse.process.outages.kind.
DATABASE_TROUBLES = {
    "away": "The database does not answer.",
    "busy": "The database is busy with something else.",
    "full": "The database has no room left.",
    "read-only": "The database takes no changes now.",
}


def error_response(
    status: int, code: str = "", message: str = "", details: dict[str, Any] | None = None
) -> JsonResponse:
    known_code, known_message = CODES.get(status, ("ERROR", "The request failed."))
    return JsonResponse(
        {
            "error": {
                "code": code or known_code,
                "message": message or known_message,
                "details": details or {},
            }
        },
        status=status,
    )


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith(API_PREFIXES)


class JsonErrors(MiddlewareMixin):
    """Turns what Django itself answers on API addresses (404, 405, 400…) into our JSON, and
    what pages raise when the database is in trouble into an honest 503, or 400 when what was
    sent is to blame."""

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        if isinstance(exception, DataError):
            # A value that the database cannot hold, PostgreSQL's NUL in a cookie for one.
            return error_response(400) if is_api(request) else bad_request(request, exception)
        kind = outages.kind(exception)
        return _unavailable(request, exception, kind) if kind else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code < 400 or not is_api(request):
            return response
        if response.get("Content-Type", "").startswith("application/json"):
            return response
        answer = error_response(response.status_code)
        for header in ("Allow", "Retry-After", "WWW-Authenticate"):
            if header in response:
                answer[header] = response[header]
        return answer


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500: for what middleware raises, which no other handler sees."""
    error = sys.exc_info()[1]
    if error is not None and (kind := outages.kind(error)):
        return _unavailable(request, error, kind)
    return error_response(500) if is_api(request) else default_server_error(request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if is_api(request):
        return error_response(403, "CSRF_FAILED", "The CSRF token is missing or wrong.")
    return render(request, "403_csrf.html", {"reason": reason}, status=403)


def install(api: NinjaAPI) -> None:
    """Give an API the one error handler for everything its views may raise."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        ConversationError: lambda _request, error: error_response(
            error.status, error.code, str(error), error.details
        ),
        ValidationError: lambda _request, error: error_response(
            422, "VALIDATION_ERROR", "Some values are not acceptable.", _problems(error)
        ),
        AuthenticationError: lambda _request, _error: error_response(401),
        Throttled: _throttled,
        HttpError: lambda _request, error: error_response(
            error.status_code, message=str(error)
        ),
        Http404: lambda _request, _error: error_response(404),
        RequestDataTooBig: lambda _request, _error: error_response(413),
        SuspiciousOperation: lambda _request, _error: error_response(400),
        # As on pages.
        DataError: lambda _request, _error: error_response(400),
        Error: _database_error,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _problems(error: ValidationError) -> dict[str, Any]:
    return {
        "errors": [
            {
                "field": ".".join(str(part) for part in problem["loc"][1:] or problem["loc"]),
                "message": problem["msg"],
                "type": problem["type"],
            }
            for problem in error.errors
        ]
    }


def _throttled(_request: HttpRequest, error: Throttled) -> HttpResponse:
    answer = error_response(429)
    answer["Retry-After"] = str(max(1, round(error.wait or 1)))
    return answer


def _database_error(request: HttpRequest, error: Exception) -> HttpResponse:
    if kind := outages.kind(error):
        return _unavailable(request, error, kind)
    return _unexpected(request, error)


def _unavailable(request: HttpRequest, error: BaseException, kind: str) -> HttpResponse:
    """What the database is to blame for, honestly: it may well do on another try."""
    outages.note(f"{request.method} {request.path}", error)
    if is_api(request):
        message = DATABASE_TROUBLES[kind]
        answer: HttpResponse = error_response(
            503, "DATABASE_UNAVAILABLE", message, {"reason": kind}
        )
    else:
        # Without the request, whose user and messages would have to be looked up.
        answer = HttpResponse(render_to_string("503.html"), status=503)
    answer["Retry-After"] = "2"
    # What there is to say is said; Django would add a line, or a traceback, each time.
    answer._has_been_logged = True  # type: ignore[attr-defined]
    return answer


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    if settings.TESTING:
        raise error
    return error_response(500)
