"""The wheel that `pip wheel .` makes of this repository."""

import email
import shutil
import subprocess
import sys
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from pathlib import Path
from zipfile import ZipFile

from tests.harness.environment import ROOT

# Beside what .gitignore names: of no use to a build, and large.
_NOT_COPIED = (".*", "__pycache__", "node_modules", "build", "dist", "*.egg-info", "*.sqlite3*")


@dataclass(frozen=True)
class Wheel:
    path: Path

    @cached_property
    def names(self) -> frozenset[str]:
        """Of all its files, without its metadata's."""
        with ZipFile(self.path) as archive:
            names = archive.namelist()
        return frozenset(name for name in names if ".dist-info/" not in name)

    @cached_property
    def metadata(self) -> Message:
        with ZipFile(self.path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
            return email.message_from_bytes(archive.read(name))


def build_wheel(directory: Path) -> Wheel:
    """Out of a copy, since setuptools leaves folders where it builds. Asks no registry."""
    source = directory / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(directory), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"pip wheel: {done.returncode}\n{done.stdout}\n{done.stderr}")
    (path,) = directory.glob("*.whl")
    return Wheel(path)
