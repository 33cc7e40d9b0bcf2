"""The two programs beside each server: one that publishes and one that listens."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from tests.harness.environment import ROOT


class Program:
    """Asked by a line of JSON, answers by one; ends with its standard input."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **request: Any) -> None:
        self._stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._stdin.flush()

    def answer(self) -> Any:
        line = self._stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait(10)}")
        return json.loads(line)

    def do(self, do: str, **request: Any) -> Any:
        self.ask(do, **request)
        return self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._stdout.close()


class Listeners(Program):
    """tests/bench/rivals/listen.py"""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-m", "tests.bench.rivals.listen"])

    def open(self, port: int, requests: Sequence[Mapping[str, Any]], **how: Any) -> Any:
        """Raises if one of the streams did not open."""
        answer = self.do("open", port=port, requests=list(requests), **how)
        if answer["open"] < len(requests):
            raise RuntimeError(f"only {answer['open']} of {len(requests)} streams: {answer}")
        return answer


class Publisher(Program):
    """tests/bench/rivals/publish.py, in the environment of the system it publishes to."""

    def __init__(self, python: str, system: str, env: Mapping[str, str]) -> None:
        super().__init__([python, "-m", "tests.bench.rivals.publish", system], env)
        self.answer()
