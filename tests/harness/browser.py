"""Debian's Chromium, driven by Playwright, with everything its console complains about."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

INSTALL = "apt-get install -y chromium-headless-shell fonts-noto-cjk"
# The first is Chromium without its own window and buttons, which cost half of its computing.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class BrowserMissing(Exception):
    """No Chromium on this machine; the message is the command that installs it."""


def find_chromium() -> str:
    for name in _NAMES:
        path = shutil.which(name)
        if path:
            return path
    raise BrowserMissing(f"No Chromium on PATH. Install it, as root, with: {INSTALL}")


@contextmanager
def launched_chromium() -> Iterator[Browser]:
    """While it is open, this thread counts as inside an event loop: asyncio.run and Django's
    ORM refuse to work in it. So keep browser tests in modules of their own."""
    executable = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def _process_with(profile: Path) -> int:
    """The browser's own process, which is older than the helpers it forks. A script may have
    started it."""
    processes = [
        process
        for process in psutil.process_iter(["cmdline", "create_time"])
        if f"--user-data-dir={profile}" in (arguments := process.info["cmdline"] or [])
        and Path(arguments[0]).name not in ("sh", "bash")
    ]
    return min(processes, key=lambda process: (process.info["create_time"], process.pid)).pid


class Pages:
    """Opens pages, each in a context of its own, and remembers their complaints."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._allowed: list[re.Pattern[str]] = []
        self.complaints: list[str] = []
        self.contexts: list[BrowserContext] = []

    def open(self, url: str | None = None, *, locale: str = "en-US", **context: Any) -> Page:
        """A page in a new context, as another person's browser. `context`: more options of
        Playwright's new_context."""
        opened = self._browser.new_context(locale=locale, **context)
        self.contexts.append(opened)
        opened.set_default_timeout(30_000)
        opened.on("page", self._watch)
        page = opened.new_page()
        if url is not None:
            page.goto(url)
        return page

    def launch(self, directory: Path) -> tuple[Page, Callable[[], None]]:
        """A page in a browser of its own, with its profile in this directory; and what kills
        that browser, as when its machine dies."""
        opened = self._browser.browser_type.launch_persistent_context(
            directory, executable_path=find_chromium(), args=_FLAGS, locale="en-US"
        )
        self.contexts.append(opened)
        opened.set_default_timeout(30_000)
        opened.on("page", self._watch)
        pid = _process_with(directory)

        def kill() -> None:
            with opened.expect_event("close"):
                os.kill(pid, signal.SIGKILL)
            self.contexts.remove(opened)

        return opened.new_page(), kill

    def allow(self, pattern: str) -> None:
        """This test provokes a complaint that matches: "status of 409", for one."""
        self._allowed.append(re.compile(pattern))

    def _watch(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", self._on_page_error)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("warning", "error"):
            where = message.location
            self.complaints.append(
                f"console {message.type}: {message.text} "
                f"({where.get('url')}:{where.get('lineNumber')})"
            )

    def _on_page_error(self, error: PlaywrightError) -> None:
        self.complaints.append(f"page error: {error.stack or error.message}")

    def unexpected(self) -> list[str]:
        return [
            complaint
            for complaint in self.complaints
            if not any(pattern.search(complaint) for pattern in self._allowed)
        ]

    def screenshots(self, directory: Path, name: str) -> list[Path]:
        """Every open page as it looks now."""
        directory.mkdir(parents=True, exist_ok=True)
        taken: list[Path] = []
        for page in (page for context in self.contexts for page in context.pages):
            path = directory / f"{name}-{len(taken)}.png"
            page.screenshot(path=path)
            taken.append(path)
        return taken

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        self.contexts.clear()
