"""Whole answers over ASGI, for what is no stream."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from sse.exceptions import Refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def refuse(send: Send, refusal: Refused, headers: Headers) -> None:
    response = as_response(refusal)
    await pass_on(send, response, response.content, headers)


def as_response(refusal: Refused) -> HttpResponse:
    error = {
        "code": refusal.code, "message": refusal.message, "details": refusal.details,
    }  # fmt: skip
    return HttpResponse(
        json.dumps({"error": error}, default=str),
        status=refusal.status,
        content_type="application/json",
        headers=dict(refusal.headers),
    )


async def pass_on(
    send: Send, response: HttpResponseBase, body: bytes, headers: Headers
) -> None:
    """A response of Django's with `body`, which was read out of it before or stands for that,
    and with `headers` beside its own; both may have a Vary."""
    own: Headers = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in response.items()
        if name.lower() != "content-length"
    ]
    own += [
        (b"set-cookie", morsel.OutputString().encode("ascii"))
        for morsel in response.cookies.values()
    ]
    await answer(send, response.status_code, [*own, *headers], body)


async def content_of(response: HttpResponseBase) -> bytes:
    """Of a response that is made on the loop, also of a streaming one."""
    parts: Any = response
    if getattr(response, "is_async", False):
        return b"".join([part async for part in parts])
    return content_made_at_once(response)


def content_made_at_once(response: HttpResponseBase) -> bytes:
    parts: Iterable[bytes] = response
    return b"".join(parts)
