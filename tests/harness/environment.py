"""The environment that tests run in. As a pytest plugin it sets it before settings load."""

import ast
import os
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = ROOT / "config" / "settings.py"
SECRET_KEY = "tests-only-secret-key-that-never-leaves-this-machine-0123456789"

# What a test process and the services it starts have in common.
_BASE = {
    "DJANGO_SETTINGS_MODULE": "tests.settings",
    "ENV_FILE": os.devnull,
    "SECRET_KEY": SECRET_KEY,
    "USE_REDIS_SSE": "false",
    "RATE_LIMITS": "off",
    "DEMO": "true",
}


@cache
def setting_names() -> frozenset[str]:
    """Every name that config/settings.py reads from the environment."""
    return frozenset(
        node.args[0].value
        for node in ast.walk(ast.parse(SETTINGS.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "env")
            or (
                isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "env"
            )
        )
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )


def environment(**overrides: str) -> dict[str, str]:
    """os.environ without the developer's own settings, plus `overrides`."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in setting_names()
    }
    return inherited | _BASE | overrides


def use_test_environment() -> None:
    """Only DATABASE_URL is left to the caller: it chooses the database of a test run."""
    kept = {name: os.environ[name] for name in ("DATABASE_URL",) if name in os.environ}
    wanted = environment(**kept)
    os.environ.clear()
    os.environ.update(wanted)


# Importing this module elsewhere (the benchmarks, `python -m tests`) must change nothing.
if "pytest" in sys.modules:
    use_test_environment()
