"""`manage.py runserver`, which starts anew when a file has changed."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from tests.harness.client import Customer
from tests.harness.databases import Database
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess
from tests.harness.redis import RedisServer
from tests.harness.streams import Event
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until
from tests.servers.promises import Verdict

SETTINGS = "settings_that_change"
BACK_SECONDS = 15.0
STARTED_SECONDS = 40.0


class RunServer:
    """With settings in a file of its own, which is what changes. As much of a Service as a
    customer needs."""

    verify = NO_TLS

    def __init__(self, database: Database, directory: Path) -> None:
        self.port = free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self.settings = directory / f"{SETTINGS}.py"
        self.settings.write_text("from tests.settings import *  # noqa: F403\n")
        self.process = ManagedProcess(
            [sys.executable, "manage.py", "runserver", f"127.0.0.1:{self.port}"],
            log=directory / "runserver.log",
            name="runserver",
            env=database.environment(
                DJANGO_SETTINGS_MODULE=SETTINGS,
                PYTHONPATH=str(directory),
                PYTHONUNBUFFERED="1",
                DEBUG="true",
            ),
        )

    def answers(self) -> bool:
        self.process.require_running()
        try:
            return httpx.get(f"{self.api_url}/livez", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def starts(self) -> int:
        return len(re.findall(r"Listening on TCP address", self.process.log_text()))


def reload(database: Database, redis: RedisServer, directory: Path) -> Iterator[Verdict]:
    """A file changes while a stream is open; its client comes back."""
    server = RunServer(database, directory)
    server.process.start()
    try:
        wait_until(server.answers, timeout=STARTED_SECONDS, what="runserver to answer")
        with Customer(server) as customer:  # type: ignore[arg-type]
            stream = customer.stream(after=customer.cursor)
            stream.wait_for("connected")
            customer.send("before")
            stream.wait_for(_says("before"))
            yield Verdict("delivery", True, "before a change")

            began = time.monotonic()
            later = time.time() + 5
            os.utime(server.settings, (later, later))
            stream.wait_ended(timeout=BACK_SECONDS)
            wait_until(server.answers, timeout=BACK_SECONDS, what="runserver to be back")
            back = time.monotonic() - began
            customer.send("after")
            stream.reconnect()
            stream.wait_for(_says("after"))
            yield Verdict("reload", server.starts() == 2, f"back after {back:.1f} s")
            said = [each.payload["content"] for each in stream.events("message")]
            users = [each for each in said if each in ("before", "after")]
            yield Verdict("no loss", users == ["before", "after"], ", ".join(users))
    finally:
        server.process.terminate()


def _says(text: str) -> Callable[[Event], bool]:
    return lambda event: event.type == "message" and event.payload["content"] == text
