"""The commands that people type, and a process that cannot start."""

import json
import os
import re
import stat
import subprocess
import sys
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from pytest_django import Settings

from agent_workbench.models import Agent
from ai_chatbot.models import Article
from tests.harness.client import Clients
from tests.harness.databases import CommandFailed, Database, Databases
from tests.harness.environment import ROOT, environment
from tests.harness.services import Services
from tests.in_process import browser

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """The real hash takes half a second, on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def create_agent(*args: Any, **options: Any) -> str:
    out = StringIO()
    call_command("create_agent", *args, stdout=out, **options)
    return out.getvalue()


# --- create_agent -----------------------------------------------------------------------


@pytest.fixture
def given_password(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setenv("AGENT_PASSWORD", PASSWORD)


@pytest.mark.usefixtures("given_password")
def test_agent_is_made_and_can_log_in() -> None:
    printed = create_agent("carol", display_name="Carol C.", max_sessions=3)
    assert "carol" in printed
    assert PASSWORD not in printed
    agent = Agent.objects.get()
    assert (agent.username, agent.display_name, agent.role) == ("carol", "Carol C.", "agent")
    assert (agent.max_sessions, agent.status) == (3, "offline")
    assert not agent.user.is_staff
    assert authenticate(username="carol", password=PASSWORD) == agent.user


@pytest.mark.usefixtures("given_password")
def test_agent_without_a_display_name_is_called_by_the_username() -> None:
    create_agent("carol")
    assert Agent.objects.get().display_name == "carol"
    assert Agent.objects.get().max_sessions == 5


@pytest.mark.usefixtures("given_password")
@pytest.mark.parametrize(
    ("role", "lands"), [("admin", True), ("supervisor", True), ("agent", False)]
)
def test_administrators_log_in_to_the_admin_and_agents_do_not(role: str, lands: bool) -> None:
    create_agent("carol", role=role)
    client = browser()
    form = {"username": "carol", "password": PASSWORD}
    answer = client.post("/admin/login/?next=/admin/", form)
    assert (answer.status_code == 302) is lands
    assert (client.get("/admin/").status_code == 200) is lands
    if lands:
        listed = client.get("/admin/ai_chatbot/chatsession/")
        assert listed.status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("password", ["short", "password123", "73910284756", "carolcarol"])
def test_weak_password_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("AGENT_PASSWORD", password)
    with pytest.raises(CommandError, match="password"):
        create_agent("carolcarol")
    assert not get_user_model().objects.exists()


@pytest.mark.usefixtures("given_password")
@pytest.mark.parametrize("name", ["", "with space", "slash/", "x" * 151, "a\x00b", "名 前"])
def test_unfit_name_is_refused(name: str) -> None:
    with pytest.raises(CommandError):
        create_agent(name)
    assert not get_user_model().objects.exists()


@pytest.mark.usefixtures("given_password")
@pytest.mark.parametrize("name", ["carol", "Zoë", "客服", "a.b+c@d-e_f", "x" * 100])
def test_fit_name_is_accepted(name: str) -> None:
    create_agent(name)
    assert Agent.objects.get().username == name


@pytest.mark.usefixtures("given_password")
def test_taken_name_is_refused_and_nothing_is_changed() -> None:
    create_agent("carol")
    before = list(get_user_model().objects.values())
    with pytest.raises(CommandError, match="already exists"):
        create_agent("carol", role="admin")
    assert list(get_user_model().objects.values()) == before
    assert Agent.objects.get().role == "agent"


@pytest.mark.usefixtures("given_password")
@pytest.mark.parametrize(
    "options", [["--role", "boss"], ["--max-sessions", "many"], ["--password", "x"]]
)
def test_unfit_option_is_refused(options: list[str]) -> None:
    with pytest.raises(CommandError):
        create_agent("carol", *options)
    assert not get_user_model().objects.exists()


@pytest.mark.usefixtures("given_password")
@pytest.mark.parametrize("number", [0, -1, 10**20])
def test_unfit_number_of_sessions_is_refused(number: int) -> None:
    with pytest.raises(CommandError):
        create_agent("carol", max_sessions=number)
    assert not get_user_model().objects.exists()


@pytest.mark.usefixtures("given_password")
def test_too_long_display_name_is_refused() -> None:
    with pytest.raises(CommandError):
        create_agent("carol", display_name="x" * 101)
    assert not get_user_model().objects.exists()


def test_without_a_password_or_a_terminal_the_command_says_what_to_do(
    database: Database,
) -> None:
    with pytest.raises(CommandFailed, match="AGENT_PASSWORD"):
        database.manage("create_agent", "carol")


# --- seed_demo --------------------------------------------------------------------------


@pytest.fixture
def demo(settings: Settings, tmp_path: Path, db: None) -> Path:
    """Where the demo agents' password is kept."""
    settings.DEMO_PASSWORD_FILE = str(tmp_path / "run" / "demo-password")
    return Path(settings.DEMO_PASSWORD_FILE)


