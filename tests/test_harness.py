"""The peers that the other tests rely on do what they are said to do."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
import redis

from config import settings as project_settings
from tests import settings as test_settings
from tests.harness import postgres
from tests.harness.browser import Pages, find_chromium
from tests.harness.databases import CommandFailed, Database
from tests.harness.environment import ROOT, environment
from tests.harness.nursery import Nursery, run_python
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess, ProcessFailed
from tests.harness.redis import RedisServer, bundled_redis_server, find_redis_server
from tests.harness.streams import EventStream, StreamRefused, parse_frames
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.database_independent


def _redis_binaries() -> list[Path | None]:
    return [find_redis_server(), bundled_redis_server()]


@pytest.mark.parametrize("binary", _redis_binaries(), ids=["found", "bundled"])
def test_redis_comes_back_empty_on_its_port(binary: Path | None) -> None:
    assert binary is not None, "pip install -r requirements-dev.txt"
    with RedisServer(binary=binary) as server, server.client() as client:
        client.set("key", "value")
        server.kill()
        assert not server.running
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.restart()
        assert client.get("key") is None


def test_frozen_redis_keeps_connections_and_does_not_answer(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.3, retry=None) as client:
        client.set("key", "value")
        redis_server.freeze()
        with pytest.raises(redis.TimeoutError):
            client.get("key")
        redis_server.thaw()
        assert client.get("key") == b"value"


def test_redis_that_cannot_start_says_why(redis_server: RedisServer) -> None:
    second = RedisServer()
    second._process.argv[second._process.argv.index("--port") + 1] = str(redis_server.port)
    with pytest.raises(ProcessFailed, match="Address already in use"):
        second.start()
    second.stop()


def test_postgresql_of_the_wheel_starts_and_copies_databases() -> None:
    assert postgres.bundled_programs() is not None, "pip install -r requirements-dev.txt"
    with postgres.BundledPostgres() as server:
        template = server.create_database()
        with psycopg.connect(template) as connection:
            connection.execute("CREATE TABLE thing (name text)")
            connection.execute("INSERT INTO thing VALUES ('中文')")
        copy = server.create_database(template=template)
        with closing(psycopg.connect(copy, autocommit=True)) as connection:
            assert connection.execute("SELECT name FROM thing").fetchall() == [("中文",)]
            assert server.connection_count(copy) == 1
            server.drop_database(copy)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(copy)


def test_some_postgresql_is_found() -> None:
    with postgres.find_postgres() as server, server.connect() as connection:
        assert connection.info.server_version >= 140000


def test_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    """A test run that is killed leaves no servers behind."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from tests.harness.processes import ManagedProcess\n"
        f"process = ManagedProcess(['sleep', '60'], log=Path({str(tmp_path / 'log')!r}))\n"
        "process.start(); print(process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watch = os.pidfd_open(pid)
        parent.kill()
    try:
        _wait_readable(watch)
    finally:
        os.close(watch)


def _wait_readable(descriptor: int) -> None:
    assert select.select([descriptor], [], [], 10)[0], "still running after 10 s"


def test_forked_program_is_as_if_started_by_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys\n"
        "own = ('config', 'sse', 'ai_chatbot', 'agent_workbench', 'tests')\n"
        "print(json.dumps([dict(os.environ), sys.argv, os.getcwd(), os.getppid(), __name__,\n"
        "    [name for name in sys.modules if name.partition('.')[0] in own]]))\n"
        "print('wrong', file=sys.stderr)\n"
        "raise SystemExit(3)"
    )
    argv = [str(script), "--option"]
    status, output, errors = run_python(argv, env={"ONLY": "this"}, timeout=30)
    env, seen, directory, parent, name, modules = json.loads(output)
    assert (status, errors) == (3, "wrong\n")
    assert (env, seen, directory, name) == ({"ONLY": "this"}, argv, str(ROOT), "__main__")
    assert modules == []
    assert parent != os.getpid(), "the nursery is closed"


def test_forked_program_can_be_killed_and_waited_for(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import time; print('on', flush=True); time.sleep(60)")
    assert Nursery.current is not None
    log = tmp_path / "log"
    process = Nursery.current.fork([str(script)], env={}, cwd=ROOT, stdout=log)
    wait_until(lambda: log.exists() and log.read_text() == "on\n", what="it to run")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(10) == process.poll() == -signal.SIGKILL


def test_process_that_ignores_sigterm_is_killed_and_reported(tmp_path: Path) -> None:
    script = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('on', flush=True); time.sleep(60)"
    )
    process = ManagedProcess([sys.executable, "-c", script], log=tmp_path / "log")
    process.start()
    wait_until(lambda: "on" in process.log_text(), what="the signal to be ignored")
    with pytest.raises(ProcessFailed, match="did not end within"):
        process.terminate(timeout=0.2)
    assert not process.running


