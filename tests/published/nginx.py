"""A real nginx with the locations that docs/sse shows."""

from collections.abc import Mapping
from pathlib import Path

from tests.frames.nginx import Nginx, temporary_paths, user_of_workers
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


class DocumentedNginx(Nginx):
    """In front of what listens at `ports`: {the documents' port: the real}."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        locations = "\n".join(block.text for block in blocks() if block.language == "nginx")
        for written, real in ports.items():
            locations = locations.replace(f"127.0.0.1:{written};", f"127.0.0.1:{real};")

        def configured(directory: Path, port: int) -> str:
            return _CONFIGURATION.format(
                user=user_of_workers(),
                directory=directory,
                port=port,
                locations=locations,
                temporary=temporary_paths(directory),
            )

        super().__init__(configured)
