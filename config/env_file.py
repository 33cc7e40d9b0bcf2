"""What stands in the .env file for nothing: by itself a misspelt setting says nothing."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from django.conf import settings

# As django-environ reads a line.
_READ = re.compile(r"(?:export )?[A-Za-z_0-9]+=")
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", re.MULTILINE)
_DOCUMENTED = re.compile(r"^#?([A-Z][A-Z0-9_]*)=", re.MULTILINE)
# Read by others who may be given the same file: make, commands, the servers, libpq, Python.
_OTHERS = {
    "PORT",
    "CHAT_PORT",
    "WORKBENCH_PORT",
    "VENV",
    "AGENT_PASSWORD",
    "ASGI_THREADS",
    "TZ",
}
_OTHERS_PREFIXES = ("UVICORN_", "WEB_", "PG", "PYTHON", "DJANGO_", "SSL_", "LC_")


def unread_names() -> list[str]:
    """Names in the .env file that no setting reads, each with the setting that was meant if one
    is like it: `OPENAI_MODLE (OPENAI_MODEL?)`."""
    file, example = Path(settings.ENV_FILE), settings.BASE_DIR / ".env.example"
    if not file.is_file() or not example.is_file():
        return []
    known = set(_DOCUMENTED.findall(example.read_text("utf-8")))
    written = dict.fromkeys(_ASSIGNMENT.findall(file.read_text("utf-8", errors="replace")))
    return [
        _with_neighbour(name, known)
        for name in written
        if name not in known | _OTHERS and not name.startswith(_OTHERS_PREFIXES)
    ]


def unread_lines() -> list[int]:
    """Numbers of the lines in the .env file that are no NAME=value, a space at a wrong place
    included. What stands there may be secret."""
    file = Path(settings.ENV_FILE)
    if not file.is_file():
        return []
    lines = file.read_text("utf-8", errors="replace").splitlines()
    return [
        number
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#") and not _READ.match(line)
    ]


def _with_neighbour(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name.upper(), sorted(known), n=1)
    return f"{name} ({near[0]}?)" if near else name
