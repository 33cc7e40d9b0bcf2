"""Which pages of other sites may read a stream; the browser asks, and withholds it from others.

SSE_ALLOWED_ORIGINS names them. Where django-cors-headers is installed, what its own settings
allow at this address holds for streams, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.apps import apps

from sse.conf import conf
from sse.streams.answers import Headers

_ALLOWED_HEADERS = b"authorization, cache-control, last-event-id"


def headers_for(origin: str, path: str) -> Headers:
    """What the answer to a page of `origin` says, whatever else is answered."""
    vary = (b"vary", b"origin")
    cookies = _cookies_go_along(origin, path)
    if cookies is None:
        return [vary] if _anyone(path) else []
    answer = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-allow-methods", b"GET, OPTIONS"),
        vary,
    ]
    if cookies:
        answer.append((b"access-control-allow-credentials", b"true"))
    return answer


def _cookies_go_along(origin: str, path: str) -> bool | None:
    """None: the origin may read nothing."""
    if not origin:
        return None
    if origin in _ours():
        return True
    if not _corsheaders_at(path):
        return None
    from corsheaders.conf import conf as cors

    if (
        cors.CORS_ALLOW_ALL_ORIGINS
        or origin in cors.CORS_ALLOWED_ORIGINS
        or any(re.match(pattern, origin) for pattern in cors.CORS_ALLOWED_ORIGIN_REGEXES)
    ):
        return cors.CORS_ALLOW_CREDENTIALS
    return None


def _ours() -> Sequence[str]:
    named = conf.SSE_ALLOWED_ORIGINS
    # Of a string a part would do.
    return (named,) if isinstance(named, str) else named


def _anyone(path: str) -> bool:
    """Whether there are pages to which the answer is another one."""
    if conf.SSE_ALLOWED_ORIGINS:
        return True
    if not _corsheaders_at(path):
        return False
    from corsheaders.conf import conf as cors

    return bool(
        cors.CORS_ALLOW_ALL_ORIGINS
        or cors.CORS_ALLOWED_ORIGINS
        or cors.CORS_ALLOWED_ORIGIN_REGEXES
    )


def _corsheaders_at(path: str) -> bool:
    if not apps.is_installed("corsheaders"):
        return False
    from corsheaders.conf import conf as cors

    return re.match(cors.CORS_URLS_REGEX, path) is not None
