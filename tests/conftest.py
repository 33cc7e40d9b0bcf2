"""Fixtures over tests/harness. Settings come from tests/harness/environment.py, a plugin."""

import os
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper as PostgresConnection
from playwright.sync_api import Browser
from pytest_django import DjangoDbBlocker, Settings

from ai_chatbot import counters
from tests.colleagues import alice, bob, carol, chief, live, visitor  # noqa: F401 - fixtures
from tests.harness.browser import Pages, launched_chromium
from tests.harness.client import Clients
from tests.harness.databases import Database, Databases, PostgresDatabases, SqliteDatabases
from tests.harness.nursery import Nursery
from tests.harness.postgres import Postgres
from tests.harness.redis import RedisServer
from tests.harness.reports import EVERYWHERE, ONCE, note_elsewhere, runs_once
from tests.harness.services import Services
from tests.published.environment import make_environment
from tests.published.wheel import Wheel, build_wheel

# A busy machine may take long for one example; what hangs is ended by pytest-timeout.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

_ENGINE = settings.DATABASES["default"]["ENGINE"]
VENDOR = _ENGINE.rpartition(".")[2].replace("sqlite3", "sqlite")
# Of the names of this run's databases in PostgreSQL.
_PREFIX = "TESTS_DATABASES"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--elsewhere",
        action="store_true",
        help="another run, on another database, has what does not depend on the database",
    )
    parser.addoption("--reverse", action="store_true", help="the last test first")
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="files, and the tests in each, by chance"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "vendor(name): only for this database: sqlite or postgresql"
    )
    config.addinivalue_line(
        "markers", f"{ONCE}: the database adds nothing; `python -m tests` runs it on one"
    )
    config.addinivalue_line(
        "markers", f"{EVERYWHERE}: for some tests of a module that is {ONCE}"
    )
    if not hasattr(config, "workerinput"):
        # Its workers inherit it.
        os.environ[_PREFIX] = f"support_{secrets.token_hex(4)}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """When the last process is gone: what is left, by one that was killed or as a template."""
    if VENDOR == "postgresql" and not hasattr(config, "workerinput"):
        Postgres(os.environ["DATABASE_URL"]).drop_databases(os.environ[_PREFIX])


def pytest_report_header() -> str:
    return f"database: {VENDOR}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is for another database, or done there for all of them, is left out."""
    kept, foreign, elsewhere = [], [], []
    for item in items:
        marker = item.get_closest_marker("vendor")
        if marker and VENDOR not in marker.args:
            foreign.append(item)
            continue
        item.stash[runs_once] = not marker and _one_database_will_do(item)
        if config.getoption("elsewhere") and item.stash[runs_once]:
            elsewhere.append(item)
        else:
            kept.append(item)
    if hasattr(config, "workerinput"):
        # Files are handed out from the first to the last: a short one is the best last one.
        waits = Counter(item.path for item in kept if _starts_processes(item))
        kept.sort(key=lambda item: -waits[item.path])
    if (seed := config.getoption("shuffle")) is not None:
        chance = random.Random(seed)
        files = {item.path: chance.random() for item in kept}
        kept.sort(key=lambda item: (files[item.path], chance.random()))
    if config.getoption("reverse"):
        kept.reverse()
    items[:] = kept
    note_elsewhere(config, len(elsewhere))
    if foreign or elsewhere:
        config.hook.pytest_deselected(items=foreign + elsewhere)


def _starts_processes(item: pytest.Item) -> bool:
    peers = {"services", "module_services", "browser", "redis_server"}
    return not peers.isdisjoint(getattr(item, "fixturenames", ()))


def _one_database_will_do(item: pytest.Item) -> bool:
    """It says so, or asks for no database; pytest-django then keeps it from having one."""
    if item.get_closest_marker(EVERYWHERE):
        return False
    if item.get_closest_marker(ONCE):
        return True
    asked_for = set(getattr(item, "fixturenames", ()))
    return not item.get_closest_marker("django_db") and asked_for.isdisjoint(
        {"databases", "db", "transactional_db", "django_db_setup"}
    )


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: DjangoDbBlocker, databases: Databases
) -> Iterator[None]:
    """In this process, tests have a copy of what is migrated already."""
    with databases.fresh() as created:
        connection = connections["default"]
        with django_db_blocker.unblock():
            connection.close()
            settings.DATABASES["default"]["NAME"] = created.name
            connection.settings_dict["NAME"] = created.name
        yield
        with django_db_blocker.unblock():
            connection.close()
            if isinstance(connection, PostgresConnection):
                connection.close_pool()


@pytest.fixture(scope="session", autouse=True)
def nursery(request: pytest.FixtureRequest) -> Iterator[None]:
    """Coverage is taken of programs that start by themselves only."""
    if request.config.pluginmanager.hasplugin("_cov"):
        yield
        return
    with Nursery():
        yield


@pytest.fixture(scope="session")
def databases(
    nursery: None, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Databases:
    """Of the vendor of this run; all its processes copy the same templates."""
    base = tmp_path_factory.getbasetemp()
    templates = (base if worker_id == "master" else base.parent) / "templates"
    templates.mkdir(exist_ok=True)
    directory = tmp_path_factory.mktemp("databases")
    if VENDOR == "sqlite":
        return SqliteDatabases(directory, templates)
    server, prefix = Postgres(os.environ["DATABASE_URL"]), os.environ[_PREFIX]
    return PostgresDatabases(directory, server, templates, prefix=prefix)


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """Migrated and empty."""
    with databases.fresh() as created:
        yield created


@pytest.fixture
def demo_database(databases: Databases) -> Iterator[Database]:
    """With the demo knowledge base and the agents alice and bob (`demo_password()`)."""
    with databases.demo() as created:
        yield created


@pytest.fixture(scope="module")
def module_demo_database(databases: Databases) -> Iterator[Database]:
    with databases.demo() as created:
        yield created


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """This test's own Redis, running: kill, freeze or restart it at will."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def module_redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def services(demo_database: Database, tmp_path: Path) -> Iterator[Services]:
    """Starts server processes over `demo_database`; stopped after the test, and their logs
    checked for tracebacks (set `service.trouble_expected` where the test provokes one)."""
    with Services(demo_database, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def module_services(
    module_demo_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """The same for a module's tests together; make a module-scoped fixture that starts them."""
    with Services(module_demo_database, tmp_path_factory.mktemp("services")) as started:
        yield started


@pytest.fixture(scope="session")
def sse_wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """Of the app `sse`, as this repository is built."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sse_programs(sse_wheel: Wheel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel and what docs/sse tells to install, and nothing else."""
    return make_environment(tmp_path_factory.mktemp("environment"), sse_wheel)


@pytest.fixture
def rate_limits(settings: Settings) -> Iterator[None]:
    """Requests inside this process are limited, and none has been counted yet."""
    settings.RATE_LIMITS = True
    counters._made.cache_clear()
    yield
    counters._made.cache_clear()


@pytest.fixture
def clients() -> Iterator[Clients]:
    """`customer(service)` and `agent(service)`; connections are closed after the test."""
    with Clients() as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Per module, since an open Playwright keeps asyncio and the ORM from this thread."""
    with launched_chromium() as launched:
        yield launched


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """`open(url)` gives a page in a new context. The test fails if a page logs a warning or an
    error, or throws, unless `allow(pattern)` announced it."""
    opened = Pages(browser)
    yield opened
    opened.close()
    unexpected = opened.unexpected()
    if unexpected:
        pytest.fail("pages complained:\n" + "\n".join(unexpected), pytrace=False)
