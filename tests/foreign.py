"""Projects that have nothing of ours but the app `sse`, made of a few files each."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.harness.environment import ROOT, setting_names

SETTINGS = """
SECRET_KEY = "a-key-for-one-test-of-fifty-characters-and-some-more"
INSTALLED_APPS = ["sse"]
ROOT_URLCONF = "project.urls"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}}}
"""
# What the program calls `found` is what `run` returns.
PROGRAM = """
import io, json, sys
import django
django.setup()
from django.core.checks import run_checks
from django.core.management import call_command
{body}
print(json.dumps(found, default=str))
"""


class ForeignProject:
    def __init__(self, directory: Path, settings: str = "", **files: str) -> None:
        """`settings`: after the usual ones. `files`: modules of the package `project`."""
        self.directory = directory
        package = directory / "project"
        package.mkdir()
        usual = SETTINGS.format(name=str(directory / "db.sqlite3"))
        modules = {
            "__init__": "",
            "settings": usual + dedent(settings),
            "urls": "urlpatterns = []",
            **files,
        }
        for name, text in modules.items():
            (package / f"{name}.py").write_text(dedent(text), encoding="utf-8")

    def run(self, body: str) -> Any:
        """`found` of a program with these lines, which has called django.setup()."""
        kept = {k: v for k, v in os.environ.items() if k not in setting_names()}
        env = {
            **kept,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "PYTHONPATH": f"{self.directory}:{ROOT}",
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM.format(body=dedent(body))],
            cwd=self.directory,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr, done.stderr
        return json.loads(done.stdout.splitlines()[-1])
