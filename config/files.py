"""Files that hold what customers said are their owner's alone."""

from __future__ import annotations

import logging
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

_looked_at: set[str] = set()


def keep_private(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Take SQLite's files from group and others, at a process's first connection to them.

    SQLite gives the files it makes later the mode of the first.
    """
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or name in _looked_at:
        return
    _looked_at.add(name)
    for suffix in ("", "-wal", "-shm"):
        path = Path(f"{name}{suffix}")
        with suppress(FileNotFoundError):
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                try:
                    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
                except OSError as error:
                    # Another's file, a file system that is read-only or knows no modes.
                    logger.warning("others may read %s: %s", path, error)