def seed() -> str:
    out = StringIO()
    call_command("seed_demo", stdout=out)
    return out.getvalue()


def test_demo_has_articles_in_both_languages_and_agents(demo: Path) -> None:
    printed = seed()
    password = demo.read_text().strip()
    assert len(password) >= 12
    assert password in printed
    roles = dict(Agent.objects.values_list("user__username", "role"))
    assert roles == {
        "alice": "agent",
        "bob": "agent",
        "carol": "supervisor",
        "admin": "admin",
    }
    for name in roles:
        assert authenticate(username=name, password=password) is not None
        assert name in printed
    assert set(Article.objects.values_list("language", flat=True)) == {"en", "zh-hans"}
    assert stat.S_IMODE(demo.stat().st_mode) == 0o600


def test_demo_loaded_again_changes_nothing(demo: Path) -> None:
    def everything() -> list[Any]:
        return [
            list(Article.objects.order_by("pk").values()),
            list(Agent.objects.order_by("pk").values()),
            list(get_user_model().objects.order_by("pk").values()),
        ]

    first = seed()
    before, password = everything(), demo.read_text()
    again = seed()
    assert everything() == before
    assert demo.read_text() == password
    assert again.splitlines()[-1] == first.splitlines()[-1]


def test_demo_keeps_what_people_changed(demo: Path) -> None:
    seed()
    Article.objects.filter(language="en").update(body="Changed by hand.", published=False)
    Agent.objects.filter(user__username="alice").update(display_name="Alice A.")
    seed()
    assert set(Article.objects.filter(language="en").values_list("body", "published")) == {
        ("Changed by hand.", False)
    }
    assert Agent.objects.filter(display_name="Alice A.").count() == 1


def test_demo_password_differs_from_one_installation_to_the_next(
    demo: Path, settings: Settings, tmp_path: Path
) -> None:
    seed()
    first = demo.read_text()
    get_user_model().objects.all().delete()
    settings.DEMO_PASSWORD_FILE = str(tmp_path / "other")
    seed()
    assert (tmp_path / "other").read_text() != first


def shown(printed: str) -> tuple[list[str], str]:
    """The agents and the password that a person reads on the last line."""
    found = re.fullmatch(r"Demo agents: (.*); password: (\S+)", printed.splitlines()[-1])
    assert found
    return found[1].split(", "), found[2]


def all_log_in(printed: str) -> bool:
    names, password = shown(printed)
    return all(authenticate(username=name, password=password) for name in names)


def test_demo_whose_password_file_is_gone_makes_a_new_one_and_says_so(demo: Path) -> None:
    first = seed()
    demo.unlink()
    again = seed()
    assert "did not open admin, alice, bob, carol" in again
    assert shown(again)[1] != shown(first)[1]
    assert shown(again)[0] == ["alice", "bob", "carol", "admin"]
    assert all_log_in(again)
    assert "did not open" not in seed()


def test_demo_with_another_installations_file_logs_in_all_the_same(demo: Path) -> None:
    seed()
    demo.write_text("of-another-database\n")
    again = seed()
    assert "did not open" in again
    assert all_log_in(again)


def change_password(name: str) -> str:
    user = get_user_model().objects.get(username=name)
    user.set_password(PASSWORD)
    user.save()
    return PASSWORD


def test_password_changed_by_hand_is_the_demos_again(demo: Path) -> None:
    seed()
    change_password("alice")
    again = seed()
    assert "did not open alice;" in again
    assert shown(again)[0] == ["alice", "bob", "carol", "admin"]
    assert all_log_in(again)


@pytest.mark.usefixtures("given_password")
def test_password_of_an_agent_who_only_has_a_demo_name_stays(demo: Path) -> None:
    create_agent("admin", role="admin", display_name="The owner")
    first = seed()
    assert "with passwords of their own: admin" in first
    assert shown(first)[0] == ["alice", "bob", "carol"]
    assert all_log_in(first)
    assert authenticate(username="admin", password=PASSWORD)


def test_outside_the_demo_a_password_changed_by_hand_stays(
    demo: Path, settings: Settings
) -> None:
    seed()
    change_password("alice")
    settings.DEMO = False
    again = seed()
    assert "with passwords of their own: alice" in again
    assert shown(again)[0] == ["bob", "carol", "admin"]
    assert all_log_in(again)
    assert authenticate(username="alice", password=PASSWORD)

    demo.unlink()
    assert "password: " not in seed()
    assert not demo.exists()


def test_deactivated_agent_is_not_said_to_log_in(demo: Path) -> None:
    seed()
    get_user_model().objects.filter(username="bob").update(is_active=False)
    again = seed()
    assert shown(again)[0] == ["alice", "carol", "admin"]
    assert all_log_in(again)


