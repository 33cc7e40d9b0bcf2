"""A server of event streams that does as it is told: to try clients on what real servers do
rarely. It has a log, so that streams resume, and counts who is connected."""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.harness.environment import ROOT

SCRIPT = ROOT / "sse" / "static" / "sse" / "sse.js"
POLL_SECONDS = 0.02

Refusal = tuple[int, dict[str, str], object]


@dataclass
class Event:
    type: str
    data: object
    # 0 for an ephemeral one.
    seq: int


@dataclass
class Target:
    epoch: str
    events: list[Event] = field(default_factory=list)
    # Everything up to this number is gone.
    trimmed: int = 0

    @property
    def last(self) -> int:
        return max((event.seq for event in self.events), default=0)


@dataclass
class Opening:
    """A request for a stream."""

    path: str
    last_event_id: str
    token: str
    answered: int = 200
    open: bool = False


class ScriptedStreams(ThreadingHTTPServer):
    """`/named/a+b/` and `/unnamed/a+b/` are streams of the targets a and b; `/raw/` gives
    `chunks`; `/` is an empty page."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.changed = threading.Condition()
        self.targets: dict[str, Target] = {}
        self.openings: list[Opening] = []
        self.refusals: list[Refusal] = []
        self.chunks: list[bytes] = []
        self.heartbeat = 1000.0
        self.beats = 0
        self.retry = 20
        # Streams that began before are to end.
        self.generation = 0
        self.mute = False

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def open(self) -> int:
        return sum(opening.open for opening in self.openings)

    def target(self, name: str) -> Target:
        with self.changed:
            return self.targets.setdefault(name, Target(random.randbytes(8).hex()))

    def send(self, name: str, kind: str, data: object, *, durable: bool = True) -> str:
        target = self.target(name)
        with self.changed:
            seq = target.last + 1 if durable else 0
            target.events.append(Event(kind, data, seq))
            self.changed.notify_all()
            return f"{target.epoch}-{target.last}"

    def drop(self) -> None:
        """End every stream that is open."""
        with self.changed:
            self.generation += 1
            self.changed.notify_all()

    def note(self, opening: Opening, *, is_open: bool) -> None:
        with self.changed:
            opening.open = is_open


class _Answers(BaseHTTPRequestHandler):
    server: ScriptedStreams
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # A proxy is asked for whole addresses.
        address = urlsplit(self.path)
        kind, _, rest = address.path.strip("/").partition("/")
        if kind in ("named", "unnamed"):
            self._stream(kind == "named", rest.split("+"), parse_qs(address.query))
        elif kind == "raw":
            self._raw()
        elif kind == "sse.js":
            self._whole("text/javascript", SCRIPT.read_bytes())
        else:
            self._whole(
                "text/html", b"<!doctype html><link rel=icon href=data:,><title>.</title>"
            )

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _whole(
        self, kind: str, body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _raw(self) -> None:
        self._begin()
        for chunk in self.server.chunks:
            self.wfile.write(chunk)
            self.wfile.flush()
            time.sleep(POLL_SECONDS)

    def _stream(self, named: bool, names: list[str], query: dict[str, list[str]]) -> None:
        server = self.server
        asked = self.headers.get("Last-Event-ID") or "~".join(query.get("last_event_id", []))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        opening = Opening(self.path, asked, token)
        with server.changed:
            server.openings.append(opening)
            refusal = server.refusals.pop(0) if server.refusals else None
            generation = server.generation
        if refusal:
            status, headers, body = refusal
            opening.answered = status
            self._whole("application/json", json.dumps(body).encode(), status, headers)
            return
        server.note(opening, is_open=True)
        try:
            self._begin()
            self._serve(named, [server.target(name) for name in names], asked, generation)
        except OSError:
            pass  # the client has gone
        finally:
            server.note(opening, is_open=False)

    def _serve(self, named: bool, targets: list[Target], asked: str, generation: int) -> None:
        server = self.server
        known = dict(part.rsplit("-", 1) for part in asked.split("~")) if asked else {}
        lost = bool(known.keys() - {target.epoch for target in targets}) or any(
            int(known.get(target.epoch, target.last)) < target.trimmed for target in targets
        )
        place = {
            target.epoch: target.last if lost else int(known.get(target.epoch, target.last))
            for target in targets
        }
        index = {
            target.epoch: next(
                (n for n, e in enumerate(target.events) if e.seq > place[target.epoch]),
                len(target.events),
            )
            for target in targets
        }

        def cursor() -> str:
            return "~".join(f"{epoch}-{seq}" for epoch, seq in place.items())

        self._control(
            named, "connected", {"cursor": cursor()}, cursor(), f"retry: {server.retry}\n"
        )
        if lost:
            self._control(named, "reset", {"reason": "unknown"}, cursor())
        heard = time.monotonic()
        while True:
            with server.changed:
                if server.generation != generation:
                    return
                ready = [t for t in targets if index[t.epoch] < len(t.events)]
                if not ready or server.mute:
                    server.changed.wait(POLL_SECONDS)
            if ready and not server.mute:
                # Between targets no order is promised.
                target = random.choice(ready)
                event = target.events[index[target.epoch]]
                index[target.epoch] += 1
                if event.seq:
                    place[target.epoch] = event.seq
                self._event(named, event, cursor() if event.seq else "")
                heard = time.monotonic()
            elif time.monotonic() - heard > server.heartbeat and not server.mute:
                self._control(named, "heartbeat", {})
                server.beats += 1
                heard = time.monotonic()
            else:
                # To notice who has gone. Not to be mistaken for a word of the server's.
                self._gone()

    def _gone(self) -> None:
        self.connection.setblocking(False)
        try:
            if self.connection.recv(1) == b"":
                raise ConnectionResetError
        except BlockingIOError:
            pass
        finally:
            self.connection.setblocking(True)

    def _control(
        self, named: bool, kind: str, payload: object, cursor: str = "", head: str = ""
    ) -> None:
        self._event(named, Event(f"sse-{kind}" if named else kind, payload, 0), cursor, head)

    def _event(self, named: bool, event: Event, cursor: str, head: str = "") -> None:
        if cursor:
            head += f"id: {cursor}\n"
        if named:
            text = event.data if isinstance(event.data, str) else json.dumps(event.data)
            body = f"event: {event.type}\n" + "".join(f"data: {x}\n" for x in text.split("\n"))
        else:
            envelope = {"type": event.type, "payload": event.data, "timestamp": time.time()}
            body = f"data: {json.dumps(envelope)}\n"
        self.wfile.write(f"{head}{body}\n".encode())
        self.wfile.flush()


@contextmanager
def scripted_streams() -> Iterator[ScriptedStreams]:
    with ScriptedStreams() as server:
        worker = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        worker.start()
        try:
            yield server
        finally:
            server.drop()
            server.shutdown()
            worker.join()
