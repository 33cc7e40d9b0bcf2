"""A body on an API address is JSON that says so. What says text/plain or comes as a form can be
sent by any page without the browser asking first (CORS)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from config.errors import error_response, is_api


class JsonBodies(MiddlewareMixin):
    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        has_body = (
            request.META.get("CONTENT_LENGTH") not in (None, "", "0")
            or "Transfer-Encoding" in request.headers
        )
        if has_body and is_api(request) and request.content_type != "application/json":
            return error_response(415)
        return None
