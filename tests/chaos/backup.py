"""An older state of a database, put back while services run on it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.harness.databases import Database

ATTEMPTS = 10


class Backup(Protocol):
    def restore(self) -> None: ...


def backup(database: Database, directory: Path) -> Backup:
    """Everything in it as it is now."""
    if database.vendor == "sqlite":
        return SqliteBackup(database, directory)
    return PostgresBackup(database)


class SqliteBackup:
    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._copy = directory / "backup.sqlite3"
        with closing(connect(database)) as source, closing(sqlite3.connect(self._copy)) as copy:
            source.backup(copy)

    def restore(self) -> None:
        """In one transaction, by its readers' and writers' reckoning."""
        with (
            closing(connect(self._database)) as live,
            closing(sqlite3.connect(self._copy)) as old,
        ):
            old.backup(live)


def connect(database: Database) -> sqlite3.Connection:
    return sqlite3.connect(database.url.removeprefix("sqlite:///"), timeout=20)


class PostgresBackup:
    """Row by row, since a database that is in use cannot be copied or replaced as a whole."""

    def __init__(self, database: Database) -> None:
        self._url = database.url
        self._name = database_name(database)
        self._rows: dict[str, bytes] = {}
        with psycopg.connect(self._url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for (table,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            ).fetchall():
                statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
                with connection.cursor().copy(statement) as copied:
                    self._rows[table] = b"".join(copied)
            self._sequences = connection.execute(
                "SELECT sequencename, last_value FROM pg_sequences "
                "WHERE schemaname = 'public' AND last_value IS NOT NULL"
            ).fetchall()

    def restore(self) -> None:
        """Every connection breaks, as when another server takes over."""
        for _ in range(ATTEMPTS):
            try:
                with psycopg.connect(self._url) as connection:
                    self._put_back(connection)
            except psycopg.errors.DeadlockDetected:
                # The services lock the same tables, in their own order.
                continue
            return
        raise TimeoutError("the services left no moment to restore the database in")

    def _put_back(self, connection: psycopg.Connection) -> None:
        tables = sql.SQL(", ").join(map(sql.Identifier, self._rows))
        disconnect_others(connection, self._name)
        connection.execute(sql.SQL("TRUNCATE {}").format(tables))
        for table, rows in self._rows.items():
            statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
            with connection.cursor().copy(statement) as copied:
                copied.write(rows)
        for sequence, value in self._sequences:
            connection.execute("SELECT setval(%s, %s)", [sequence, value])


def disconnect_others(connection: psycopg.Connection, name: str) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = %s AND pid <> pg_backend_pid()",
        [name],
    )


def database_name(database: Database) -> str:
    return urlsplit(database.url).path.removeprefix("/")
