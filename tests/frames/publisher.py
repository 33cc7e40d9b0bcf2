"""Events enqueued by a process that serves nothing."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from tests.harness.environment import ROOT

Event = dict[str, Any]


class Publisher:
    """`env`: the settings of the services it publishes to."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.frames.enqueue"],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="ascii",
        )

    def enqueue(self, target: str, events: Sequence[Event]) -> list[str]:
        """Their cursors, once all are stored."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        cursors = []
        for event in events:
            stdin.write(json.dumps({"target": target, "event": event}) + "\n")
            stdin.flush()
            cursor = stdout.readline().strip()
            if not cursor:
                raise AssertionError(f"the publisher ended with {self._process.wait(10)}")
            cursors.append(cursor)
        return cursors

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
