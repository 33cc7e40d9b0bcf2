"""What a process says of itself in its log when it starts."""

import re
import tomllib
from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from tests.harness.environment import ROOT
from tests.harness.ports import free_port
from tests.harness.redis import RedisServer
from tests.harness.services import Server, Service, Services

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SERVERS: list[Server] = ["daphne", "uvicorn"]
PASSWORD = "not-to-be-logged"


def introduction(service: Service) -> str:
    """The one line in which it says what it is."""
    service.wait_for_log(r"; events: ")
    (line,) = re.findall(r"^.*; events: .*$", service.log_text(), re.MULTILINE)
    return str(line)


@pytest.mark.parametrize("server", SERVERS)
def test_log_says_once_in_which_mode_a_process_runs(
    services: Services, redis_server: RedisServer, tmp_path: Path, server: Server
) -> None:
    file = tmp_path / "env"
    file.write_text(
        "# OPENAI_MODLE=commented\nexport OPENAI_MODLE=x\nREDIS_URLS=y\nPORT=1\nno equals\n"
    )
    openai = {
        "AI_BACKEND": "openai",
        "OPENAI_BASE_URL": f"http://user:{PASSWORD}@10.9.8.7:1234/v1",
        "OPENAI_API_KEY": PASSWORD,
        "OPENAI_MODEL": "a-model",
    }
    memory = services.start(server=server, ENV_FILE=str(file))
    shared = services.start("ai_chatbot", redis=redis_server, server=server, **openai)
    port = free_port()
    absent = services.start(
        "agent_workbench", redis=f"redis://:{PASSWORD}@127.0.0.1:{port}/3", server=server
    )
    database = services.database.url.rpartition("/")[2]

    said = introduction(memory)
    assert f"all {VERSION}; " in said
    assert said.endswith("AI: offline; events: memory")
    memory.wait_for_log(
        rf"WARNING .*{file} has what no setting reads: "
        r"OPENAI_MODLE \(OPENAI_MODEL\?\), REDIS_URLS \(REDIS_URL\?\)\n"
    )
    memory.wait_for_log(rf"WARNING config\.startup {file}, line 5: not read")
    assert "no equals" not in memory.log_text()

    said = introduction(shared)
    assert f"ai_chatbot {VERSION}; " in said
    assert "AI: openai a-model at 10.9.8.7:1234; " in said
    assert said.endswith(f"events: redis 127.0.0.1:{redis_server.port}/0, connected")

    said = introduction(absent)
    assert f"agent_workbench {VERSION}; " in said
    assert f"events: degraded, by the database, since redis 127.0.0.1:{port}/3 is away" in said
    assert "Connect" in said
    for service in services.started:
        assert f"database: {services.database.vendor} " in introduction(service)
        assert database in introduction(service)
        assert PASSWORD not in service.log_text()


def test_names_that_no_setting_reads_are_found_by_check(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    settings.ENV_FILE = str(file)
    assert run_checks() == []
    file.write_text(
        "SECRET_KEY=x\nPORT=9000\nPGPASSFILE=x\nAGENT_PASSWORD=x\nDATABSE_URL=secret\n"
    )
    (warning,) = run_checks()
    assert warning.id == "config.W002"
    assert "DATABSE_URL (DATABASE_URL?)" in warning.msg
    assert "secret" not in warning.msg


def test_lines_that_are_no_setting_are_found_too(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "env"
    settings.ENV_FILE = str(file)
    file.write_text("PORT=9000\n\n  # note\nthe secret\nexport VENV=a b\nSECRET_KEY = x\n")
    found = run_checks()
    assert [warning.id for warning in found] == ["config.W003"] * 2
    assert [warning.msg.split(":")[0] for warning in found] == [
        f"{file}, line 4",
        f"{file}, line 6",
    ]
    assert "secret" not in found[0].msg
