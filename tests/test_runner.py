"""`manage.py test` and `python -m tests`: which pytest they start, and what they make of it."""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.management import CommandError, load_command_class
from django.test.runner import DiscoverRunner

from tests.__main__ import _conclude, _spread
from tests.harness.environment import ROOT, environment
from tests.harness.runs import Result, Run
from tests.runner import PytestRunner, _path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be run, and is not."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def manage_test(*argv: str) -> None:
    """As typed, through Django's own parser."""
    command = load_command_class("django.core", "test")
    command.run_from_argv(["manage.py", "test", *argv])


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("", ""),
        ("-v 0", "--quiet"),
        ("-v 3", "-vv"),
        ("--failfast", "--exitfirst"),
        ("-k one", "-k one"),
        ("-k one -k *two*", "-k|one or two"),
        ("-k|one and not two", "-k|one and not two"),
        ("--tag slow --tag vendor --exclude-tag web", "-m|(slow or vendor) and not web"),
        ("--exclude-tag a --exclude-tag b", "-m|not a and not b"),
        ("--parallel 4", "-n 4"),
        ("--parallel 1", "-n 0"),
        ("--parallel 4 --pdb", "--pdb"),
        ("--reverse", "--reverse"),
        ("--shuffle 7", "--shuffle=7"),
        ("--debug-mode", "--django-debug-mode=true"),
        ("--timing", "--durations=30"),
        ("--no-faulthandler", "-p no:faulthandler"),
        ("--pattern *_test.py", "-o|python_files=*_test.py"),
        ("--no-color", "--color=no"),
        ("--noinput --buffer --keepdb", ""),
        ("--no-input tests.test_runner", "tests/test_runner.py"),
        ("--settings tests.settings", ""),
    ],
)
def test_options_of_django_become_those_of_pytest(
    started: list[list[str]], typed: str, given: str
) -> None:
    manage_test(*_words(typed))
    assert started == [["-m", "tests", *_words(given)]]


def _words(line: str) -> list[str]:
    return line.split("|") if "|" in line else line.split()


def test_processes_may_be_left_to_the_machine(started: list[list[str]]) -> None:
    manage_test("--parallel")
    assert started[0][2] == "-n"
    assert int(started[0][3]) >= 0


def test_seed_is_made_up_where_none_is_given(started: list[list[str]]) -> None:
    manage_test("--shuffle")
    option, seed = started[0][2].split("=")
    assert option == "--shuffle"
    assert int(seed) >= 0


def test_option_that_has_nothing_to_do_says_so(
    started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    manage_test("--keepdb")
    assert capsys.readouterr().out.startswith("--keepdb: nothing to keep")
    assert len(started) == 1


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("--debug-sql", "django_assert_num_queries"),
        ("--top-level-directory .", "pythonpath"),
        ("--settings config.urls", "--ds="),
        ("-k test_*_message", "-k 'test_ and _message'"),
    ],
)
def test_what_pytest_cannot_do_is_refused_with_what_it_can(
    started: list[list[str]], typed: str, instead: str
) -> None:
    command = load_command_class("django.core", "test")
    parser = command.create_parser("manage.py", "test")
    options = vars(parser.parse_args(typed.split()))
    with pytest.raises(CommandError) as refused:
        command.execute(*options.pop("args"), **options)
    assert instead in str(refused.value)
    assert "\n" not in str(refused.value)
    assert started == []


def test_every_option_of_djangos_own_runner_is_taken() -> None:
    ours, django = argparse.ArgumentParser(), argparse.ArgumentParser()
    PytestRunner.add_arguments(ours)
    DiscoverRunner.add_arguments(django)
    assert set(django._option_string_actions) <= set(ours._option_string_actions)


@pytest.mark.parametrize(
    ("label", "path"),
    [
        ("tests", "tests"),
        ("tests/test_harness.py", "tests/test_harness.py"),
        ("tests.test_harness", "tests/test_harness.py"),
        ("tests.test_harness.TestX.test_y", "tests/test_harness.py::TestX::test_y"),
        ("tests/test_harness.py::test_y", "tests/test_harness.py::test_y"),
    ],
)
def test_runner_takes_paths_and_dotted_names(label: str, path: str) -> None:
    assert _path(label, ROOT) == path


# --- python -m tests --------------------------------------------------------------------

