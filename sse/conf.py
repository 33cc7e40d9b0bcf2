"""Every setting of `sse`, with its default; the project's settings are read at each use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from django.conf import settings

T = TypeVar("T")


class Setting(Generic[T]):
    """A setting of the project, else its default."""

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, _owner: type, name: str) -> None:
        self.name = name

    def __get__(self, _conf: Conf, _owner: type | None = None) -> T:
        found: T = getattr(settings, self.name, self.default)
        return found


# Threads with a connection each, by what they do; what hangs in one leaves the others alone.
# "log" reads events, "access" asks who may open a stream, "watch" writes the process's sign of
# life, "work" is the project's, "chores" and "pruning" are what nobody waits for.
DATABASE_THREADS = {"log": 2, "access": 2, "watch": 1, "work": 1, "chores": 1, "pruning": 1}


class Conf:
    # --- Delivery ---
    # The alias in CHANNEL_LAYERS of the layer that carries events between processes.
    SSE_CHANNEL_LAYER = Setting("default")
    # Dotted path of the encoder of `send_event`'s data.
    SSE_JSON_ENCODER = Setting("django.core.serializers.json.DjangoJSONEncoder")
    # How long events are kept for streams that come back, and how many for each channel.
    SSE_RETENTION_HOURS = Setting(72.0)
    SSE_RETENTION_EVENTS = Setting(5000)

    # --- Streams ---
    # Idle time before a heartbeat frame.
    SSE_HEARTBEAT_SECONDS = Setting(15.0)
    # A stream older than this ends with a goodbye, between 80 % and all of it; clients resume.
    SSE_MAX_STREAM_SECONDS = Setting(600.0)
    # Beyond it 429. 0: no limit.
    SSE_MAX_STREAMS_PER_TARGET = Setting(0)
    SSE_MAX_STREAMS_PER_ADDRESS = Setting(0)
    # Pages of other sites that may read streams, with cookies: "https://shop.example.com".
    SSE_ALLOWED_ORIGINS: Setting[Sequence[str]] = Setting(())
    # Whether frames may be written past the server's `send` where that is known to be safe.
    SSE_DIRECT_WRITES = Setting(True)

    # --- The process ---
    # More of one purpose than DATABASE_THREADS has, or purposes of the project's own.
    SSE_DATABASE_THREADS: Setting[Mapping[str, int]] = Setting(DATABASE_THREADS)
    # What asks for a stream waits so long for the database, the wait for a thread included.
    SSE_DATABASE_SECONDS = Setting(15.0)

    def database_threads(self) -> dict[str, int]:
        return {**DATABASE_THREADS, **self.SSE_DATABASE_THREADS}


conf = Conf()

# All of them, for the documentation and for whoever looks for one that has no meaning.
NAMES: dict[str, Any] = {
    name: setting.default
    for name, setting in vars(Conf).items()
    if isinstance(setting, Setting)
}
