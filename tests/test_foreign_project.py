"""`sse` in projects of others: what it needs, and what `manage.py check` says of it."""

import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from sse import checks
from tests.foreign import ForeignProject

pytestmark = pytest.mark.database_independent

ENTRY = """
from sse.asgi import get_asgi_application
application = get_asgi_application()
"""

PROBES = """
from django.urls import include, path
urlpatterns = [path("sse/", include("sse.urls"))]
"""


def test_nothing_but_the_app_and_other_habits(tmp_path: Path) -> None:
    """No accounts, no admin, no time zones, keys of another type, no entry."""
    project = ForeignProject(
        tmp_path,
        """
        DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
        USE_TZ = False
        TIME_ZONE = "Asia/Shanghai"
        """,
        urls=PROBES,
    )
    found = project.run(
        """
        # As where it is not installed.
        sys.modules["prometheus_client"] = None
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)
        call_command("migrate", verbosity=0)
        from datetime import datetime, timedelta
        import sse
        from sse.models import Event
        from sse.process import leases, registry
        before = sse.cursor("room")
        after = sse.send_event("room", "message", {"at": datetime.now()})
        opened = registry.Opened(
            "a", "hall", "", "", datetime.now(), "7", ("hall", "room")
        )
        registry.beat("one", False, False, 1, [opened], [])
        registry.forget_silent()
        here = sse.presence("room")
        sse.close_streams("somebody")
        held = leases.hold("duty", "one") and leases.counted_since("duty")
        call_command("prune_events", verbosity=0)
        kept = Event.objects.count()
        Event.objects.update(created_at=datetime.now() - timedelta(hours=71))
        call_command("prune_events", verbosity=0)
        from django.test import Client
        answers = [Client().get(f"/sse/{name}") for name in ("health", "livez", "metrics")]
        found = {
            "answers": [answer.status_code for answer in answers],
            "health": [answers[0].json()[name] for name in ("status", "database", "work")],
            "metrics": "prometheus_client" in answers[2].content.decode(),
            "checks": sorted(m.id for m in run_checks()),
            "cursors": [before.rpartition("-")[2], after.rpartition("-")[2]],
            "users": [reader["user_id"] for reader in here],
            "recent": abs(datetime.now() - here[0]["since"]) < timedelta(seconds=30),
            "lease": abs(datetime.now() - held) < timedelta(seconds=30),
            "kept": [kept, Event.objects.count()],
        }
        """
    )
    assert found == {
        "answers": [200, 200, 501],
        "health": ["ok", "ok", []],
        "metrics": True,
        "checks": ["sse.W001", "sse.W004"],
        "cursors": ["0", "1"],
        "users": ["7"],
        "recent": True,
        "lease": True,
        "kept": [2, 2],
    }


PEOPLE = """
import uuid
from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class Guest(Person):
    class Meta:
        proxy = True


class Clerk(Person):
    desk = models.TextField(default="")
"""


