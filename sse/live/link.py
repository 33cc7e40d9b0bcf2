"""This process's link to the Channels layer: what it sends and hears, and whether that works.

A layer that takes messages may still be deaf, so only what comes back proves it: the link hears
itself in every group, by what it sends or by a probe.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from django.db import Error

from sse.live.layers import Layer
from sse.live.membership import Membership
from sse.live.outage import Outage
from sse.live.outbox import Outgoing
from sse.live.peers import Peers
from sse.process.duties import brief
from sse.process.registry import Peer
from sse.process.supervisor import Pulse

logger = logging.getLogger("sse.live.link")

# A publication that takes longer is given up, and the layer held to be away.
PUBLISH_SECONDS = 1.0
JOIN_SECONDS = 2.0
# How long the layer may be silent before it is asked for a sign of life, and may owe it.
PROBE_EVERY_SECONDS = 1.0
DEAF_AFTER_SECONDS = 3.0
# A loop that was busy or stood still for so long has not been listening. It has to have turned.
SILENT_TURNS = 10
RETRY_SECONDS = 0.5
TURN_SECONDS = 0.1


class Link:
    """Used on the hub's loop; its state is read by any thread."""

    def __init__(
        self,
        layer: Layer,
        name: str,
        outage: Outage,
        *,
        deliver: Callable[[Outgoing], None],
        catch_up: Callable[[], Awaitable[None]],
        check_soon: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """`name` is this process's. `deliver` is called with each event that comes, `catch_up`
        when some may have passed by, `check_soon` when another process may have missed what
        this one has, and `changed` when the others have to be told how the link is."""
        self.layer = layer
        self.outage = outage
        # Whether somebody keeps it joined; else it only publishes.
        self.kept = False
        # Whether the layer brings this process its own messages; in memory until it does not.
        self.healthy = not layer.shared
        self.peers = Peers(layer.groups)
        self._name = name
        self._deliver = deliver
        self._catch_up = catch_up
        self._check_soon = check_soon
        self._changed = changed
        self._apart: frozenset[str] = frozenset()
        self._company_said = False
        self._membership = Membership(
            layer.channels, layer.groups, heard=self._heard, failed=self._receiving_failed
        )
        # When this process last heard itself in each group.
        self._heard_at = dict.fromkeys(layer.groups, 0.0)
        self._probed_at = 0.0
        # For how many turns of the probing loop the most silent group has been silent.
        self._silent_turns = 0
        # Those that proved to work, and that nothing has been said against since.
        self._proven: set[str] = set()
        self._echo = asyncio.Event()

    # --- how it is ----------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """`memory`, `redis`, `layer`, or `degraded`: the log carries the events."""
        return self.layer.mode if self.sound else "degraded"

    @property
    def sound(self) -> bool:
        return self.healthy and not self._apart

    @property
    def listens(self) -> bool:
        """Whether others can be heard through it."""
        return self.layer.shared and self.healthy

    @property
    def unheard(self) -> bool:
        """Whether others learn of this process's events by the log alone."""
        return not (self.layer.shared and self.sound)

    @property
    def suffices(self) -> bool:
        """Whether it brings all that is sent anywhere, so that the log need not be tailed."""
        return self.layer.shared and self.sound and not self.peers.unheard

    @property
    def reason(self) -> str | None:
        """Why it does not reach everybody."""
        if self.outage.since is not None:
            if self.healthy and self._apart:
                return f"{len(self._apart)} other processes are not heard through it"
            return self.outage.why
        if not self.layer.shared and self.peers.living:
            others = len(self.peers.living)
            return f"it does not reach {others} other processes: the log carries events to them"
        return None

    # --- sending ------------------------------------------------------------------------

    async def ring(self, batch: list[Outgoing]) -> bool:
        """Give a batch to the layer; False if it is away, and the log must do."""
        if not self.healthy and (self.kept or not self._may_retry()):
            return False
        shares: dict[str, list[list[Any]]] = {}
        for event in batch:
            shares.setdefault(self._group_of(event.target), []).append(event.as_list())
        for group, events in shares.items():
            if not await self._send(group, "sse.events", events=events):
                return False
        return True

    def _group_of(self, target: str) -> str:
        groups = self.layer.groups
        if len(groups) == 1:
            return groups[0]
        return groups[zlib.crc32(target.encode()) % len(groups)]

    def _may_retry(self) -> bool:
        """Where nobody watches the layer."""
        now = time.monotonic()
        if now - self._probed_at < PROBE_EVERY_SECONDS:
            return False
        self._probed_at = now
        return True

    async def _send(self, group: str, kind: str, **content: Any) -> bool:
        message = {"type": kind, "hub": self._name, "group": group, **content}
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that meets the result.
            # In memory it is not the layer that one would wait for, but a busy loop.
            async with asyncio.timeout(PUBLISH_SECONDS if self.layer.shared else None):
                await self.layer.channels.group_send(group, message)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            self._degrade(f"publishing failed: {brief(error)}", group)
            return False
        if not self.healthy and not self.kept:
            self._recover()
        return True

    # --- receiving ----------------------------------------------------------------------

    def _heard(self, message: dict[str, Any]) -> None:
        own = message["hub"] == self._name
        now = time.monotonic()
        if own:
            self._heard_at[message["group"]] = now
            self.outage.none_yet()
        else:
            self.peers.hear(message["hub"], message["group"], now)
        if message["type"] == "sse.events":
            for fields in message["events"]:
                self._deliver(Outgoing(*fields))
        elif message["type"] == "sse.probe" and own:
            self._proven.add(message["group"])
            if len(self._proven) == len(self.layer.groups):
                self._echo.set()
        elif message["type"] == "sse.check" and not own:
            self._check_soon()

    def _receiving_failed(self, error: BaseException) -> None:
        self._degrade(f"receiving failed: {brief(error)}", *self.layer.groups)

    # --- joining, and watching over it --------------------------------------------------

    async def keep_joined(self, pulse: Pulse) -> None:
        """Join the layer, and join it again whenever it is found away or deaf."""
        joined = False
        while True:
            pulse()
            if self.healthy and joined:
                await self._probe(time.monotonic())
                await asyncio.sleep(TURN_SECONDS)
            else:
                await self._try_join()
                joined = True
                if not self.healthy:
                    await asyncio.sleep(RETRY_SECONDS)

    async def leave(self) -> None:
        """Let the layer forget this process, if it is there; PUBLISH_SECONDS at the most."""
        if not (self.kept and self.healthy):
            return
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._membership.leave()
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            logger.info("could not leave the layer: %s", brief(error))

    def stop(self) -> list[asyncio.Task[None]]:
        """What is to be cancelled and waited for at the end."""
        return self._membership.stop()

    async def _probe(self, now: float) -> None:
        silence = now - min(self._heard_at.values())
        self._silent_turns = 0 if silence < PROBE_EVERY_SECONDS else self._silent_turns + 1
        if self._membership.expires:
            await self._stay()
        if silence > DEAF_AFTER_SECONDS and self._silent_turns > SILENT_TURNS:
            deaf = (g for g, at in self._heard_at.items() if now - at > PROBE_EVERY_SECONDS)
            self._degrade("it does not bring back what is sent to it", *deaf)
        elif silence > PROBE_EVERY_SECONDS and now - self._probed_at > PROBE_EVERY_SECONDS:
            self._probed_at = now
            for group, heard_at in self._heard_at.items():
                if now - heard_at > PROBE_EVERY_SECONDS:
                    await self._send(group, "sse.probe")

    async def _stay(self) -> None:
        """Renew a membership that the layer would forget after a time."""
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await self._membership.renew()
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            self._degrade(f"joining failed: {brief(error)}", *self.layer.groups)

    async def _try_join(self) -> None:
        """Join the layer afresh and wait for an echo, which alone proves that it works."""
        suspects = set(self.layer.groups) - self._proven
        self._proven.clear()
        self._echo.clear()
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await self._membership.join(suspects, self._probe_of)
            # The layer's client may have swallowed the timeout that was around that.
            async with asyncio.timeout(JOIN_SECONDS):
                await self._echo.wait()
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            self._degrade(f"joining failed: {brief(error)}")
            return
        self._recover()
        self._changed()
        if not self._apart:
            await self._return()

    def _probe_of(self, group: str) -> dict[str, Any]:
        return {"type": "sse.probe", "hub": self._name, "group": group}

    def _degrade(self, why: str, *suspects: str) -> None:
        """The layer is away. `suspects`: the groups that showed it."""
        self.healthy = False
        self._proven.difference_update(suspects)
        self.outage.begin(why)

    def _recover(self) -> None:
        self.healthy = True
        self._probed_at = time.monotonic()
        self._heard_at = dict.fromkeys(self.layer.groups, self._probed_at)
        if not self.kept:
            self.outage.end()

    async def _return(self) -> None:
        """What came before the layer was back may have passed this process by, and others."""
        try:
            await self._catch_up()
        except Error as error:
            # The next check of positions finds it.
            logger.warning("the event log cannot be read: %s", brief(error))
        self.outage.end()
        await self._send(self.layer.groups[0], "sse.check")

    # --- the others ---------------------------------------------------------------------

    async def meet(self, others: Iterable[Peer]) -> None:
        """Take note of what the database says of the other processes, and judge by what was
        heard of them whether the layer reaches them."""
        self.peers.look(others, time.monotonic(), listening=self.listens)
        if not self.layer.shared and self.peers.living:
            self._say_that_there_is_company()
        before, self._apart = self._apart, self.peers.apart
        if self._apart == before:
            return
        self._changed()
        if self._apart and not before:
            # Each of them may be well with a Redis of its own.
            self.outage.begin("other processes are not heard through it")
        elif not self._apart and self.healthy:
            await self._return()

    def _say_that_there_is_company(self) -> None:
        if not self._company_said:
            self._company_said = True
            logger.warning(
                "%s reaches this process alone, and %d more are running: the log carries "
                "events between them, up to half a second late, and ephemeral ones not at all. "
                "A shared layer in CHANNEL_LAYERS would carry them",
                self.layer.name,
                len(self.peers.living),
            )
