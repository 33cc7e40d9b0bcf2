"""Customers and agents of the simulated day, and what they said when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.day.clock import HOUR, MINUTE, Clock
from tests.day.wire import Caller, Json, Refused, Stream

HANDLING_MINUTES = 8.0
PATIENCE_MINUTES = 25.0


@dataclass(frozen=True)
class Said:
    """An agent's word on how they are; `at` is when it was known to have been heard, or when
    something else was about to be said."""

    agent: str
    status: str
    at: float


@dataclass
class Visit:
    """What a customer has seen. Times are Unix seconds."""

    session: str
    asked_at: float | None = None
    told: tuple[int, int] | None = None
    served_at: float | None = None
    # Told in between that nobody is here: what was told first no longer held.
    by_email: bool = False
    left: str = ""


@dataclass
class World:
    clock: Clock
    chatbot: str
    workbench: str
    http: httpx.AsyncClient
    by_hand: bool
    # Of the day, when nobody comes any more.
    ends: float
    said: list[Said] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    async def careful(self, who: str, life: Coroutine[Any, Any, None]) -> None:
        """One whose life ends in an error is a trouble of the day, and stops no other."""
        try:
            await life
        except Exception as error:  # noqa: BLE001 - it is reported, and makes the day fail
            self.troubles.append(f"{who}: {type(error).__name__}: {error}")


# --- Customers --------------------------------------------------------------------------


class Customer:
    def __init__(self, world: World, name: str, chance: random.Random) -> None:
        self.world, self.chance, self.name = world, chance, name
        self.status = "bot_active"
        self.said = 0
        self.wrote_contact = False
        self.patience = float("inf")
        if chance.random() < 0.4:
            self.patience = chance.expovariate(1 / (PATIENCE_MINUTES * MINUTE))

    async def live(self) -> None:
        world, chance = self.world, self.chance
        self.api = Caller(world.http, world.chatbot)
        created = await self.api.call("POST", "/sessions", {"nickname": self.name})
        self.api.token = created["token"]
        self.at = f"/sessions/{created['session_name']}"
        self.visit = Visit(created["session_name"])
        world.visits.append(self.visit)
        self.stream = Stream(self.api, f"{self.at}/events", created["cursor"])
        try:
            if chance.random() < 0.3:
                await self._say("How long does delivery take?")
                await world.clock.sleep(chance.uniform(30, 90))
                if chance.random() < 0.4:
                    await self._close("with the AI")
                    return
            await self._ask_for_a_person()
            await self._wait_and_talk()
        finally:
            await self.stream.drop()

    async def _say(self, text: str) -> None:
        self.said += 1
        body = {"content": text, "client_id": f"{self.name} {self.said}"}
        with suppress(Refused):
            await self.api.call("POST", f"{self.at}/messages", body)

    async def _ask_for_a_person(self) -> None:
        with suppress(Refused):
            state = await self.api.call("POST", f"{self.at}/escalate", {})
            self.status = state["status"]
            self.visit.asked_at = time.time()
            queue = state["queue"]
            if queue and queue["estimated_wait_seconds"] is not None:
                self.visit.told = (
                    queue["estimated_wait_seconds"],
                    queue["estimated_wait_max_seconds"],
                )

    async def _wait_and_talk(self) -> None:
        clock = self.world.clock
        asked = clock.now()
        while self.status not in ("closed", "bot_active"):
            if self.status == "after_hours_email" and not await self._stay_by_email():
                return
            left = (
                asked + self.patience - clock.now() if self.status == "pending_manual" else None
            )
            if left is not None and left <= 0:
                if not await self._leave_the_line():
                    return
                continue
            bound = 60.0 if left is None else min(60.0, left / clock.speed)
            event = await self.stream.next(bound)
            if event is None:
                # Nothing for so long: what is shown is checked, as a page does after a reload.
                await self._read()
                if clock.now() > self.world.ends + 3 * HOUR:
                    raise TimeoutError(f"still {self.status}")
                continue
            await self._hear(event)
        if self.status == "bot_active":
            # Released, or away for too long: nothing more is wanted.
            await self._close(self.visit.left or "released")
        elif not self.visit.left:
            self.visit.left = "closed by the agent"

    async def _hear(self, event: Json) -> None:
        payload = event["payload"]
        if event["type"] == "status_change":
            self.status = payload["status"]
            self.visit.by_email |= self.status == "after_hours_email"
            if self.status == "manual_live" and self.visit.served_at is None:
                self.visit.served_at = time.time()
        elif event["type"] in ("reset", "connected"):
            await self._read()
        elif event["type"] == "message" and payload["role"] == "agent":
            await self._reply()

    async def _reply(self) -> None:
        if self.chance.random() < 0.8:
            await self.world.clock.sleep(self.chance.uniform(10, 40))
            await self._say("Thank you, and what about the lamp?")

    async def _read(self) -> None:
        self.status = (await self.api.call("GET", self.at))["status"]

    async def _leave_the_line(self) -> bool:
        """Whether the customer is back."""
        self.patience = float("inf")
        if self.chance.random() < 0.4:
            with suppress(Refused):
                await self.api.call("DELETE", f"{self.at}/escalate")
                self.visit.left = "left the line"
            await self._read()
            return True
        await self.stream.drop()
        if self.chance.random() < 0.75:
            self.visit.left = "closed the page"
            return False
        await self._come_back(after=self.chance.uniform(4, 12) * MINUTE)
        return True

    async def _come_back(self, after: float) -> None:
        await self.world.clock.sleep(after)
        state = await self.api.call("GET", self.at)
        self.status = state["status"]
        self.stream = Stream(self.api, f"{self.at}/events", state["cursor"])
        if self.status == "bot_active":
            # The watch puts back in line whoever is back in time.
            event = await self.stream.next(5.0)
            while event is not None and self.status == "bot_active":
                await self._hear(event)
                event = await self.stream.next(5.0)

    async def _stay_by_email(self) -> bool:
        """Whether the page stays open."""
        if self.wrote_contact:
            return True
        self.wrote_contact = True
        if self.chance.random() < 0.25:
            with suppress(Refused):
                await self.api.call("DELETE", f"{self.at}/escalate")
                self.visit.left = "back to the AI"
            await self._read()
            return True
        if self.chance.random() < 0.8:
            body = {"email": f"{self.name}@example.org", "note": "Please write."}
            with suppress(Refused):
                await self.api.call("POST", f"{self.at}/contact", body)
        if self.chance.random() < 0.5:
            return True
        self.visit.left = "by email"
        return False

    async def _close(self, how: str) -> None:
        self.visit.left = how
        await self.api.call("POST", f"{self.at}/close", {})


# --- Agents -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """At `at`, seconds of the day, the agent does `what`: online, break, offline, gone (the
    machine dies) or back."""

    at: float
    what: str


class Agent:
    def __init__(
        self, world: World, name: str, password: str, most: int, chance: random.Random
    ) -> None:
        self.world, self.name, self.password = world, name, password
        self.most, self.chance = most, chance
        self.status = "offline"
        self.stream: Stream | None = None
        self.talks: dict[str, asyncio.Task[None]] = {}
        self.said = 0

    async def begin(self) -> None:
        self.api = Caller(self.world.http, self.world.workbench)
        body = {"username": self.name, "password": self.password}
        login = await self.api.call("POST", "/agent/login", body)
        self.api.token = login["token"]
        await self._say_status("online")
        await self._listen()

    async def live(self, turns: list[Turn]) -> None:
        coming = sorted(turns, key=lambda turn: turn.at)
        clock = self.world.clock
        while True:
            if coming and clock.now() >= coming[0].at:
                await self._do(coming.pop(0).what)
                continue
            left = (coming[0].at - clock.now()) / clock.speed if coming else 1.0
            if self.stream is None:
                await asyncio.sleep(min(left, 1.0))
                continue
            event = await self.stream.next(min(left, 1.0))
            if event is not None:
                await self._hear(event)
            elif self.status == "online":
                await self._look()
            if self.world.by_hand and self.status == "online":
                await self._take_one()

    async def _do(self, what: str) -> None:
        if what == "gone":
            for task in self.talks.values():
                task.cancel()
            self.talks.clear()
            assert self.stream is not None
            await self.stream.drop()
            self.stream = None
            self._note("gone")
            self.status = "gone"
        elif what == "back":
            self._note("back")
            await self._listen()
            self.status = "online"
        else:
            await self._say_status(what)

    async def _say_status(self, status: str) -> None:
        if status == "online":
            # Before it may be heard.
            self._note(status)
        await self.api.call("PUT", "/agent/status", {"status": status})
        if status != "online":
            self._note(status)
        self.status = status

    def _note(self, status: str) -> None:
        self.world.said.append(Said(self.name, status, time.time()))

    async def _listen(self) -> None:
        self.stream = Stream(self.api, "/agent/events")
        await self._look()

    async def _look(self) -> None:
        page = await self.api.call(
            "GET", "/sessions", agent="mine", status="manual_live", limit="50"
        )
        for session in page["items"]:
            self._begin_talk(session["session_name"])

    async def _hear(self, event: Json) -> None:
        if event["type"] in ("connected", "reset"):
            await self._look()
        elif event["type"] == "session_assigned":
            self._begin_talk(event["payload"]["session"]["session_name"])

    async def _take_one(self) -> None:
        if sum(not task.done() for task in self.talks.values()) >= self.most:
            return
        page = await self.api.call("GET", "/sessions/queue")
        for session in page["items"][:1]:
            await self.world.clock.sleep(self.chance.expovariate(1 / 20))
            with suppress(Refused):
                name = session["session_name"]
                await self.api.call("POST", f"/sessions/{name}/takeover", {})
                self._begin_talk(name)

    def _begin_talk(self, session: str) -> None:
        known = self.talks.get(session)
        if known is None or known.done():
            talk = self.world.careful(self.name, self._talk(session))
            self.talks[session] = asyncio.create_task(talk)

    async def _talk(self, session: str) -> None:
        clock, chance = self.world.clock, self.chance
        mean = HANDLING_MINUTES * MINUTE
        until = clock.now() + min(4 * mean, chance.lognormvariate(0, 0.6) * mean * 0.83)
        await clock.sleep(chance.uniform(10, 40))
        try:
            while clock.now() < until:
                await self._answer(session)
                await clock.sleep(chance.uniform(40, 100))
            verb = "close" if chance.random() < 0.8 else "release"
            await self.api.call("POST", f"/sessions/{session}/{verb}", {})
        except Refused as refused:
            # Closed by the customer, or somebody else's by now.
            if refused.status not in (403, 404, 409):
                raise

    async def _answer(self, session: str) -> None:
        self.said += 1
        body = {"content": "Let me look.", "client_id": f"{self.name} {self.said}"}
        await self.api.call("POST", f"/sessions/{session}/messages", body)

    async def work_off_mail(self) -> int:
        """Answer those who wait by email, and close. How many there were."""
        page = await self.api.call("GET", "/sessions", status="after_hours_email", limit="100")
        for session in page["items"]:
            name = session["session_name"]
            with suppress(Refused):
                await self._answer(name)
                await self.api.call("POST", f"/sessions/{name}/close", {})
        return len(page["items"])
