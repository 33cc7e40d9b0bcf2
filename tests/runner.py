"""`python manage.py test` runs the suite that `python -m tests` runs."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings


class PytestRunner:
    """Django's TEST_RUNNER. In a process of its own, where settings are not loaded yet."""

    def __init__(
        self, *, verbosity: int = 1, failfast: bool = False, keyword: str = "", **options: Any
    ) -> None:
        self.arguments: list[str] = []
        if verbosity > 1:
            self.arguments.append("-" + "v" * (verbosity - 1))
        elif verbosity < 1:
            self.arguments.append("--quiet")
        if failfast:
            self.arguments.append("--exitfirst")
        if keyword:
            self.arguments += ["-k", keyword]

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("-k", dest="keyword", default="", help="Only tests that match.")

    def run_tests(self, test_labels: list[str], **kwargs: Any) -> int:
        """0 when all passed. A label is a path, or a dotted name as Django takes it."""
        root = Path(settings.BASE_DIR)
        labels = [_path(label, root) for label in test_labels]
        command = [sys.executable, "-m", "tests", *self.arguments, *labels]
        return subprocess.run(command, cwd=root, check=False).returncode


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
