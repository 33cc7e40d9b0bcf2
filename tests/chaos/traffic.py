"""The load of a run: many streams, and messages at a steady rate, in one loop on a thread."""

import asyncio
import itertools
import random
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tests.chaos.readers import Reader, Tally, stop

T = TypeVar("T")

ATTEMPT_EVERY_SECONDS = 0.1
# A request that hangs for so long will not be answered any more.
REQUEST_SECONDS = 15.0
CALL_SECONDS = 120.0


@dataclass(frozen=True)
class Conversation:
    """A session that an agent has taken over: both sides may write."""

    name: str
    visitor_token: str
    agent_token: str
    cursor: str


class Traffic:
    """Methods are for the thread that made it; what they start runs on the loop's own."""

    def __init__(
        self,
        conversations: Sequence[Conversation],
        ports: Sequence[int],
        *,
        rate: float = 20.0,
        chance: random.Random,
    ) -> None:
        self.conversations = conversations
        self.ports = ports
        self.rate = rate
        self.chance = chance
        self.tally = Tally()
        self.readers: list[Reader] = []
        self.accepted: dict[str, set[str]] = {each.name: set() for each in conversations}
        self.retried = 0
        self._may_begin = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="chaos", daemon=True
        )
        self._reading: list[asyncio.Task[None]] = []
        self._cutting: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        background = (self._cutting, self._sending)
        self._call(stop([*self._reading, *(task for task in background if task)]))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    def read(self, path: str, token: str, conversations: Sequence[Conversation]) -> None:
        """Add a stream that is to bring the messages of these conversations."""
        after = conversations[0].cursor if len(conversations) == 1 else ""
        reader = Reader(
            path,
            token,
            [each.name for each in conversations],
            ports=self.ports,
            after=after,
            chance=random.Random(self.chance.random()),
            tally=self.tally,
        )
        self.readers.append(reader)

    def begin(self) -> None:
        """Open all streams; once they are connected, send until `finish_sending`."""
        self._call(self._begin())

    def open_without_waiting(self) -> None:
        """Open all streams, and send nothing."""
        self._call(self._open())

    def open_now(self) -> int:
        """How many streams are open at the moment, from the clients' side."""
        return sum(reader.is_open for reader in self.readers)

    async def _open(self) -> None:
        self._reading = [asyncio.create_task(reader.run()) for reader in self.readers]

    async def _begin(self) -> None:
        await self._open()
        for reader in self.readers:
            async with asyncio.timeout(60):
                await reader.connected.wait()
        self._sending = asyncio.create_task(self._send_steadily())

    def finish_sending(self) -> None:
        """Returns once every message that was begun has been accepted."""
        self._call(self._finish_sending())

    async def _finish_sending(self) -> None:
        self._may_begin = False
        if self._sending is not None:
            await self._sending
            self._sending = None

    def cut_streams(self, every: float) -> None:
        """From now on drop a stream's connection at random, on average once per `every`."""
        self._call(self._cut_streams(every))

    async def _cut_streams(self, every: float) -> None:
        self._cutting = asyncio.create_task(self._keep_cutting(every))

    def leave_streams_alone(self) -> None:
        if self._cutting is not None:
            self._call(stop([self._cutting]))
            self._cutting = None

    async def _keep_cutting(self, every: float) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / every))
            self.chance.choice(self.readers).cut()

    async def _send_steadily(self) -> None:
        """At even intervals, whether or not earlier messages have been accepted yet."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with (
            httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False) as client,
            asyncio.TaskGroup() as sending,
        ):
            for number in itertools.takewhile(lambda _: self._may_begin, itertools.count()):
                sending.create_task(self._send(client, number))
                await asyncio.sleep(started + (number + 1) / self.rate - loop.time())

    async def _send(self, client: httpx.AsyncClient, number: int) -> None:
        """One message, to any of the processes, again with the same id until it is accepted."""
        where = self.chance.choice(self.conversations)
        by_agent = self.chance.random() < 0.5
        token = where.agent_token if by_agent else where.visitor_token
        prefix = "workbench-api" if by_agent else "api"
        body = {"content": f"line {number}", "client_id": f"chaos-{number}"}
        ports = itertools.cycle(self.chance.sample(list(self.ports), len(self.ports)))
        for port in ports:
            try:
                answer = await client.post(
                    f"http://127.0.0.1:{port}/{prefix}/sessions/{where.name}/messages",
                    json=body,
                    headers={"Authorization": f"Bearer {token}"},
                )
            except httpx.TransportError:
                pass
            else:
                if answer.is_success:
                    self.accepted[where.name].add(body["client_id"])
                    return
                if answer.is_client_error:
                    answer.raise_for_status()
            self.retried += 1
            await asyncio.sleep(ATTEMPT_EVERY_SECONDS)

    def wait_delivered(self, counts: dict[str, int], *, seconds: float) -> bool:
        """Until each stream has as many messages as its sessions; False if it took longer."""
        return self._call(self._wait_delivered(counts, seconds))

    async def _wait_delivered(self, counts: dict[str, int], seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        waiting = list(self.readers)
        while waiting and loop.time() < deadline:
            waiting = [
                reader
                for reader in waiting
                if len(reader.deliveries) < sum(counts[name] for name in reader.sessions)
            ]
            await asyncio.sleep(0.05)
        # Whatever comes twice has a moment to come.
        await asyncio.sleep(0.5)
        return not waiting
