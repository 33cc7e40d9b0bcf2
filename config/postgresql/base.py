"""The backend's connections: where Django asks for one, and what bounds it is given."""

from __future__ import annotations

import threading
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base as django_backend

from config import postgresql
from config.postgresql.connections import Connection, Direct, Pool, Server

_lock = threading.Lock()


class DatabaseWrapper(django_backend.DatabaseWrapper):
    """OPTIONS has two keys of its own: `pool` (`min_size`, `max_size`), without which a
    thread's connection is its own, and `bounds`, in seconds: `statement` and `lock` for the
    server, 0 for what it has; `deadline` for us; `pruning` for the work that may take long."""

    _connection_pools: dict[str, Pool]
    _servers: dict[str, Server] = {}

    @property
    def pool(self) -> Pool | Direct | None:
        options = self.settings_dict["OPTIONS"]
        if self.alias == NO_DB_ALIAS:
            return None
        if "pool" not in options:
            return Direct(self._open)
        with _lock:
            if self.alias not in self._connection_pools:
                if self.settings_dict.get("CONN_MAX_AGE", 0) != 0:
                    # Requests have threads of their own, which would take theirs along.
                    raise ImproperlyConfigured(
                        "Pooled connections go back after each request: leave conn_max_age out "
                        "of DATABASE_URL."
                    )
                self._connection_pools[self.alias] = Pool(
                    self._open,
                    size=options["pool"]["max_size"],
                    keep=options["pool"]["min_size"],
                )
            return self._connection_pools[self.alias]

    def close_pool(self) -> None:
        with _lock:
            pool = self._connection_pools.pop(self.alias, None)
        if pool is not None:
            pool.close()

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        bounds = params.pop("bounds", None)
        if postgresql.bounded and bounds:
            statement = self._seconds(bounds, "statement")
            for name, seconds in (
                ("statement_timeout", statement),
                ("lock_timeout", bounds["lock"]),
                # Of a process that stopped, or whose network did, in mid-transaction.
                ("idle_in_transaction_session_timeout", 3 * statement),
            ):
                if seconds:
                    ours = f"-c {name}={round(seconds * 1000)}"
                    params["options"] = f"{ours} {params.get('options', '')}".strip()
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        self._allow(connection)
        return connection

    def close_if_unusable_or_obsolete(self) -> None:
        """Between two pieces of work. A connection that broke meanwhile is noticed here."""
        connection = self.connection
        if isinstance(connection, Connection) and not self.in_atomic_block:
            if connection.good:
                self._allow(connection)
            else:
                self.close()
        super().close_if_unusable_or_obsolete()

    def _open(self) -> Connection:
        server = self._servers.setdefault(self.alias, Server())
        params = {**self.get_connection_params(), "autocommit": True}

        def connect() -> Connection:
            connection = Connection.connect(**params)
            self._allow(connection)
            try:
                self._configure_connection(connection)  # type: ignore[attr-defined]
            except BaseException:
                connection.close()
                raise
            return connection

        return server.connect(connect) if postgresql.bounded else connect()

    def _allow(self, connection: Any) -> None:
        """Give a connection its time: a request's for all that it asks, a thread's own for each
        answer."""
        bounds = self.settings_dict["OPTIONS"].get("bounds")
        if postgresql.bounded and bounds and isinstance(connection, Connection):
            connection.in_all = "pool" in self.settings_dict["OPTIONS"]
            connection.allowed = self._seconds(bounds, "deadline")

    def _seconds(self, bounds: dict[str, float], name: str) -> float:
        # What sse.process.database says of a thread's own connection.
        pruning = getattr(self, "purpose", "") == "pruning"
        return bounds["pruning"] if pruning else bounds[name]
