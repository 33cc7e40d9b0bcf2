"""A real nginx with the locations that docs/sse shows."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from tests.frames.nginx import find_nginx
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until
from tests.published.documents import blocks

_CONFIGURATION = """
{user}
pid {directory}/nginx.pid;
events {{}}
http {{
    access_log off;
    {temporary}
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


class DocumentedNginx:
    """On a free port, in front of what listens at `ports`: {the documents' port: the real}."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="tests-nginx-")
        directory = Path(self._directory.name)
        locations = "\n".join(block.text for block in blocks() if block.language == "nginx")
        for written, real in ports.items():
            locations = locations.replace(f"127.0.0.1:{written};", f"127.0.0.1:{real};")
        text = _CONFIGURATION.format(
            # Its workers have to get at the directory.
            user="user root;" if os.geteuid() == 0 else "",
            directory=directory,
            port=self.port,
            locations=locations,
            temporary="\n    ".join(
                f"{kind}_temp_path {directory}/{kind};"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ),
        )
        (directory / "nginx.conf").write_text(text)
        argv = [find_nginx(), "-c", str(directory / "nginx.conf")]
        argv += ["-e", str(directory / "error.log"), "-g", "daemon off;"]
        self._process = ManagedProcess(argv, log=directory / "nginx.log", cwd=directory)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._process.start()
        wait_until(self._answers, what=f"nginx on {self.port}")
        return self

    def _answers(self) -> bool:
        self._process.require_running()
        try:
            httpx.get(f"{self.base_url}/admin/login/", trust_env=False, verify=NO_TLS)
        except httpx.TransportError:
            # Refused until it listens.
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._directory.cleanup()
