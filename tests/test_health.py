"""What health and readiness say of a process, from how its parts fare."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, Error, connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from config import health
from sse.health import STALE_SECONDS
from sse.live.hub import Hub
from sse.process import outages
from sse.process.runtime import Runtime


class Beats:
    """What a hub says of its own."""

    trouble = ""
    last: float | None = 1.0

    def age(self) -> float | None:
        return self.last


@pytest.fixture
def listening() -> Hub:
    """A hub as it is in a process that serves, a second after its last beat."""
    loop = asyncio.new_event_loop()
    made: Any = Hub(Runtime(loop))
    loop.close()
    made.listening = True
    made.beats = Beats()
    return made


def test_all_is_well(listening: Hub) -> None:
    status, said = health.health(listening)
    assert (status, said["status"], said["database"], said["work"]) == (200, "ok", "ok", [])
    assert said["database_beat_seconds"] == 1.0
    assert health.readyz(listening)[0] == 200


@pytest.mark.parametrize(
    ("trouble", "database"),
    [("away", "down"), ("read-only", "read-only"), ("full", "full")],
)
def test_database_that_takes_no_changes(listening: Hub, trouble: str, database: str) -> None:
    listening.beats.trouble = trouble
    status, said = health.health(listening)
    assert (status, said["status"], said["database"]) == (503, "down", database)
    assert health.readyz(listening)[0] == 503


def test_one_beat_that_met_a_lock_is_no_outage_and_silence_is(listening: Any) -> None:
    listening.beats.trouble = "busy"
    assert health.health(listening)[0] == 200
    listening.beats.last = STALE_SECONDS + 1
    status, said = health.health(listening)
    assert (status, said["database"]) == (503, "down")


def test_process_that_has_not_written_yet_is_not_ready(listening: Any) -> None:
    listening.beats.last = None
    assert health.health(listening)[1]["database"] == "unknown"
    assert health.readyz(listening)[0] == 503


def test_dead_work_degrades_and_only_what_streams_need_unreadies(
    listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing: dict[str, bool] = {"replies": False}
    monkeypatch.setattr(
        listening.runtime.supervisor,
        "ailing",
        lambda vital_only=False: [n for n, vital in failing.items() if vital or not vital_only],
    )
    status, said = health.health(listening)
    assert (status, said["status"], said["work"]) == (200, "degraded", ["replies"])
    assert health.readyz(listening)[0] == 200

    failing["watch"] = True
    assert health.health(listening)[1]["work"] == ["replies", "watch"]
    status, said = health.readyz(listening)
    assert (status, said["work"]) == (503, ["watch"])


def test_threads_that_hang_are_named(listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening.runtime.pools, "stuck", lambda: ["chores"])
    assert health.health(listening)[1]["work"] == ["database chores"]
    assert health.readyz(listening)[0] == 200
    monkeypatch.setattr(listening.runtime.pools, "stuck", lambda: ["log"])
    assert health.readyz(listening)[1]["work"] == ["database log"]
    assert health.readyz(listening)[0] == 503


def test_process_that_is_stopping(listening: Hub) -> None:
    listening.closing = True
    assert health.readyz(listening)[1]["staying"] is False
    assert health.readyz(listening)[0] == 503
    assert health.livez(listening)[0] == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("pragma", "kind"),
    [("PRAGMA query_only = 1", "read-only"), ("PRAGMA max_page_count = 2", "full")],
)
def test_kind_of_trouble_of_a_file(tmp_path: Path, pragma: str, kind: str) -> None:
    settings = {**connections["default"].settings_dict, "NAME": str(tmp_path / "small")}
    database = DatabaseWrapper({**settings, "OPTIONS": {}})
    try:
        with database.cursor() as cursor:
            cursor.execute("CREATE TABLE t (x TEXT)")
            cursor.execute(pragma)
            with pytest.raises(DatabaseError) as failed:
                cursor.execute("INSERT INTO t VALUES (%s)", ["x" * 100_000])
    finally:
        database.close()
    assert outages.kind(failed.value) == kind


@pytest.mark.django_db
def test_kind_of_trouble_of_a_locked_file(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "locked", isolation_level=None)
    settings = {**connections["default"].settings_dict, "NAME": str(tmp_path / "locked")}
    database = DatabaseWrapper({**settings, "OPTIONS": {"timeout": 0}})
    try:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN IMMEDIATE")
        with database.cursor() as cursor, pytest.raises(DatabaseError) as failed:
            cursor.execute("INSERT INTO t VALUES (1)")
    finally:
        database.close()
        holder.close()
    assert outages.kind(failed.value) == "busy"


def test_other_errors_are_not_the_databases_trouble() -> None:
    assert outages.kind(ValueError()) == ""
    assert outages.kind(Error()) == ""
    assert outages.kind(None) == ""
