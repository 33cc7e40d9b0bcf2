"""The entry of a project that has nothing else, under real servers."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.environment import ROOT, setting_names
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess
from tests.harness.streams import EventStream, StreamRefused
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.database_independent

FILES = {
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "settings.py": """
from pathlib import Path
SECRET_KEY = "of a test, and long enough to be taken for one of a project"
DEBUG = True
INSTALLED_APPS = ["daphne", "sse"]
ROOT_URLCONF = "urls"
ASGI_APPLICATION = "entry.application"
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": Path(__file__).parent / "db.sqlite3",
    "OPTIONS": {"transaction_mode": "IMMEDIATE"},
}}
""",
    "entry.py": """
import os
from sse.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = get_asgi_application()
""",
    # It refuses lifespan.
    "routed.py": """
import os
from channels.routing import ProtocolTypeRouter
from sse.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

def stopping():
    print("told to stop", flush=True)

application = ProtocolTypeRouter({"http": get_asgi_application(at_stop=[stopping])})
""",
    "urls.py": """
from django.http import HttpResponse
from django.urls import path
from sse import send_event, stream

def send(request):
    send_event("news", "said", {"text": request.GET["text"]})
    return HttpResponse()

urlpatterns = [path("news/", stream("news", named=False)), path("send/", send)]
""",
}


class Project:
    """Its one server at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        kept = {name: text for name, text in os.environ.items() if name not in setting_names()}
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        path = os.pathsep.join([str(directory), str(ROOT)])
        self.env = kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        for name, text in FILES.items():
            (directory / name).write_text(text)

    def start(self, *argv: str) -> ManagedProcess:
        command = [each.format(port=self.port) for each in (sys.executable, *argv)]
        log = self.directory / "server.log"
        server = ManagedProcess(
            command, log=log, env=self.env, cwd=self.directory, forked=False
        )
        server.start()
        return server

    def until_served(self) -> EventStream:
        def opened() -> EventStream | None:
            try:
                return EventStream(f"http://127.0.0.1:{self.port}/news/")
            except (httpx.TransportError, StreamRefused):
                return None

        return wait_until(opened, what="the project's stream to open")

    def say(self, text: str) -> None:
        url = f"http://127.0.0.1:{self.port}/send/"
        answer = httpx.get(url, params={"text": text}, trust_env=False, verify=NO_TLS)
        assert answer.status_code == 200


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("project"))
    migrating = made.start("manage.py", "migrate", "-v0")
    assert migrating.wait(60) == 0, migrating.log_text()
    return made


@pytest.fixture
def runserver(project: Project) -> Iterator[ManagedProcess]:
    server = project.start("manage.py", "runserver", "127.0.0.1:{port}")
    yield server
    server.terminate()


def test_within_a_router_the_streams_are_told_when_the_server_stops(project: Project) -> None:
    server = project.start(
        "-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "routed:application"
    )
    try:
        with project.until_served() as stream:
            stream.wait_for("connected")
            project.say("hello")
            assert stream.wait_for("said").payload == {"text": "hello"}
            server.send_signal(signal.SIGTERM)
            stream.wait_for("goodbye")
            assert stream.wait_ended() == ""
            server.wait(10)
    finally:
        server.terminate()
    assert server.log_text().count("told to stop") == 1
    assert "Traceback" not in server.log_text()


def test_runserver_goes_on_with_what_was_changed(
    project: Project, runserver: ManagedProcess
) -> None:
    with project.until_served() as stream:
        stream.wait_for("connected")
        project.say("before")
        stream.wait_for("said")
        urls = project.directory / "urls.py"
        urls.write_text(urls.read_text().replace('"said"', '"told"'))

        def noticed() -> bool:
            # Its first look at the file may be yet to come.
            urls.touch()
            return stream.ended is not None

        wait_until(noticed, what="the change to be noticed")
        before = len(stream.received)
        project.until_served().close()
        stream.reconnect()
        project.say("after")
        assert stream.wait_for("told", after=before).payload == {"text": "after"}
        assert not stream.events("reset")
