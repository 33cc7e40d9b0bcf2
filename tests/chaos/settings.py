"""The project's settings with times of hours shortened to seconds."""

from config.settings import *  # noqa: F403
from config.settings import CHANNEL_LAYERS

# How long the in-memory layer keeps a member of a group: a day by default.
GROUP_EXPIRY_SECONDS = 2

CHANNEL_LAYERS["default"]["CONFIG"]["group_expiry"] = GROUP_EXPIRY_SECONDS
