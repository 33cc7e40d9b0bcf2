"""The Django project that docs/sse makes, put together out of its blocks."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Self

import httpx

from tests.frames.readers import npm_installed
from tests.harness.environment import setting_names
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess, ProcessFailed
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until
from tests.published.documents import FIRST_PAGE, Block, blocks

LANGUAGES_OF_FILES = ("python", "html")
PASSWORD = "let-me-in"
# Ends neither by itself nor for this test.
_SERVER = "python manage.py runserver\n"
_RUNSERVER = "python manage.py runserver --noreload 127.0.0.1:8000"
_NPM = Path(__file__).with_name("package.json")


class CommandFailed(Exception):
    """A command of the documents ended with an error; the message has its output."""


class Project:
    def __init__(
        self, directory: Path, programs: Path, *, variants: Collection[str] = (), **env: str
    ) -> None:
        """`programs`: the environment's. `env`: what the documents' settings read."""
        self.directory = directory
        self.programs = programs
        self.variants = frozenset(variants)
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in setting_names() and not name.startswith(("DJANGO", "PYTHON", "COV"))
        }
        self.env = kept | env | {"PATH": f"{programs}:{os.environ['PATH']}"}
        self.env["VIRTUAL_ENV"] = str(programs.parent)
        # gunicorn leaves files there.
        self.env["HOME"] = str(directory)

    def follow(self, page: str) -> Self:
        """Everything that the page says, from top to bottom."""
        for block in blocks():
            if block.page == page:
                self._do(block)
        return self

    def follow_others(self) -> Self:
        """What the pages after the first one add."""
        for block in blocks():
            if block.page != FIRST_PAGE:
                self._do(block)
        return self

    def _do(self, block: Block) -> None:
        if block.variant and block.variant not in self.variants:
            return
        if block.title and block.language in LANGUAGES_OF_FILES:
            self.write(block)
        elif block.attributes.get("run") == "npm":
            self._copy_from_npm(block)
        elif block.language == "sh" and not block.attributes:
            self.run(block)

    def write(self, block: Block) -> None:
        path = self.directory / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        added = "add" in block.attributes or (block.variant and path.name == "settings.py")
        with path.open("a" if added else "w", encoding="utf-8") as file:
            file.write(f"\n\n{block.text}" if added else block.text)

    def run(self, block: Block) -> str:
        lines = block.text.splitlines(keepends=True)
        script = "".join(
            line for line in lines if not line.startswith("pip install ") and line != _SERVER
        )
        return self.command(["bash", "-euc", script])

    def _copy_from_npm(self, block: Block) -> None:
        (self.directory / "node_modules").symlink_to(npm_installed(_NPM) / "node_modules")
        lines = (line for line in block.text.splitlines() if not line.startswith("npm "))
        self.command(["bash", "-euc", "\n".join(lines)])

    def manage(self, *argv: str) -> str:
        return self.command(["python", "manage.py", *argv])

    def command(self, argv: list[str]) -> str:
        """Its standard output."""
        done = subprocess.run(
            argv,
            cwd=self.directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}"
            raise CommandFailed(f"{' '.join(argv)}: {done.returncode}\n{said}")
        return done.stdout

    def copy(self, directory: Path, *, variants: Collection[str] = (), **env: str) -> "Project":
        """Another one with the same files, and no database yet."""
        ignored = shutil.ignore_patterns("db.sqlite3*", "__pycache__")
        shutil.copytree(self.directory, directory, symlinks=True, ignore=ignored)
        return Project(directory, self.programs, variants=variants, **env)


class ProjectServer:
    """One server process of a project, by the documents' command, on a port of its own."""

    def __init__(self, project: Project, name: str, *, port: int | None = None) -> None:
        """`name`: as in the documents' `served="daphne"`, or runserver."""
        self.port = port or free_port()
        self.project = project
        commands = {
            b.attributes["served"]: b.text for b in blocks() if "served" in b.attributes
        }
        command = (commands | {"runserver": _RUNSERVER})[name]
        command = re.sub(r"\b800[01]\b", str(self.port), command)
        program, *arguments = command.split()
        self._process = ManagedProcess(
            [str(project.programs / program), *arguments],
            log=project.directory / f"{name}.log",
            env=project.env | {"PYTHONUNBUFFERED": "1"},
            cwd=project.directory,
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._process.start()
        try:
            wait_until(self._answers, what=f"{self._process} to answer")
        except TimeoutError as error:
            raise ProcessFailed(f"{error}\n{self._process.log_tail()}") from error
        return self

    def _answers(self) -> bool:
        self._process.require_running()
        try:
            httpx.get(f"{self.base_url}/admin/login/", trust_env=False, verify=NO_TLS)
        except httpx.TransportError:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()

    def log_text(self) -> str:
        return self._process.log_text()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()


class Sender:
    """Another process of the project, that does what it is told in Python."""

    _LOOP = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    exec(json.loads(line), globals())\n"
        "    print('done', flush=True)\n"
    )

    def __init__(self, project: Project) -> None:
        self._process = subprocess.Popen(
            [str(project.programs / "python"), "manage.py", "shell", "-c", self._LOOP],
            cwd=project.directory,
            env=project.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, code: str) -> None:
        """Returns once it is done."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{json.dumps(code)}\n")
        self._process.stdin.flush()
        while (answer := self._process.stdout.readline()) != "done\n":
            if not answer:
                raise CommandFailed(f"{code}: {self._process.wait(10)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()
