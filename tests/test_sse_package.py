"""What `pip install .` installs: the app `sse`, and nothing else of this repository."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.harness.environment import ROOT
from tests.published.wheel import Wheel

pytestmark = pytest.mark.database_independent

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Of the app's folder, what only its authors need.
LEFT_OUT = re.compile(r"(^|/)__pycache__/|\.pyc$")


def test_the_wheel_holds_the_whole_app_and_nothing_else(sse_wheel: Wheel) -> None:
    files = (path for path in (ROOT / "sse").rglob("*") if path.is_file())
    names = {str(Path("sse", path.relative_to(ROOT / "sse"))) for path in files}

    assert sse_wheel.names == {name for name in names if not LEFT_OUT.search(name)}
    assert {"sse/py.typed", "sse/migrations/0001_initial.py"} <= sse_wheel.names
    assert "sse/locale/zh_Hans/LC_MESSAGES/django.mo" in sse_wheel.names


def test_the_package_needs_django_and_channels_alone(sse_wheel: Wheel) -> None:
    needed = sse_wheel.metadata.get_all("Requires-Dist", [])
    always = {each for each in needed if "extra ==" not in each}

    assert {re.split(r"[<>=;\[ ]", each)[0] for each in always} == {"Django", "channels"}
    assert sse_wheel.metadata.get_all("Provides-Extra") == ["redis", "metrics"]


def test_the_package_has_the_version_of_the_repository(sse_wheel: Wheel) -> None:
    assert sse_wheel.metadata["Name"] == PROJECT["name"] == "django-durable-sse"
    assert sse_wheel.metadata["Version"] == PROJECT["version"]
