"""The tests' settings with a time of a day shortened to seconds."""

from tests.settings import *  # noqa: F403
from tests.settings import CHANNEL_LAYERS

# How long the in-memory layer keeps a member of a group.
CHANNEL_LAYERS["default"]["CONFIG"]["group_expiry"] = 2