def test_with_all_of_djangos_apps_and_a_user_model_of_its_own(tmp_path: Path) -> None:
    """The project of Django's template, as the documents change it: nothing is said of it."""
    project = ForeignProject(
        tmp_path,
        """
        INSTALLED_APPS = [
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "sse",
            "project",
        ]
        MIDDLEWARE = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ]
        TEMPLATES = [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ],
                },
            },
        ]
        AUTH_USER_MODEL = "project.Person"
        MIGRATION_MODULES = {"project": None}
        DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
        DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
        """,
        models=PEOPLE,
        asgi=ENTRY,
        urls="""
        from django.contrib import admin
        from django.urls import include, path
        from sse import stream
        urlpatterns = [
            path("admin/", admin.site.urls),
            path("events/", stream("room")),
            path("sse/", include("sse.urls")),
        ]
        """,
    )
    found = project.run(
        """
        call_command("makemigrations", "sse", check=True, dry_run=True, verbosity=0)
        call_command("migrate", run_syncdb=True, verbosity=0)
        from django.contrib.auth import get_user_model
        from django.db import transaction
        from django.test import Client
        from django.utils import timezone
        from project.models import Clerk, Guest, Person
        import sse
        from sse.models import Event, OpenStream
        from sse.process import registry

        one = Person.objects.create_superuser("one", password="x")
        now = timezone.now()
        opened = registry.Opened("a", "hall", "", "", now, str(one.pk), ("hall", "room"))
        registry.beat("this", False, False, 1, [opened], [])
        here = sse.presence("room")

        guest, clerk = Guest.objects.create(username="g"), Clerk.objects.create(username="c")
        names = {str(p.pk): p.username for p in (one, guest, clerk)}
        guest.is_active = clerk.is_active = False
        guest.save(); clerk.save()
        Guest.objects.filter(username="g").delete()
        clerk.delete()
        ended = []
        for event in Event.objects.order_by("pk"):
            ended.append(names[json.loads(event.data)["payload"]["subject"].split(":")[2]])

        client = Client(headers={"host": "localhost"})
        client.force_login(one)
        shown = []
        for address in ("?q=room", "?q=cellar", f"{OpenStream.objects.get().pk}/change/"):
            page = client.get(f"/admin/sse/openstream/{address}").content.decode()
            shown.append(str(one.pk) in page and "hall, room" in page)
        numbers = client.get("/sse/metrics").content.decode()
        found = {
            "metrics": "sse_open_streams" in numbers,
            "checks": [str(m) for m in run_checks()],
            "here": [reader["user_id"] == one.pk for reader in here],
            "ended": ended,
            "shown": shown,
        }
        """
    )
    assert found == {
        "metrics": True,
        "checks": [],
        "here": [True],
        "ended": ["g", "c", "g", "c"],
        "shown": [True, False, True],
    }


def test_a_project_without_a_database_is_told(tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, "DATABASES = {}", asgi=ENTRY)
    said = project.run("found = [[m.id, m.msg, m.hint] for m in run_checks()]")
    assert [each[0] for each in said] == ["sse.E001"]
    assert "PostgreSQL" in said[0][1]


# --- the entry, as it is told from the text of a module ------------------------------------


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (ENTRY, False),
        ("import sse.asgi\napplication = sse.asgi.get_asgi_application()", False),
        ("from sse import asgi\napplication = asgi.get_asgi_application()", False),
        ("from django.core.asgi import get_asgi_application", True),
        ("import django.core.asgi\nfrom sse import stream", True),
        ("from elsewhere import application", False),
        ("raise RuntimeError('imported')\nimport django.core.asgi", True),
        (None, False),
    ],
)
@pytest.mark.parametrize("package", ["flat", "deep.er"])
def test_an_entry_without_streams_is_warned_of_where_it_can_be_told(
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    warned: bool,
    package: str,
) -> None:
    folder = tmp_path.joinpath(*package.split("."))
    folder.mkdir(parents=True)
    # Nothing is imported on the way, either.
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    if text is not None:
        (folder / "asgi.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    settings.ASGI_APPLICATION = f"{package}.asgi.application"

    assert ("sse.W004" in [m.id for m in run_checks()]) is warned
    assert package not in sys.modules


def test_an_entry_of_another_name_is_not_the_one(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "single.py").write_text("")
    (tmp_path / "asgi.py").write_text("import django.core.asgi")
    monkeypatch.syspath_prepend(tmp_path)
    settings.ASGI_APPLICATION = "single.asgi.application"
    assert checks.entry() == []
    settings.ASGI_APPLICATION = "asgi.application"
    assert [message.id for message in checks.entry()] == ["sse.W004"]


@pytest.mark.parametrize("root", ["config.urls", "nowhere.urls", "urls"])
def test_without_a_setting_the_entry_is_where_djangos_template_puts_it(
    settings: Settings, root: str
) -> None:
    settings.ROOT_URLCONF = root
    del settings.ASGI_APPLICATION
    said = checks.entry()
    assert [message.id for message in said] == ([] if root == "config.urls" else ["sse.W004"])


def test_streams_below_languages_are_warned_of(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.test_foreign_project"
    assert [m.msg for m in run_checks() if m.id == "sse.W005"] == [
        "The stream at 'en/rooms/<slug:room>/' stands below i18n_patterns, where it is not "
        "found."
    ]


def __getattr__(name: str) -> list[object]:
    """As a URLconf."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.conf.urls.i18n import i18n_patterns
    from django.urls import include, path

    from sse import stream

    return [
        path("events/", stream("room")),
        *i18n_patterns(
            path("rooms/", include([path("<slug:room>/", stream("room"))])),
            path("about/", include([])),
        ),
    ]
