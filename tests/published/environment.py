"""A virtual environment with nothing in it but the wheel and what docs/sse tells to install."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.harness.environment import ROOT
from tests.published.documents import blocks
from tests.published.wheel import Wheel

# What is used without being told: a second server with its parsers, and what recipes are for.
_SERVERS = ("uvicorn", "httptools", "websockets", "gunicorn")
_ALSO = (*_SERVERS, "django-ninja", "djangorestframework", "celery")
_PINS = ("requirements.txt", "requirements-dev.txt", "tests/published/recipes.txt")
_NAME = "django-durable-sse"


def told_to_install() -> list[str]:
    """Of the documents' lines `pip install …`, what follows."""
    lines = (line for block in blocks() for line in block.text.splitlines())
    installs = [shlex.split(line)[2:] for line in lines if line.startswith("pip install ")]
    return [each for install in installs for each in install]


def make_environment(directory: Path, wheel: Wheel) -> Path:
    """The folder with its programs. What is missing in uv's cache comes from the registry."""
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(directory)], check=True)
    programs = directory / "bin"
    packages = [_wheel_for(each, wheel) for each in told_to_install()] + list(_ALSO)
    pins = [option for each in _PINS for option in ("--constraint", str(ROOT / each))]
    install = [*uv, "pip", "install", "--python", str(programs / "python"), *pins, *packages]
    subprocess.run(install, check=True, timeout=300)
    return programs


def _wheel_for(package: str, wheel: Wheel) -> str:
    found = re.fullmatch(rf"{_NAME}(\[.*\])?", package)
    return f"{_NAME}{found[1] or ''} @ {wheel.path.as_uri()}" if found else package
