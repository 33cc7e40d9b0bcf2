"""Leases, periods and bounds that a test shortens in the processes that it starts.

An application of tests/settings.py: once everything is loaded, it sets the module constants
named in TESTS_CONSTANTS, a JSON object such as {"ai_chatbot.turns.LEASE": 2}.
"""

import json
import os
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.apps import AppConfig

VARIABLE = "TESTS_CONSTANTS"


class Constants(AppConfig):
    name = "tests.constants"

    def ready(self) -> None:
        for path, value in json.loads(os.environ.get(VARIABLE, "{}")).items():
            set_constant(path, value)


def set_constant(path: str, value: float) -> None:
    """Of the type that it has; seconds for a timedelta. AttributeError where there is none."""
    module_name, _, name = path.rpartition(".")
    module = import_module(module_name)
    before: Any = getattr(module, name)
    new = timedelta(seconds=value) if isinstance(before, timedelta) else type(before)(value)
    setattr(module, name, new)
