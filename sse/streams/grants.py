"""What an authorising function may return, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from sse.exceptions import TooManyChannels
from sse.live.subjects import subject_of_session, subject_of_user
from sse.log.cursors import MAX_TARGETS
from sse.log.encoding import encode_control
from sse.log.targets import storable


class Grant:
    """What an authorised stream may read, and how it counts. Not changed once it is made.

    `connected` goes into the first frame. `subjects` are what `close_streams` can name to end
    it, beside its user and session. `presence` is whom its being open is a sign of, beside its
    user. `after` is a cursor: where it begins when the client brings none.

    Raises InvalidTarget, TooManyChannels, InvalidEvent, TypeError or ValueError where one
    cannot be that.
    """

    __slots__ = ("after", "channels", "connected", "presence", "subjects", "user_id")

    def __init__(
        self,
        channels: str | Iterable[str],
        *,
        connected: Mapping[str, Any] | None = None,
        subjects: Iterable[str] = (),
        presence: str | None = None,
        after: str | None = None,
    ) -> None:
        self.channels = _checked(channels)
        self.connected: Mapping[str, Any] = dict(connected or {})
        self.subjects = frozenset([subjects] if isinstance(subjects, str) else subjects)
        self.presence = presence or ""
        self.after = after or None
        # The primary key of the user whom the function looked at.
        self.user_id = ""
        encode_control("connected", self.connected)

    def of_user(self, user: Any, session_key: str | None) -> Grant:
        """The same, known to be of this user and session."""
        grant = copy(self)
        grant.user_id = str(user.pk)
        grant.subjects |= {subject_of_user(user.pk)}
        if session_key:
            grant.subjects |= {subject_of_session(session_key)}
        return grant


def of(result: Any) -> Grant:
    """The grant that `result`, a function's, stands for."""
    if isinstance(result, Grant):
        return result
    if isinstance(result, Iterable) and not isinstance(result, (bytes, Mapping)):
        return Grant(result)
    raise TypeError(
        "A stream's function returns channels, a Grant or an HttpResponse, not "
        f"{type(result).__name__}. To refuse, raise PermissionDenied, Http404 or sse.Refused."
    )


def _checked(channels: str | Iterable[str]) -> tuple[str, ...]:
    names = (channels,) if isinstance(channels, str) else tuple(dict.fromkeys(channels))
    if not names:
        raise ValueError("A stream needs a channel; to refuse, raise PermissionDenied.")
    if len(names) > MAX_TARGETS:
        raise TooManyChannels(f"{len(names)} channels; a stream has {MAX_TARGETS} at most.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"A channel is a string, not {type(name).__name__}.")
        storable(name)
    return names
