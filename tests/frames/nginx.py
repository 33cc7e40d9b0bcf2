"""A real nginx, with the configuration that deploy/ ships or another."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.harness.environment import ROOT
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
INSTALL = "apt-get install -y nginx-light"


class NginxMissing(Exception):
    """No nginx on this machine; the message is the command that installs it."""


def find_nginx() -> str:
    # Not on the PATH of those who are not root.
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise NginxMissing(f"No nginx. Install it, as root, with: {INSTALL}")
    return found


class Nginx:
    """On a free port and in a directory of its own."""

    def __init__(self, configured: Callable[[Path, int], str]) -> None:
        """`configured` gives the configuration for this directory and port."""
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="tests-nginx-")
        directory = self._directory_path = Path(self._directory.name)
        configuration = directory / "nginx.conf"
        configuration.write_text(configured(directory, self.port))
        argv = [find_nginx(), "-c", str(configuration), "-e", str(directory / "error.log")]
        self._process = ManagedProcess(
            [*argv, "-g", "daemon off;"], log=directory / "nginx.log", cwd=directory
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for_log(self, text: str) -> str:
        """All that it has logged, once this text is in it: a request is logged at its end."""
        logs = [self._directory_path / f"{kind}.log" for kind in ("access", "error", "nginx")]

        def logged() -> str:
            everything = "".join(log.read_text() for log in logs if log.exists())
            return everything if text in everything else ""

        return wait_until(logged, what=f"{text!r} in the logs of nginx")

    def __enter__(self) -> Self:
        self._process.start()
        wait_until(self._answers, what=f"nginx on {self.port}")
        return self

    def _answers(self) -> bool:
        self._process.require_running()
        try:
            httpx.get(f"{self.base_url}/metrics", trust_env=False, verify=NO_TLS)
        except httpx.TransportError:
            # Refused until it listens.
            return False
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._directory.cleanup()


class ShippedNginx(Nginx):
    """In front of the services' processes at these ports."""

    def __init__(self, *, chatbot: Sequence[int], workbench: Sequence[int]) -> None:
        super().__init__(lambda directory, port: _adapted(directory, port, chatbot, workbench))


def user_of_workers() -> str:
    """They have to get at the directory."""
    return "user root;" if os.geteuid() == 0 else ""


def temporary_paths(directory: Path) -> str:
    return "".join(
        f"    {kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )


def _servers(ports: Sequence[int]) -> str:
    return "\n".join(f"        server 127.0.0.1:{port} max_fails=0;" for port in ports)


def _adapted(
    directory: Path, port: int, chatbot: Sequence[int], workbench: Sequence[int]
) -> str:
    """The shipped configuration with other ports and places, and nothing else."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    for shipped, adapted in {
        "user www-data;": user_of_workers(),
        "pid /run/": f"pid {directory}/",
        "\nhttp {\n": f"\nhttp {{\n{temporary_paths(directory)}",
        "/var/log/nginx/": f"{directory}/",
        "\n        listen 80;": f"\n        listen 127.0.0.1:{port};",
        "        server 127.0.0.1:8000 max_fails=0;": _servers(chatbot),
        "        server 127.0.0.1:8002 max_fails=0;": _servers(workbench),
        # As many files as a developer may open.
        "worker_rlimit_nofile 65536;": "",
        "worker_connections 30000;": "worker_connections 500;",
    }.items():
        if shipped not in text:
            raise AssertionError(f"{CONFIGURATION} no longer has {shipped!r}")
        text = text.replace(shipped, adapted)
    return text