@pytest.mark.django_db
def test_shop_is_there_in_the_demo_only(settings: Settings) -> None:
    assert browser().get("/").status_code == 200
    settings.DEMO = False
    answer = browser().get("/", follow=True)
    assert answer.redirect_chain == [("/chat/", 302)]
    assert answer.status_code == 200


def test_each_database_has_a_demo_password_of_its_own(
    databases: Databases, tmp_path: Path, clients: Clients
) -> None:
    """As with `make run`, and the same with another DATABASE_URL in between."""
    usual = {"DEMO_PASSWORD_FILE": ""}
    script = "from django.conf import settings; print(settings.DEMO_PASSWORD_FILE)"
    with databases.fresh() as one, databases.fresh() as other, ExitStack() as stack:
        for database in (one, other):
            file = Path(database.manage("shell", "--no-imports", "-c", script, **usual).strip())
            stack.callback(file.unlink, missing_ok=True)
        first = one.manage("seed_demo", **usual)
        other.manage("seed_demo", **usual)
        again = one.manage("seed_demo", **usual)

        assert shown(again) == shown(first)
        with Services(one, tmp_path) as services:
            clients.agent(services.start(), "alice", shown(again)[1])


# --- A process that cannot start --------------------------------------------------------


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    variables = environment(DJANGO_SETTINGS_MODULE="config.settings", **env)
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={name: value for name, value in variables.items() if value != "<unset>"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("key", ["", "<unset>"])
def test_process_without_a_secret_key_refuses_to_start_and_says_why(key: str) -> None:
    for argv in (
        ("manage.py", "check"),
        ("-m", "daphne", "-p", "0", "config.asgi:application"),
    ):
        done = run(*argv, SECRET_KEY=key, DATABASE_URL="sqlite://:memory:")
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        assert re.search(r"SECRET_KEY is not set.*make run.*DEBUG=true", last)


def test_debug_does_without_a_secret_key() -> None:
    done = run(
        "manage.py", "check", SECRET_KEY="", DEBUG="true", DATABASE_URL="sqlite://:memory:"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_settings_are_safe_unless_told_otherwise() -> None:
    """What a process has that was given nothing but a key."""
    script = (
        "import json, django; django.setup(); from django.conf import settings as s\n"
        "print(json.dumps({n: getattr(s, n) for n in ['DEBUG', 'ALLOWED_HOSTS', 'SERVICE',"
        " 'CSRF_TRUSTED_ORIGINS', 'CORS_ALLOWED_ORIGINS', 'USE_REDIS_SSE', 'REDIS_URLS',"
        " 'AI_BACKEND', 'SSE_HEARTBEAT_SECONDS', 'SSE_MAX_STREAMS_PER_TARGET',"
        " 'SSE_MAX_STREAMS_PER_ADDRESS', 'RATE_LIMITS', 'DEMO', 'SESSION_COOKIE_HTTPONLY']}))"
    )
    unset = dict.fromkeys(("USE_REDIS_SSE", "RATE_LIMITS", "DEMO"), "<unset>")
    known = {"SECRET_KEY": "x" * 60, **unset}
    done = run("-c", script, **known)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "DEBUG": False,
        "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"],
        "SERVICE": "all",
        "CSRF_TRUSTED_ORIGINS": [],
        "CORS_ALLOWED_ORIGINS": [],
        "USE_REDIS_SSE": True,
        "REDIS_URLS": ["redis://localhost:6379/0"],
        "AI_BACKEND": "offline",
        "SSE_HEARTBEAT_SECONDS": 15.0,
        "SSE_MAX_STREAMS_PER_TARGET": 50,
        "SSE_MAX_STREAMS_PER_ADDRESS": 200,
        "RATE_LIMITS": True,
        "DEMO": False,
        "SESSION_COOKIE_HTTPONLY": True,
    }


def test_workbench_alone_leads_from_its_root_to_the_console() -> None:
    script = (
        "import django; django.setup(); from django.test import Client\n"
        "print(Client(headers={'host': 'localhost'}).get('/', secure=True).headers['Location'])"
    )
    done = run("-c", script, SERVICE="agent_workbench", DATABASE_URL="sqlite://:memory:")
    assert done.stdout.split() == ["/workbench/"], done.stderr


def test_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("SECRET_KEY=from-the-file\nSERVICE=ai_chatbot\nAI_BACKEND=openai\n")
    script = (
        "import django; django.setup(); from django.conf import settings as s\n"
        "print(s.SECRET_KEY, s.SERVICE, s.AI_BACKEND)"
    )
    done = run("-c", script, ENV_FILE=str(file), SECRET_KEY="<unset>", SERVICE="all")
    assert done.stdout.split() == ["from-the-file", "all", "openai"], done.stderr
    assert os.environ.get("SERVICE") is None
