"""Settings that cannot work are named by `manage.py check`, with what to do about it."""

import os
import subprocess
import sys
from ast import literal_eval
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from config.settings import Environment
from tests.harness.databases import CommandFailed, Database
from tests.harness.environment import ROOT, environment

pytestmark = pytest.mark.database_independent


def found() -> dict[str, CheckMessage]:
    return {message.id: message for message in run_checks() if message.id}


@pytest.mark.every_database
def test_settings_as_shipped_are_fine() -> None:
    assert run_checks() == []
    call_command("check", "--fail-level", "WARNING")


@pytest.mark.parametrize("value", ["all", "ai_chatbot", "agent_workbench"])
def test_service_that_exists(settings: Settings, value: str) -> None:
    settings.SERVICE = value
    assert "config.E001" not in found()


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("SERVICE", "chatbot", "config.E001"),
        ("SERVICE", "", "config.E001"),
        ("AI_BACKEND", "nowhere.Backend", "config.E002"),
        ("AI_BACKEND", "ai_chatbot.backends.offline.Nothing", "config.E002"),
        ("AI_BACKEND", "gpt", "config.E002"),
        ("AI_BACKEND", "", "config.E002"),
        ("AI_BACKEND", "json.loads", "config.E002"),
        ("OPENING_HOURS", "nine to five", "config.E003"),
        ("OPENING_HOURS", "mon-fri 09:00-09:00", "config.E003"),
        ("AGENT_ABSENCE_SECONDS", 0.0, "config.E009"),
        ("AGENT_ABSENCE_SECONDS", float("nan"), "config.E009"),
        ("AGENT_ABSENCE_SECONDS", 10.0**9, "config.E009"),
        ("AGENT_SILENT_WARN_SECONDS", -1.0, "config.E011"),
        ("CUSTOMER_GONE_SECONDS", 0.0, "config.E011"),
        ("CUSTOMER_RETURN_SECONDS", float("nan"), "config.E011"),
        ("IDLE_CLOSE_SECONDS", float("inf"), "config.E011"),
        ("TRANSFER_SECONDS", 0.0, "config.E014"),
        ("TRANSFER_SECONDS", float("inf"), "config.E014"),
        ("ASSIGNMENT", "", "config.E016"),
        ("ASSIGNMENT", "on", "config.E016"),
        ("SSE_HEARTBEAT_SECONDS", 0.0, "sse.E003"),
        ("SSE_HEARTBEAT_SECONDS", -1.0, "sse.E003"),
        ("SSE_HEARTBEAT_SECONDS", float("nan"), "sse.E003"),
        ("SSE_HEARTBEAT_SECONDS", "15", "sse.E003"),
        ("SSE_MAX_STREAM_SECONDS", 0, "sse.E003"),
        ("SSE_DATABASE_SECONDS", None, "sse.E003"),
        ("SSE_RETENTION_HOURS", float("inf"), "sse.E003"),
        ("SSE_RETENTION_EVENTS", 0, "sse.E003"),
        ("SSE_MAX_STREAMS_PER_TARGET", -1, "sse.E003"),
        ("SSE_MAX_STREAMS_PER_ADDRESS", True, "sse.E003"),
        ("SSE_CHANNEL_LAYER", "redis", "sse.E002"),
        ("SSE_JSON_ENCODER", "nowhere.Encoder", "sse.E004"),
        ("SSE_JSON_ENCODER", "json.dumps", "sse.E004"),
        ("SSE_JSON_ENCODER", "Encoder", "sse.E004"),
        ("SSE_ALLOWED_ORIGINS", "https://shop.example.com", "sse.E005"),
        ("SSE_ALLOWED_ORIGINS", ["https://shop.example.com/"], "sse.E005"),
        ("SSE_ALLOWED_ORIGINS", ["shop.example.com"], "sse.E005"),
        ("SSE_ALLOWED_ORIGINS", ["http://["], "sse.E005"),
        ("SSE_HEARTBEAT_SECOND", 15.0, "sse.W003"),
        ("AI_ANSWER_CHARACTERS", 0, "config.E008"),
        ("AI_ANSWER_CHARACTERS", 8001, "config.E008"),
        ("AI_ANSWER_SECONDS", -1.0, "config.E008"),
        ("AI_ANSWER_SECONDS", float("inf"), "config.E008"),
        ("AI_PATIENCE_SECONDS", float("nan"), "config.E008"),
        ("OPENAI_TIMEOUT_SECONDS", 0.0, "config.E008"),
        ("OPENAI_MAX_TOKENS", 0, "config.E008"),
        ("OPENAI_MAX_TOKENS", -400, "config.E008"),
        ("DEFAULT_FROM_EMAIL", "our shop", "config.E020"),
        ("DEFAULT_FROM_EMAIL", "a@example.com\nBcc: b@example.com", "config.E020"),
        ("STAFF_EMAIL", ["team@example.com", "team"], "config.E020"),
        ("EMAIL_TIMEOUT", 0.0, "config.E022"),
        ("EMAIL_TIMEOUT", float("nan"), "config.E022"),
        ("PUBLIC_URL", "support.example.com", "config.E023"),
        ("PUBLIC_URL", "https://[", "config.E023"),
        ("WORKBENCH_URL", "https://desk.example.com/?a=b", "config.E023"),
        ("CONTACT_LINK_DAYS", 0.0, "config.E024"),
        ("CONTACT_LINK_DAYS", float("inf"), "config.E024"),
    ],
)
def test_setting_that_cannot_work_is_named(
    settings: Settings, name: str, value: Any, check: str
) -> None:
    setattr(settings, name, value)
    messages = found()
    assert set(messages) == {check}
    assert name in messages[check].msg
    assert messages[check].hint
    with pytest.raises(CommandError, match=check):
        call_command("check", "--fail-level", "WARNING")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AI_BACKEND", "offline"),
        ("AI_BACKEND", "scripted"),
        ("AI_BACKEND", "ai_chatbot.backends.scripted.ScriptedBackend"),
        ("OPENING_HOURS", "mon-fri 09:00-18:00; sat 22:00-06:00"),
        ("ASSIGNMENT", "round_robin"),
        ("ASSIGNMENT", "least_busy"),
        ("SSE_HEARTBEAT_SECONDS", 0.1),
        ("SSE_ALLOWED_ORIGINS", ["https://shop.example.com:8443", "http://[::1]"]),
        ("CHANNEL_LAYERS", {}),
    ],
)
def test_setting_that_works_is_not_named(settings: Settings, name: str, value: Any) -> None:
    setattr(settings, name, value)
    assert found() == {}


