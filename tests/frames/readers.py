"""Clients of event streams that nobody here wrote: httpx-sse, npm's eventsource, Chromium's."""

import json
import queue
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from httpx_sse import SSEError, connect_sse
from playwright.sync_api import Page

from tests.harness.environment import ROOT
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until

PACKAGES = ROOT / "tests" / "frames" / "package.json"
INSTALL = "apt-get install -y nodejs npm"
ARRIVAL_SECONDS = 20.0
NPM_SECONDS = 100.0


class NodeMissing(Exception):
    """No node or no npm on this machine; the message is the command that installs them."""


@dataclass(frozen=True)
class Received:
    data: str
    id: str
    # What JavaScript made of the data, as JSON again; of Python's clients, the data.
    seen: str

    @property
    def type(self) -> str:
        kind: str = json.loads(self.data)["type"]
        return kind


class Reader(ABC):
    """Reads one stream from "now" until it is closed. Open once `connected` has come."""

    def __init__(self) -> None:
        connected = self.next()
        if connected.type != "connected":
            raise AssertionError(f"the first frame was {connected}")

    def take(self, ids: Sequence[str]) -> list[Received]:
        """Everything up to the last of these ids, heartbeats left out; at least as much as
        there are ids."""
        received: list[Received] = []
        while len(received) < len(ids) or received[-1].id != ids[-1]:
            one = self.next()
            if one.type != "heartbeat":
                received.append(one)
        return received

    @abstractmethod
    def next(self) -> Received: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class HttpxReader(Reader):
    """A thread iterates over what httpx-sse parses."""

    def __init__(self, url: str, *, after: str | None = None) -> None:
        self._url = url
        self._headers = {} if after is None else {"Last-Event-ID": after}
        self._received: queue.Queue[Received | Exception] = queue.Queue()
        self._client = httpx.Client(
            timeout=httpx.Timeout(10, read=None), trust_env=False, verify=NO_TLS
        )
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, name=f"reads {url}", daemon=True)
        self._thread.start()
        super().__init__()

    def _read(self) -> None:
        try:
            with connect_sse(self._client, "GET", self._url, headers=self._headers) as source:
                self._response = source.response
                for event in source.iter_sse():
                    self._received.put(Received(event.data, event.id, event.data))
            self._received.put(EOFError("the server ended the stream"))
        except (httpx.HTTPError, SSEError) as error:
            self._received.put(error)

    def next(self) -> Received:
        received = self._received.get(timeout=ARRIVAL_SECONDS)
        if isinstance(received, Exception):
            raise received
        return received

    def close(self) -> None:
        if self._response is not None:
            with suppress(OSError):  # the server was quicker
                sock = self._response.extensions["network_stream"].get_extra_info("socket")
                sock.shutdown(2)
        self._thread.join(10)
        self._client.close()


class NodeReader(Reader):
    """tests/frames/read.js under node."""

    def __init__(self, url: str) -> None:
        self._received: queue.Queue[Received | None] = queue.Queue()
        self._process = subprocess.Popen(
            [_program("node"), str(_installed() / "read.js"), url],
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._thread = threading.Thread(target=self._read, name=f"reads {url}", daemon=True)
        self._thread.start()
        super().__init__()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._received.put(Received(**json.loads(line)))
        self._received.put(None)

    def next(self) -> Received:
        received = self._received.get(timeout=ARRIVAL_SECONDS)
        if received is None:
            raise EOFError(f"node ended with {self._process.wait(10)}")
        return received

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._thread.join(10)
        assert self._process.stdout
        self._process.stdout.close()


class ChromiumReader(Reader):
    """The EventSource of a page that is at the stream's origin."""

    _OPEN = """url => {
        window.received = []
        window.source = new EventSource(url)
        window.source.onmessage = ({ data, lastEventId }) => {
            const seen = JSON.stringify(JSON.parse(data))
            window.received.push({ data, id: lastEventId, seen })
        }
    }"""

    def __init__(self, page: Page, url: str) -> None:
        self._page = page
        self._waiting: list[Received] = []
        page.evaluate(self._OPEN, url)
        super().__init__()

    def next(self) -> Received:
        if not self._waiting:
            self._waiting = wait_until(
                self._arrived, timeout=ARRIVAL_SECONDS, what="an event in Chromium"
            )
        return self._waiting.pop(0)

    def _arrived(self) -> list[Received]:
        # As text, so that no lone surrogate has to pass through Playwright.
        arrived: list[dict[str, Any]] = json.loads(
            self._page.evaluate("JSON.stringify(window.received.splice(0))")
        )
        return [Received(**one) for one in arrived]

    def close(self) -> None:
        self._page.evaluate("window.source.close()")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NodeMissing(f"No {name} on PATH. Install it, as root, with: {INSTALL}")
    return found


def _installed() -> Path:
    """The directory with tests/frames/read.js and the packages that it imports."""
    directory = npm_installed(PACKAGES)
    shutil.copy(PACKAGES.with_name("read.js"), directory)
    return directory


def npm_installed(packages: Path) -> Path:
    """The directory, under .run/, with what a package.json of a folder of the tests names."""
    directory = ROOT / ".run" / packages.parent.name
    wanted = packages.read_text(encoding="utf-8")
    mark = directory / "installed.json"
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        shutil.copy(packages, directory)
        options = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(
            [_program("npm"), "install", "--loglevel=error", *options],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            timeout=NPM_SECONDS,
            check=True,
        )
        mark.write_text(wanted, encoding="utf-8")
    return directory
