"""What browsers are told that our pages may do, and that the pages work under it."""

import errno
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper
from playwright.sync_api import Page, expect

from config import files
from tests.harness.browser import Pages
from tests.harness.environment import ROOT
from tests.harness.services import Service, Services

pytestmark = pytest.mark.database_independent

expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def service(module_services: Services) -> Service:
    return module_services.start()


@pytest.fixture(scope="module")
def anyone(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.base_url, trust_env=False) as client:
        yield client


def policy_of(answer: httpx.Response) -> dict[str, str]:
    parts = answer.headers["Content-Security-Policy"].split(";")
    return {name: rest for name, _, rest in (part.strip().partition(" ") for part in parts)}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/chat/", 200), ("/help/delivery-times/", 200), ("/widget.js", 200),
     ("/static/ai_chatbot/icon.svg", 200), ("/workbench/login/", 200), ("/workbench/", 302),
     ("/admin/login/", 200), ("/admin/", 302), ("/api/docs", 200), ("/workbench-api/docs", 200),
     ("/api/config", 200), ("/api/nothing", 404), ("/nothing/", 404), ("/nothing", 404)],
)  # fmt: skip
def test_every_answer_allows_nothing_inline_and_no_frame(
    anyone: httpx.Client, path: str, status: int
) -> None:
    answer = anyone.get(path)
    assert answer.status_code == status
    policy = policy_of(answer)
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)


def test_refusals_have_the_policy_as_well(anyone: httpx.Client) -> None:
    form = {"username": "alice", "password": "x"}
    refused = anyone.post("/workbench/login/", data=form)
    assert refused.status_code == 403
    assert "unsafe" not in str(policy_of(refused))
    unknown_host = anyone.get("/", headers={"Host": "evil.example"})
    assert unknown_host.status_code == 400
    assert policy_of(unknown_host)["default-src"] == "'none'"


def logged_in(pages: Pages, service: Service, start: str) -> Page:
    page = pages.open(f"{service.base_url}{start}")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(service.database.demo_password())
    page.get_by_role("button", name="Log in").click()
    return page


def test_admin_works_under_the_policy(pages: Pages, service: Service) -> None:
    """Whatever the policy kept from it would be in the browser's console, and fail the test."""
    session = httpx.post(f"{service.api_url}/sessions", json={"nickname": "Mia"}).json()
    page = logged_in(pages, service, "/admin/")

    page.goto(f"{service.base_url}/admin/ai_chatbot/article/add/")
    page.get_by_label("Title").press_sequentially("Lamps & plants")
    expect(page.get_by_label("Slug")).to_have_value("lamps-plants")

    page.goto(f"{service.base_url}/admin/agent_workbench/agent/add/")
    page.locator(".select2-selection").click()
    page.locator(".select2-search__field").fill("ali")
    expect(page.get_by_role("option", name="alice")).to_be_visible()

    page.goto(f"{service.base_url}/admin/ai_chatbot/chatsession/")
    page.get_by_role("link", name=re.compile(r"^\w+ \d+$")).first.click()
    page.get_by_role("row", name=session["session_name"]).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option("close_sessions")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.get_by_text("1 session was changed.")).to_be_visible()

    page.get_by_role("link", name=session["session_name"]).click()
    expect(page.get_by_text("This conversation is closed.")).to_be_visible()
    page.goto(f"{service.base_url}/admin/auth/user/add/")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_visible()


@pytest.mark.parametrize("prefix", ["api", "workbench-api"])
def test_pages_of_the_apis_work_under_the_policy(
    pages: Pages, service: Service, prefix: str
) -> None:
    """Without anything of another host."""
    page = pages.open()
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((service.base_url, "data:"))
            else elsewhere.append(request.url)
        ),
    )
    page.goto(f"{service.base_url}/{prefix}/docs")
    page.get_by_role("button", name=re.compile("escalate|takeover")).first.click()
    page.get_by_role("button", name="Try it out").click()
    expect(page.get_by_role("button", name="Execute")).to_be_visible()
    assert elsewhere == []


@pytest.mark.parametrize("preload", [False, True])
def test_preload_is_a_switch_of_its_own(preload: bool) -> None:
    program = (
        "from config import settings as s; print(s.SECURE_HSTS_PRELOAD, "
        "s.SECURE_HSTS_INCLUDE_SUBDOMAINS, s.SECURE_HSTS_SECONDS)"
    )
    env = {**os.environ, "HTTPS": "true", "HSTS_PRELOAD": str(preload).lower()}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True
    )
    assert ran.stdout.decode().split() == [str(preload), str(preload), "31536000"]


@pytest.mark.vendor("sqlite")
def test_database_is_its_owners_alone(service: Service, anyone: httpx.Client) -> None:
    path = Path(service.database.environment()["DATABASE_URL"].removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as kept_open:
        kept_open.execute("SELECT 1 FROM sse_target").fetchall()
        assert anyone.post("/api/sessions", json={}).status_code == 201
        files = [path, *path.parent.glob(f"{path.name}-*")]
        assert len(files) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_file_whose_mode_cannot_be_changed_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a file system that is read-only or knows no modes."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    path = tmp_path / "db.sqlite3"
    path.touch(0o644)
    monkeypatch.setattr(Path, "chmod", refuse)
    database = DatabaseWrapper({"NAME": str(path)})
    files.keep_private(database)
    assert f"others may read {path}" in caplog.text
