"""pytest plugin: what a failure shows, and what `python -m tests` is told at the end."""

import json
import os
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from xdist.workermanage import NodeManager

from tests.harness.browser import Pages
from tests.harness.environment import ROOT
from tests.harness.processes import ManagedProcess
from tests.harness.runs import Result

# Markers: the database adds nothing to a test or module, or to all of it but some tests.
ONCE, EVERYWHERE = "database_independent", "every_database"
_LOG_LINES = 80

# How much the processes that ran already had logged when the current test began.
_logged_before = pytest.StashKey[dict[ManagedProcess, int]]()
_elsewhere = pytest.StashKey[int]()
runs_once = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    running = [process for process in ManagedProcess.started if process.running]
    ManagedProcess.started[:] = running
    item.stash[_logged_before] = {process: len(process.log_text()) for process in running}
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure, of a fixture too, shows what the processes that ran during the test logged
    meanwhile, whichever fixture they belong to, and how the open pages looked."""
    report = yield
    # Reports come from another process; what is set on them comes along.
    report.runs_once = item.stash.get(runs_once, False)
    if not report.failed:
        return report
    before = item.stash.get(_logged_before, {})
    for process in ManagedProcess.started:
        lines = process.log_text()[before.get(process, 0) :].splitlines()
        if lines:
            report.sections.append((f"log of {process}", "\n".join(lines[-_LOG_LINES:])))
    for peer in getattr(item, "funcargs", {}).values():
        if isinstance(peer, Pages):
            shots = peer.screenshots(ROOT / "test-results" / str(os.getpid()), item.name)
            report.sections.append(("screenshots", "\n".join(map(str, shots))))
    return report


def note_elsewhere(config: pytest.Config, count: int) -> None:
    """So many tests were left to the run on another database."""
    config.stash[_elsewhere] = count
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output["elsewhere"] = count


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Each worker collects everything, so that what one says holds for all."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[_elsewhere] = output.get("elsewhere", 0)


class _Counter:
    """In the process that the terminal belongs to."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.once = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A failure is named at once; its report comes at the end."""
        if report.passed and report.when == "call":
            self.once += getattr(report, "runs_once", False)
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.write("\n")
            reporter.write_line(f"FAILED {report.nodeid} ({report.when})", red=True)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or session.config.option.collectonly:
            return
        stats = reporter.stats
        passed = len(stats.get("passed", []))
        if not exitstatus and not passed:
            # A run in which everything was skipped has shown nothing.
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        if "TESTS_RESULT" not in os.environ:
            return
        bad = [*stats.get("failed", []), *stats.get("error", [])]
        result = Result(
            passed=passed,
            failed=len(bad),
            skipped=len(stats.get("skipped", [])),
            once=self.once,
            elsewhere=session.config.stash.get(_elsewhere, 0),
            failures=tuple(dict.fromkeys(report.nodeid for report in bad)),
        )
        Path(os.environ["TESTS_RESULT"]).write_text(json.dumps(asdict(result)))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Counter(config), "tests.harness.counter")
        # An interrupted worker has services to stop and databases to drop.
        NodeManager.EXIT_TIMEOUT = 60
