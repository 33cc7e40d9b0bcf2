"""`make run` and `make services`, as people start them and as they end."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.harness.databases import Database
from tests.harness.environment import ROOT
from tests.harness.ports import free_port
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.vendor("sqlite")


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed, as far as make can see; it runs this Python."""
    directory = tmp_path_factory.mktemp("made") / "venv"
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (directory / ".installed").touch()
    return directory


def make(venv: Path, target: str, **ports: int) -> list[str]:
    named = [f"{name}={port}" for name, port in ports.items()]
    # `make test` would have it say where it is.
    alone = ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "-u", "MFLAGS"]
    return [*alone, "make", target, f"VENV={venv}", f"ENV_FILE={os.devnull}", *named]


@pytest.mark.parametrize(
    ("target", "name", "others"),
    [
        ("run", "PORT", []),
        ("services", "CHAT_PORT", ["WORKBENCH_PORT"]),
        ("services", "WORKBENCH_PORT", ["CHAT_PORT"]),
    ],
)
def test_taken_port_is_said_before_anything_is_done(
    tmp_path: Path, target: str, name: str, others: list[str]
) -> None:
    nowhere = tmp_path / "no-venv"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {name: port, **{other: free_port() for other in others}}
        done = subprocess.run(
            make(nowhere, target, **ports),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode != 0
    assert done.stdout == ""
    said, _makes_own = done.stderr.splitlines()
    assert said.startswith(f"Port {port} is taken. Choose another: {name}=")
    assert said.endswith(f"make {target}")
    assert not nowhere.exists()


def test_two_services_do_not_share_a_port(tmp_path: Path) -> None:
    port = free_port()
    done = subprocess.run(
        make(tmp_path / "no-venv", "services", CHAT_PORT=port, WORKBENCH_PORT=port),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert f"Port {port} is wanted twice. Choose another: WORKBENCH_PORT=" in done.stderr


@contextmanager
def started(argv: list[str], database: Database, log: Path, **env: str) -> Iterator[int]:
    """The process, whose end and that of all it started is seen to."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=database.environment(DJANGO_SETTINGS_MODULE="config.settings", **env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family: list[psutil.Process] = []
    try:
        yield process.pid
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        if process.poll() is None:
            family += psutil.Process(process.pid).children(recursive=True)
            process.kill()
        process.wait(10)
        for one in family:
            if one.is_running():
                one.kill()


def wait_served(log: Path, *ports: int) -> None:
    def served() -> bool:
        try:
            for port in ports:
                httpx.get(f"http://127.0.0.1:{port}/api/livez", trust_env=False, timeout=5)
        except httpx.TransportError:
            return False
        return True

    try:
        wait_until(served, timeout=60, what=f"servers at {ports}", interval=0.1)
    except TimeoutError as error:
        raise AssertionError(log.read_text()) from error


def kill_alone(pid: int) -> int:
    """SIGKILL to this process; how many it had started, once all of them have ended."""
    family = psutil.Process(pid).children(recursive=True)
    with ExitStack() as stack:
        watches = []
        for one in family:
            watches.append((one.cmdline(), os.pidfd_open(one.pid)))
            stack.callback(os.close, watches[-1][1])
        os.kill(pid, signal.SIGKILL)
        for command, watch in watches:
            assert select.select([watch], [], [], 20)[0], f"{command} is still running"
    return len(family)


def assert_free(*ports: int) -> None:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def services_at(*ports: int) -> dict[str, str]:
    """Settings, with a Redis of their own."""
    chat, workbench, private = map(str, ports)
    redis = f"redis://127.0.0.1:{private}/0"
    return {"CHAT_PORT": chat, "WORKBENCH_PORT": workbench, "REDIS_URL": redis}


def test_nothing_outlives_make_services_that_is_killed(
    demo_database: Database, venv: Path, tmp_path: Path
) -> None:
    ports = free_port(), free_port(), free_port()
    log = tmp_path / "log"
    with started(make(venv, "services"), demo_database, log, **services_at(*ports)) as pid:
        wait_served(log, *ports[:2])
        # Two services, Redis, and what runs them.
        assert kill_alone(pid) >= 4
        assert_free(*ports)


def test_nothing_outlives_a_runner_of_services_that_is_killed(
    demo_database: Database, tmp_path: Path
) -> None:
    ports = free_port(), free_port(), free_port()
    log = tmp_path / "log"
    argv = [sys.executable, "deploy/services.py"]
    with started(argv, demo_database, log, **services_at(*ports)) as pid:
        wait_served(log, *ports[:2])
        assert kill_alone(pid) >= 3
        assert_free(*ports)


def test_nothing_outlives_a_run_that_is_killed(
    demo_database: Database, venv: Path, tmp_path: Path
) -> None:
    port = free_port()
    log = tmp_path / "log"
    with started(make(venv, "run", PORT=port), demo_database, log) as pid:
        wait_served(log, port)
        said = log.read_text()
        assert f"http://127.0.0.1:{port}/workbench/" in said
        assert f"password: {demo_database.demo_password()}" in said
        shop = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
        assert shop.status_code == 200
        kill_alone(pid)

        assert_free(port)