def test_mail_that_nobody_gets_is_warned_of_outside_the_demo(settings: Settings) -> None:
    settings.STAFF_EMAIL = []
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert found() == {}
    settings.DEMO = False
    assert {message.msg.partition(" ")[0] for message in run_checks()} == {
        "STAFF_EMAIL",
        "EMAIL_URL",
    }
    settings.STAFF_EMAIL = ["Our Team <team@example.com>"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = ""
    assert set(found()) == {"config.E021"}
    settings.EMAIL_HOST = "mail.example.com"
    assert found() == {}


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("", True),
        ("consolemail://", True),
        ("smtp://mail.example.com", True),
        ("smtp+tls://user%40example.com:p%3Ass@mail.example.com:587", True),
        ("mail.example.com", False),
        ("http://mail.example.com", False),
        ("smtp://user:s3cret@mail.example.com:port", False),
        ("smtp://user:s3cret", False),
        ("smtp://[s3cret", False),
    ],
)
def test_address_of_the_mail_server_is_read_or_named(url: str, accepted: bool) -> None:
    command = [sys.executable, "manage.py", "check"]
    env = environment(EMAIL_URL=url, DATABASE_URL="sqlite://:memory:")
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    said = ran.stdout + ran.stderr
    assert (ran.returncode == 0) is accepted, said
    assert ("EMAIL_URL is set to what it cannot be" in said) is not accepted
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "url",
    ["", "api.openai.com/v1", "ftp://x/v1", "http://:80", "http://x:port/v1", "http://[x"],
)
def test_openai_address_must_be_one(settings: Settings, url: str) -> None:
    settings.AI_BACKEND, settings.OPENAI_BASE_URL = "openai", url
    assert url in found()["config.E010"].msg
    settings.OPENAI_BASE_URL = "http://127.0.0.1:8080/v1"
    assert "config.E010" not in found()


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        ("https://api.openai.com/v1", "", True),
        ("https://API.OpenAI.com", "", True),
        ("https://api.openai.com/v1", "sk-123", False),
        ("http://127.0.0.1:11434/v1", "", False),
    ],
)
def test_openai_needs_a_key_and_other_servers_may_not(
    settings: Settings, url: str, key: str, warned: bool
) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = url, key
    assert "config.W001" not in found()
    settings.AI_BACKEND = "openai"
    messages = found()
    assert ("config.W001" in messages) is warned
    if warned:
        assert "OPENAI_API_KEY" in messages["config.W001"].msg


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize(("most", "named"), [(11, True), (12, False)])
def test_connections_must_suffice_for_streams_and_requests(
    settings: Settings, most: int, named: bool
) -> None:
    assert sum(settings.SSE_DATABASE_THREADS.values()) == 11
    settings.DATABASE_POOL_MAX = most
    messages = found()
    assert ("config.E006" in messages) is named
    if named:
        assert "DATABASE_POOL_MAX" in messages["config.E006"].msg


