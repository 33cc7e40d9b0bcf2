"""Fresh databases for the services: migrated once, then copied."""

import fcntl
import json
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
from urllib.parse import urlsplit

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
    name: str  # as in DATABASES
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
    """Where databases come from. Templates are made at first use, once for all processes that
    name the same folder for them."""

    vendor: str

    def __init__(self, directory: Path, templates: Path | None = None) -> None:
        self.directory = directory
        self._templates = templates or directory
        self._known: dict[str, Database] = {}

    def fresh(self) -> Database:
        """Migrated, and otherwise empty."""
        return self._copied(self._template("migrated", self._migrated))

    def demo(self) -> Database:
        """Migrated, with what `manage.py seed_demo` creates."""
        return self._copied(self._template("demo", self._seeded))

    def _template(self, name: str, make: Callable[[], Database]) -> Database:
        if name not in self._known:
            record = self._templates / f"{name}.json"
            with (self._templates / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not record.exists():
                    made = make()
                    record.write_text(json.dumps([made.url, str(made.password_file)]))
            url, password_file = json.loads(record.read_text(encoding="utf-8"))
            self._known[name] = self._database(url, Path(password_file))
        return self._known[name]

    def _copied(self, template: Database) -> Database:
        copy = self._copy(template)
        if template.password_file.exists():
            shutil.copy(template.password_file, copy.password_file)
        return copy

    def _password_file(self) -> Path:
        return self.directory / f"{secrets.token_hex(6)}.password"

    def _migrated(self) -> Database:
        empty = self._create()
        empty.manage("migrate", "--verbosity=0")
        return empty

    def _seeded(self) -> Database:
        migrated = self.fresh()
        migrated.manage("seed_demo")
        return migrated

    def drop_templates(self) -> None:
        for name, template in self._known.items():
            template.drop()
            (self._templates / f"{name}.json").unlink(missing_ok=True)
        self._known.clear()

    @abstractmethod
    def _create(self) -> Database: ...

    @abstractmethod
    def _database(self, url: str, password_file: Path) -> Database: ...

    @abstractmethod
    def _copy(self, template: Database) -> Database: ...


class SqliteDatabases(Databases):
    vendor = "sqlite"

    def _create(self) -> Database:
        path = self.directory / f"{secrets.token_hex(6)}.sqlite3"
        return self._database(f"sqlite:///{path}", self._password_file())

    def _database(self, url: str, password_file: Path) -> Database:
        path = Path(url.removeprefix("sqlite:///"))
        return Database(
            url=url,
            vendor=self.vendor,
            name=str(path),
            password_file=password_file,
            _drop=lambda: _remove(path),
        )

    def _copy(self, template: Database) -> Database:
        copy = self._create()
        with closing(_open(template)) as source, closing(_open(copy)) as target:
            source.backup(target)
        return copy


def _open(database: Database) -> sqlite3.Connection:
    return sqlite3.connect(database.name)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class PostgresDatabases(Databases):
    vendor = "postgresql"

    def __init__(
        self,
        directory: Path,
        server: Postgres,
        templates: Path | None = None,
        *,
        prefix: str = "support",
    ) -> None:
        super().__init__(directory, templates)
        self.server = server
        self._prefix = prefix

    def _create(self, template: str | None = None) -> Database:
        url = self.server.create_database(prefix=self._prefix, template=template)
        return self._database(url, self._password_file())

    def _copy(self, template: Database) -> Database:
        return self._create(template.url)

    def _database(self, url: str, password_file: Path) -> Database:
        return Database(
            url=url,
            vendor=self.vendor,
            name=urlsplit(url).path.removeprefix("/"),
            password_file=password_file,
            _drop=lambda: self.server.drop_database(url),
        )