_FAILING = """
import sys

import pytest

from tests.harness.processes import ManagedProcess


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    log = tmp_path_factory.mktemp("peer") / "log"
    process = ManagedProcess(["sh", "-c", "echo a peer speaks; exec sleep 60"], log=log)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def broken(peer):
    while "speaks" not in peer.log_text():
        pass
    raise RuntimeError("broken fixture")


def test_good():
    pass


def test_broken(broken):
    pass
"""

_WAITING = """
import threading

import pytest


@pytest.fixture
def peer(tmp_path_factory):
    yield
    print("taken down in order")


def test_waits(peer, capsys):
    with capsys.disabled():
        print("waiting", flush=True)
    threading.Event().wait(60)
"""


def suite(path: Path, text: str) -> subprocess.Popen[str]:
    (path / "test_it.py").write_text(text)
    # With the project's plugins; its fixtures are for tests in its own folder.
    options = ["--only", "sqlite", "-n0", "-c", str(ROOT / "pyproject.toml")]
    return subprocess.Popen(
        [sys.executable, "-m", "tests", *options, str(path)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_failures_come_last_with_what_their_processes_logged(tmp_path: Path) -> None:
    with suite(tmp_path, _FAILING) as running:
        output, _ = running.communicate(timeout=60)
    lines = output.splitlines()
    assert running.returncode == 1
    assert lines[-1] == "1 passed, 1 failed"
    assert "broken fixture" in output
    assert output.index("log of sh") < output.index("a peer speaks")
    failed = next(number for number, line in enumerate(lines) if "FAILED on sqlite" in line)
    assert failed > max(number for number, line in enumerate(lines) if "=====" in line)
    assert any(line.startswith("sqlite     | ") for line in lines)


def test_sigterm_ends_a_run_in_order(tmp_path: Path) -> None:
    with suite(tmp_path, _WAITING) as running:
        assert running.stdout is not None
        output = ""
        while "waiting" not in output:
            output += running.stdout.readline()
        running.terminate()
        output += running.stdout.read()
    assert running.returncode == 2
    assert "taken down in order" in output
    assert output.splitlines()[-1] == "0 passed, 1 failed"


@pytest.mark.parametrize(
    ("arguments", "processes"),
    [
        ("", 3),
        ("-k streams", 3),
        ("tests/test_a.py::test_x tests/test_a.py::test_y", 0),
        ("tests/test_a.py tests/test_b.py", 2),
        ("--pdb", None),
        ("-p no:xdist", None),
    ],
)
def test_run_is_spread_over_few_processes(
    monkeypatch: pytest.MonkeyPatch, arguments: str, processes: int | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    spread = _spread(arguments.split())
    assert spread[:2] == ([] if processes is None else ["-n", str(processes)])


@dataclass
class Ended:
    """As much of a run as its end is concluded from."""

    vendor: str
    status: int | None
    result: Result | None
    report: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("first", "second", "status", "last"),
    [
        ((0, Result(passed=5, once=2)), (0, Result(passed=3)), 0, "8 passed, 0 failed"),
        ((0, Result(passed=5)), (1, Result(passed=3, failed=2)), 1, "8 passed, 2 failed"),
        # All that was asked for is what one database is enough for.
        ((0, Result(passed=5, once=5)), (5, Result(elsewhere=5)), 0, "5 passed, 0 failed"),
        # Nothing ran, or nothing on the second for another reason.
        ((5, Result()), (5, Result(elsewhere=1)), 5, "0 passed, 2 failed"),
        ((0, Result(passed=5)), (5, Result()), 5, "5 passed, 1 failed"),
        # pytest itself came to grief, before it could say anything or after.
        ((0, Result(passed=5)), (3, None), 3, "5 passed, 1 failed"),
        ((-9, None), (0, Result(passed=5)), -9, "5 passed, 1 failed"),
        ((2, Result(passed=1)), (None, None), 2, "1 passed, 2 failed"),
    ],
)
def test_last_line_and_status_of_two_runs(
    capsys: pytest.CaptureFixture[str], first: Any, second: Any, status: int, last: str
) -> None:
    runs = [Ended("sqlite", *first), Ended("postgresql", *second)]
    assert _conclude(cast(list[Run], runs), []) == status
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_missing_server_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [Ended("sqlite", 0, Result(passed=5))]
    assert _conclude(cast(list[Run], runs), ["No PostgreSQL: install it"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "No PostgreSQL: install it" in lines
    assert lines[-1] == "5 passed, 1 failed"
