"""How many streams may be open at once, as the project's settings say; 0 is without end."""

from __future__ import annotations

from sse.conf import conf
from sse.live.hub import Hub
from sse.streams import refusals


def check(hub: Hub, channel: str, address: str) -> None:
    """Raises Refused for a stream beyond what its first channel or its address may have."""
    of_channel = conf.SSE_MAX_STREAMS_PER_TARGET
    of_address = conf.SSE_MAX_STREAMS_PER_ADDRESS
    if of_channel and hub.census.of_target(channel) >= of_channel:
        raise refusals.too_many("of this channel", of_channel)
    if of_address and hub.census.from_address(address) >= of_address:
        raise refusals.too_many("from this address", of_address)