@pytest.mark.parametrize("vendor", ["mysql", "oracle"])
def test_database_that_cannot_hold_the_log(
    monkeypatch: pytest.MonkeyPatch, vendor: str
) -> None:
    monkeypatch.setattr(connection, "vendor", vendor)
    monkeypatch.setattr(connection, "display_name", vendor.title())
    assert vendor.title() in found()["sse.E001"].msg


def test_sqlite_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    assert "3.35" in found()["sse.E001"].msg


def test_layers_among_which_the_default_is_not(settings: Settings) -> None:
    layer = settings.CHANNEL_LAYERS["default"]
    settings.CHANNEL_LAYERS = {"sockets": layer}
    assert "'sockets'" in (found()["sse.W002"].hint or "")
    settings.SSE_CHANNEL_LAYER = "sockets"
    assert found() == {}
    settings.CHANNEL_LAYERS = {"sockets": {"BACKEND": "nowhere.Layer"}}
    assert "cannot be imported" in found()["sse.E002"].msg
    settings.CHANNEL_LAYERS = {"sockets": {}}
    assert "names no BACKEND" in found()["sse.E002"].msg


def test_setting_with_a_slip_is_told_its_name(settings: Settings) -> None:
    settings.SSE_RETENTION_HOUR = 3
    assert found()["sse.W003"].hint == "Did you mean SSE_RETENTION_HOURS?"
    del settings.SSE_RETENTION_HOUR
    settings.SSE_QQ = 1
    assert "SSE_CHANNEL_LAYER" in (found()["sse.W003"].hint or "")


def test_threads_of_a_purpose_are_one_or_more(settings: Settings) -> None:
    settings.SSE_DATABASE_THREADS = {**settings.SSE_DATABASE_THREADS, "log": 0}
    assert set(found()) == {"sse.E003"}


def test_command_line_says_all_that_is_wrong_at_once(database: Database) -> None:
    """As the person who wrote the .env file meets it."""
    with pytest.raises(CommandFailed) as failed:
        database.manage("check", SERVICE="both", OPENING_HOURS="sometimes", AI_BACKEND="x.Y")
    output = str(failed.value)
    for check in ("config.E001", "config.E002", "config.E003", "HINT"):
        assert check in output


@pytest.mark.parametrize("name", ["SSE_HEARTBEAT_SECONDS", "OPENAI_MAX_TOKENS"])
def test_number_that_is_none_is_named_too(database: Database, name: str) -> None:
    with pytest.raises(CommandFailed, match=f"{name} is set to what it cannot be"):
        database.manage("check", **{name: "soon"})


def test_switch_that_is_neither_on_nor_off_is_named(database: Database) -> None:
    with pytest.raises(CommandFailed, match="DEBUG is set to what it cannot be: 'maybe'"):
        database.manage("check", DEBUG="maybe")


@pytest.mark.parametrize("text", ["true", "On", "YES", "1", " true "])
def test_switch_is_on(text: str) -> None:
    assert Environment.parse_value(text, bool) is True


@pytest.mark.parametrize("text", ["false", "Off", "NO", "0", ""])
def test_switch_is_off(text: str) -> None:
    assert Environment.parse_value(text, bool) is False


def test_sqlite_waits_for_a_writer_also_without_a_bound_of_ours() -> None:
    program = "from config import settings as s; print(s.DATABASES['default']['OPTIONS'])"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": "sqlite://:memory:", "DATABASE_LOCK_SECONDS": "0"},
        capture_output=True,
        check=True,
    )
    assert literal_eval(ran.stdout.decode())["timeout"] > 0
