"""Fresh databases for the services: migrated once, then copied."""

import secrets
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.environment import environment
from tests.harness.nursery import run_python
from tests.harness.postgres import Postgres

DEMO_AGENTS = ("alice", "bob")


class CommandFailed(Exception):
    """A management command ended with an error; the message has its output."""


@dataclass(frozen=True)
class Database:
    url: str
    vendor: str  # as in django.db.connection.vendor
    # Where seed_demo keeps the demo agents' password for this database.
    password_file: Path
    _drop: Callable[[], None] = field(repr=False)

    def manage(self, *argv: str, timeout: float = 120.0, **env: str) -> str:
        """`manage.py ARGV` in a process of its own; its standard output."""
        status, output, errors = run_python(
            ["manage.py", *argv], env=self.environment(**env), timeout=timeout
        )
        if status:
            raise CommandFailed(f"manage.py {' '.join(argv)}: {status}\n{output}\n{errors}")
        return output

    def environment(self, **overrides: str) -> dict[str, str]:
        own = {"DATABASE_URL": self.url, "DEMO_PASSWORD_FILE": str(self.password_file)}
        return environment(**(own | overrides))

    def create_agent(self, name: str, password: str, *options: str) -> None:
        self.manage("create_agent", name, *options, AGENT_PASSWORD=password)

    def demo_password(self) -> str:
        return self.password_file.read_text(encoding="utf-8").strip()

    def drop(self) -> None:
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drop()


class Databases(ABC):
    """Where databases come from. Templates are made at first use, once."""

    vendor: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._migrated: Database | None = None
        self._demo: Database | None = None

    def fresh(self) -> Database:
        """Migrated, and otherwise empty."""
        return self._copied(self._migrated_template())

    def demo(self) -> Database:
        """Migrated, with what `manage.py seed_demo` creates."""
        if self._demo is None:
            seeded = self.fresh()
            seeded.manage("seed_demo")
            self._demo = seeded
        return self._copied(self._demo)

    def _copied(self, template: Database) -> Database:
        copy = self._copy(template)
        if template.password_file.exists():
            shutil.copy(template.password_file, copy.password_file)
        return copy

    def _password_file(self) -> Path:
        return self.directory / f"{secrets.token_hex(6)}.password"

    def _migrated_template(self) -> Database:
        if self._migrated is None:
            empty = self._create()
            empty.manage("migrate", "--verbosity=0")
            self._migrated = empty
        return self._migrated

    def drop_templates(self) -> None:
        for template in (self._migrated, self._demo):
            if template is not None:
                template.drop()
        self._migrated = self._demo = None

    @abstractmethod
    def _create(self) -> Database: ...

    @abstractmethod
    def _copy(self, template: Database) -> Database: ...


class SqliteDatabases(Databases):
    vendor = "sqlite"

    def _create(self) -> Database:
        path = self.directory / f"{secrets.token_hex(6)}.sqlite3"
        return Database(
            url=f"sqlite:///{path}",
            vendor=self.vendor,
            password_file=self._password_file(),
            _drop=lambda: _remove(path),
        )

    def _copy(self, template: Database) -> Database:
        copy = self._create()
        with closing(_open(template)) as source, closing(_open(copy)) as target:
            source.backup(target)
        return copy


def _open(database: Database) -> sqlite3.Connection:
    return sqlite3.connect(database.url.removeprefix("sqlite:///"))


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class PostgresDatabases(Databases):
    vendor = "postgresql"

    def __init__(self, directory: Path, server: Postgres) -> None:
        super().__init__(directory)
        self.server = server

    def _create(self) -> Database:
        return self._database(self.server.create_database())

    def _copy(self, template: Database) -> Database:
        return self._database(self.server.create_database(template=template.url))

    def _database(self, url: str) -> Database:
        return Database(
            url=url,
            vendor=self.vendor,
            password_file=self._password_file(),
            _drop=lambda: self.server.drop_database(url),
        )
