"""`python manage.py test` runs the suite that `python -m tests` runs."""

import argparse
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from django.test.runner import DiscoverRunner

_SETTINGS = (None, "config.settings", "tests.settings")
# Options of Django's that change what a run shows, and that pytest has in another form.
_ELSEWHERE = {
    "debug_sql": "--debug-sql is not for this suite. In a test, use pytest-django's "
    "django_assert_num_queries or django_capture_queries: on failure it prints the queries.",
    "top_level": "--top-level-directory is not for this suite: pytest imports from the "
    "folders named by `pythonpath` in pyproject.toml.",
}


class PytestRunner:
    """Django's TEST_RUNNER, with the options of its own one. pytest is a process of its own,
    where settings are not loaded yet. Raises CommandError for what pytest cannot do."""

    def __init__(self, **options: Any) -> None:
        self.arguments = pytest_arguments(options)
        if options.get("keepdb"):
            sys.stdout.write(
                "--keepdb: nothing to keep; a run migrates one database and copies it\n"
            )

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        DiscoverRunner.add_arguments(parser)

    def run_tests(self, test_labels: list[str], **kwargs: Any) -> int:
        """0 when all passed. A label is a path, or a dotted name as Django takes it."""
        root = Path(settings.BASE_DIR)
        labels = [_path(label, root) for label in test_labels]
        command = [sys.executable, "-m", "tests", *self.arguments, *labels]
        sys.stdout.flush()
        return subprocess.run(command, cwd=root, check=False).returncode


def pytest_arguments(options: dict[str, Any]) -> list[str]:
    """What pytest calls these options of `manage.py test`. Left out are those that ask for what
    it does anyway: --noinput, and --buffer, since it shows output of failures alone."""
    for name, message in _ELSEWHERE.items():
        if options.get(name):
            raise CommandError(message)
    if options.get("settings") not in _SETTINGS:
        raise CommandError(
            "--settings is not for this suite: its processes run with tests/settings.py. "
            "For a run of your own: python -m pytest --ds=MODULE"
        )
    return [
        *_verbosity(options.get("verbosity", 1)),
        *_selection(options),
        *_order(options),
        *_execution(options),
    ]


def _verbosity(verbosity: int) -> list[str]:
    if verbosity < 1:
        return ["--quiet"]
    return ["-" + "v" * (verbosity - 1)] if verbosity > 1 else []


def _selection(options: dict[str, Any]) -> list[str]:
    arguments = []
    if patterns := options.get("test_name_patterns"):
        arguments += ["-k", " or ".join(map(_keyword, patterns))]
    marked = " or ".join(options.get("tags") or ())
    unmarked = [f"not {tag}" for tag in options.get("exclude_tags") or ()]
    if marked or unmarked:
        wanted = [f"({marked})"] if marked else []
        arguments += ["-m", " and ".join([*wanted, *unmarked])]
    if (pattern := options.get("pattern", "test*.py")) != "test*.py":
        arguments += ["-o", f"python_files={pattern}"]
    return arguments


def _keyword(pattern: str) -> str:
    """unittest finds a part of a name too; it takes stars, which pytest does not."""
    inner = pattern.strip("*")
    if "*" in inner:
        raise CommandError(
            f"-k {pattern}: pytest knows no stars. Parts of names are joined by and, or, not: "
            f"-k '{' and '.join(filter(None, inner.split('*')))}'"
        )
    return inner


def _order(options: dict[str, Any]) -> list[str]:
    arguments = ["--reverse"] if options.get("reverse") else []
    seed = options.get("shuffle", False)
    if seed is not False:
        # None: the option without a number.
        seed = random.randrange(10**9) if seed is None else seed
        arguments.append(f"--shuffle={seed}")
    return arguments


def _execution(options: dict[str, Any]) -> list[str]:
    flags = {
        "failfast": "--exitfirst",
        "pdb": "--pdb",
        "debug_mode": "--django-debug-mode=true",
        "timing": "--durations=30",
        "no_color": "--color=no",
        "force_color": "--color=yes",
    }
    arguments = [flag for name, flag in flags.items() if options.get(name)]
    if options.get("durations") is not None:
        arguments.append(f"--durations={options['durations']}")
    if not options.get("enable_faulthandler", True):
        arguments += ["-p", "no:faulthandler"]
    if (processes := options.get("parallel", 0)) and not options.get("pdb"):
        arguments += ["-n", str(processes if processes > 1 else 0)]
    return arguments


def _path(label: str, root: Path) -> str:
    """tests.test_chat.TestChat.test_x -> tests/test_chat.py::TestChat::test_x"""
    if "/" in label or "::" in label or (root / label).exists():
        return label
    parts = label.split(".")
    for end in range(len(parts), 0, -1):
        place = root.joinpath(*parts[:end])
        if place.is_dir() and end == len(parts):
            return str(place.relative_to(root))
        if place.with_suffix(".py").is_file():
            file = place.with_suffix(".py").relative_to(root)
            return "::".join([str(file), *parts[end:]])
    return label