def test_free_ports_differ_and_are_free() -> None:
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_tests_run_with_the_projects_settings_but_for_what_they_hurry() -> None:
    names = set(dir(project_settings)) | set(dir(test_settings))
    differing = {
        name
        for name in names
        if name.isupper()
        and getattr(project_settings, name, None) != getattr(test_settings, name, None)
    }
    assert differing == {"PASSWORD_HASHERS", "INSTALLED_APPS"}
    assert [*project_settings.INSTALLED_APPS, "tests.constants.Constants"] == (
        test_settings.INSTALLED_APPS
    )


def test_constant_is_set_for_a_process_in_its_own_type(database: Database) -> None:
    code = "from ai_chatbot import turns; print(turns.LEASE)"
    shell = ("shell", "--no-imports", "--command", code)
    assert database.manage(*shell, TESTS_CONSTANTS='{"ai_chatbot.turns.LEASE": 1.5}') == (
        "0:00:01.500000\n"
    )
    with pytest.raises(CommandFailed, match="no attribute 'RENT'"):
        database.manage(*shell, TESTS_CONSTANTS='{"ai_chatbot.turns.RENT": 1}')


def test_developers_settings_do_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a developer's own")
    monkeypatch.setenv("PATH_LIKE", "kept")
    inside = environment(SSE_HEARTBEAT_SECONDS="1")
    assert "OPENAI_API_KEY" not in inside
    assert inside["PATH_LIKE"] == "kept"
    assert inside["SSE_HEARTBEAT_SECONDS"] == "1"
    assert inside["ENV_FILE"] == os.devnull


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_frames_are_read_however_they_are_cut(size: int) -> None:
    wire = (
        'retry: 1734\r\nid: 7c1f-42\ndata: {"a":"中\u2028文"}\n\n'
        ": comment\r\rdata: one\ndata: two\n\n\n\nevent: named\ndata:\n\ndata: unfinished\n"
    ).encode()
    chunks = [wire[start : start + size] for start in range(0, len(wire), size)]
    first, comment, lines, named = parse_frames(chunks)
    assert (first.retry, first.id, first.data) == (1734, "7c1f-42", '{"a":"中\u2028文"}')
    assert (comment.comments, comment.data) == (["comment"], None)
    assert (lines.id, lines.data) == (None, "one\ntwo")
    assert (named.event, named.data) == ("named", "")


class _Script(BaseHTTPRequestHandler):
    """/stream: an event, then silence; /refused: 429; /ended: an event, then the end."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        if self.path == "/refused":
            self.send_response(429)
            self.end_headers()
            self.wfile.write(b"too many")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        after = self.headers.get("Last-Event-ID", "0")
        number = int(after) + 1
        self.wfile.write(
            f'id: {number}\ndata: {{"type":"message","payload":{{}},"timestamp":1}}\n\n'
            f'data: {{"type":"typing","payload":{{}},"timestamp":1}}\n\n'.encode()
        )
        self.wfile.flush()
        if self.path == "/stream":
            self.rfile.read(1)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def stream_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_stream_keeps_events_and_resumes_after_the_last_id(stream_server: str) -> None:
    with EventStream(f"{stream_server}/stream") as stream:
        typing = stream.wait_for("typing")
        assert typing.id is None
        assert stream.last_id == "1"
        stream.reconnect()
        assert stream.wait_for("message", after=2).id == "2"
        with pytest.raises(TimeoutError, match="0 of 1 × note"):
            stream.wait_for("note", timeout=0.05)


def test_stream_tells_of_a_refusal_and_of_an_end(stream_server: str) -> None:
    with pytest.raises(StreamRefused, match=r"429.*too many") as refused:
        EventStream(f"{stream_server}/refused")
    assert refused.value.status == 429
    with EventStream(f"{stream_server}/ended") as stream:
        assert stream.wait_ended() == ""
        with pytest.raises(TimeoutError, match="before it ended"):
            stream.wait_for("note")


def test_pages_remember_what_the_console_complains_about(pages: Pages) -> None:
    page = pages.open("data:text/html;charset=utf-8,<h1>shop 商店</h1>")
    assert page.locator("h1").inner_text() == "shop 商店"
    assert pages.unexpected() == []
    page.evaluate("console.warn('careful'); console.log('fine')")
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('broken') })")
    careful, broken = pages.unexpected()
    assert "careful" in careful
    assert "broken" in broken
    pages.allow("careful|broken")
    assert pages.unexpected() == []


def test_missing_chromium_names_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        Exception, match="apt-get install -y chromium-headless-shell fonts-noto-cjk"
    ):
        find_chromium()
