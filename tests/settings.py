"""The project's settings, as the tests' processes run with them: passwords are hashed quickly,
and constants may be set for a process (tests/constants.py)."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

# The real hash takes a quarter of a second of computing, on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
INSTALLED_APPS = [*INSTALLED_APPS, "tests.constants.Constants"]
