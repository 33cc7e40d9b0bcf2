"""Guessing passwords is slow at all three logins, and locks nobody else out."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
import pytest
from django.utils import translation
from pytest_django import Settings

from agent_workbench import accounts, login_limit
from agent_workbench.models import LoginTries
from tests.cookie_client import CookieClient
from tests.harness.client import Clients
from tests.harness.services import Service, Services
from tests.in_process import Api, browser, error_of

PASSWORD = "correct horse battery"
HOME, AWAY = "192.0.2.1", "198.51.100.2"
PAGES = {"workbench": "/workbench/login/", "admin": "/admin/login/"}
DOORS = ["api", *PAGES]


@pytest.fixture
def owner(db: None, settings: Settings, rate_limits: None) -> str:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return accounts.create_agent("owner", PASSWORD, role="admin").username


def knock(
    door: str, password: str = "guess", *, username: str = "owner", address: str = HOME
) -> str:
    """`in`, `wrong` or `throttled`."""
    fields = {"username": username, "password": password}
    if door == "api":
        answer = Api("/workbench-api", REMOTE_ADDR=address).post("/agent/login", fields)
        if answer.status_code == 429:
            error_of(answer, 429, "TOO_MANY_REQUESTS")
            assert 1 <= int(answer["Retry-After"]) <= 60
        return {200: "in", 401: "wrong", 429: "throttled"}[answer.status_code]
    page = browser(REMOTE_ADDR=address).post(PAGES[door], fields)
    if page.status_code == 302:
        return "in"
    assert page.status_code == 200
    return "throttled" if "Too many attempts" in page.content.decode() else "wrong"


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("door", DOORS)
def test_five_wrong_passwords_close_every_login_to_that_name_and_address(door: str) -> None:
    assert [knock(door) for _ in range(6)] == ["wrong"] * 5 + ["throttled"]
    for each in DOORS:
        assert knock(each, PASSWORD) == "throttled"
        assert knock(each, username="another") == "wrong"
        assert knock(each, PASSWORD, address=AWAY) == "in"


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("door", DOORS)
def test_name_that_does_not_exist_is_throttled_alike(door: str) -> None:
    answers = [knock(door, username="nobody") for _ in range(6)]
    assert answers == ["wrong"] * 5 + ["throttled"]


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("door", DOORS)
def test_right_password_gives_the_tries_back(door: str) -> None:
    for _ in range(3):
        assert [knock(door) for _ in range(4)] == ["wrong"] * 4
        assert knock(door, PASSWORD) == "in"


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("door", PAGES)
def test_form_without_a_password_gives_nothing_back(door: str) -> None:
    for _ in range(4):
        assert knock(door) == "wrong"
    knock(door, "")
    assert knock(door) == "wrong"
    assert knock(door, PASSWORD) == "throttled"


@pytest.mark.usefixtures("owner")
def test_tries_are_remembered_however_many_others_try() -> None:
    for _ in range(5):
        assert knock("api") == "wrong"
    for number in range(160):
        knock("api", username=f"name{number}", address=f"203.0.113.{number}")
    assert knock("api", PASSWORD) == "throttled"


@pytest.mark.usefixtures("owner")
def test_one_address_tries_fifty_passwords_whatever_the_name() -> None:
    assert {knock("api", username=f"name{number}") for number in range(50)} == {"wrong"}
    for door in DOORS:
        assert knock(door, PASSWORD) == "throttled"
    assert knock("admin", PASSWORD, address=AWAY) == "in"


@pytest.mark.usefixtures("owner")
def test_who_repeats_one_wrong_password_uses_up_nobody_elses_tries() -> None:
    for _ in range(70):
        knock("api")
    assert knock("api", username="colleague") == "wrong"


@pytest.mark.usefixtures("owner")
def test_name_that_many_addresses_guess_at_is_slowed_and_not_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(login_limit, "FOR_NAME", 10)
    for number in range(10):
        assert knock("api", address=f"203.0.113.{number}") == "wrong"
    # From now on each address has one try a minute instead of five.
    assert [knock("api", address="203.0.113.77") for _ in range(2)] == ["wrong", "throttled"]
    for door, address in zip(DOORS, (HOME, AWAY, "2001:db8::1"), strict=True):
        assert knock(door, PASSWORD, address=address) == "in"


@pytest.mark.usefixtures("owner")
def test_addresses_of_one_network_are_one_guesser() -> None:
    for number in range(5):
        assert knock("api", address=f"2001:db8:0:1::{number}") == "wrong"
    assert knock("api", PASSWORD, address="2001:db8:0:1:ffff::1") == "throttled"
    assert knock("api", PASSWORD, address="2001:db8:0:2::1") == "in"
    for _ in range(5):
        knock("api", address="::ffff:192.0.2.1")
    assert knock("api", PASSWORD, address=HOME) == "throttled"


@pytest.mark.usefixtures("owner")
def test_counts_that_are_over_do_not_pile_up() -> None:
    for number in range(20):
        knock("api", username=f"name{number}", address=f"203.0.113.{number}")
    assert LoginTries.objects.count() == 60
    LoginTries.objects.update(until=0)
    for _ in range(6):
        knock("api")
    assert LoginTries.objects.count() == 3
    assert knock("api", PASSWORD) == "throttled"


@pytest.mark.usefixtures("owner")
def test_nothing_stored_tells_names_or_addresses() -> None:
    knock("api", username="owner", address=HOME)
    for row in LoginTries.objects.all():
        assert "owner" not in row.key
        assert HOME not in row.key


@pytest.mark.usefixtures("owner")
def test_logins_are_not_slowed_with_limits_switched_off(settings: Settings) -> None:
    settings.RATE_LIMITS = False
    for door in DOORS:
        assert {knock(door) for _ in range(8)} == {"wrong"}
    assert not LoginTries.objects.exists()


@pytest.mark.usefixtures("owner")
def test_login_page_says_it_in_the_readers_language() -> None:
    for _ in range(5):
        knock("admin")
    fields = {"username": "owner", "password": PASSWORD}
    client = browser(REMOTE_ADDR=HOME, HTTP_ACCEPT_LANGUAGE="zh-hans")
    for page in PAGES.values():
        assert "尝试次数过多" in client.post(page, fields).content.decode()
    translation.deactivate()


@pytest.mark.usefixtures("rate_limits")
@pytest.mark.django_db
def test_refreshing_is_limited_for_each_address() -> None:
    def answer(address: str) -> Any:
        api = Api("/workbench-api", REMOTE_ADDR=address)
        return api.post("/agent/refresh", {"refresh_token": "nonsense"})

    assert {answer(HOME).status_code for _ in range(60)} == {401}
    error_of(answer(HOME), 429, "TOO_MANY_REQUESTS")
    assert answer(AWAY).status_code == 401


# --- Two processes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes(module_services: Services) -> list[Service]:
    return [
        module_services.start(RATE_LIMITS="on"),
        module_services.start("agent_workbench", RATE_LIMITS="on"),
    ]


def test_of_forty_guesses_at_once_five_reach_a_password(processes: list[Service]) -> None:
    at_once = Barrier(40)

    def guess(number: int) -> httpx.Response:
        url = f"{processes[number % 2].workbench_url}/agent/login"
        at_once.wait(30)
        return client.post(url, json={"username": "alice", "password": f"guess {number}"})

    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        ThreadPoolExecutor(40) as threads,
    ):
        answers = list(threads.map(guess, range(40)))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 35
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "TOO_MANY_REQUESTS"
            assert int(answer.headers["Retry-After"]) >= 1


def test_guesses_at_once_at_the_admin_are_counted_alike(processes: list[Service]) -> None:
    at_once = Barrier(20)

    def guess(number: int) -> str:
        with CookieClient(processes[number % 2]) as client:
            client.get("/admin/login/")
            at_once.wait(30)
            return client.submit(
                "/admin/login/", {"username": "admin", "password": f"guess {number}"}
            ).text

    with ThreadPoolExecutor(20) as threads:
        pages = list(threads.map(guess, range(20)))
    assert sum("Too many attempts" in page for page in pages) == 15
    assert sum("Please enter the correct" in page for page in pages) == 5


def test_of_twelve_refreshes_at_once_with_one_token_one_succeeds(
    processes: list[Service], clients: Clients
) -> None:
    bob = clients.agent(processes[0], "bob")
    at_once = Barrier(12)

    def refresh(number: int) -> int:
        body = {"refresh_token": bob.login["refresh_token"]}
        at_once.wait(30)
        url = f"{processes[number % 2].workbench_url}/agent/refresh"
        return bob.http.post(url, json=body).status_code

    with ThreadPoolExecutor(12) as threads:
        assert sorted(threads.map(refresh, range(12))) == [200] + [401] * 11
    assert bob.http.get("/agent/profile").status_code == 401
