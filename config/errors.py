"""Every error as the one JSON object of the contract, whatever raised it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, Throttled, ValidationError

from ai_chatbot.exceptions import ConversationError

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
    """Turns what Django itself answers on API addresses (404, 405, 400…) into our JSON."""

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
        # A value that the database cannot hold, PostgreSQL's NUL in a cookie for one.
        DataError: lambda _request, _error: error_response(400),
        OperationalError: _database_away,
        InterfaceError: _database_away,
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


def _database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s: the database failed", request.method, request.path, exc_info=error)
    answer = error_response(503, "DATABASE_UNAVAILABLE", "The database does not answer.")
    answer["Retry-After"] = "2"
    return answer


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    if settings.TESTING:
        raise error
    return error_response(500)
