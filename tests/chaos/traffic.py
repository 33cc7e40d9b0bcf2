"""The load of a run: many streams, and messages at a steady rate, in one loop on a thread."""

import asyncio
import itertools
import random
import ssl
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tests.chaos.readers import Reader, Tally, stop

T = TypeVar("T")

# Before the second attempt; twice as long before each further one, up to the longest.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
# A request that hangs for so long will not be answered any more.
REQUEST_SECONDS = 15.0
CALL_SECONDS = 120.0
OPENED_SECONDS = 40.0
PAGE = 200


@dataclass(frozen=True)
class Conversation:
    """A session that an agent has taken over: both sides may write."""

    name: str
    visitor_token: str
    agent_token: str
    cursor: str


@dataclass(frozen=True)
class Sent:
    """A message that was accepted: when its first attempt began, and when it was answered."""

    session: str
    began: float  # time.time(), both
    accepted: float


@dataclass
class Question:
    """What a customer asks the AI, in a session of its own."""

    text: str
    # False where the backend does not answer: then some other word has to end the waiting.
    answerable: bool = True
    reader: Reader | None = None

    @property
    def session(self) -> str:
        assert self.reader
        return self.reader.path.split("/")[3]

    @property
    def begun(self) -> bool:
        return self.reader is not None and self.reader.replies > 0

    @property
    def done(self) -> bool:
        return self.answered if self.answerable else self.told

    @property
    def answered(self) -> bool:
        """The AI's whole answer came, which is the question again (tests.chaos.backend)."""
        return self.reader is not None and any(
            message["role"] == "assistant" and message["content"] == self.text
            for message in self.reader.said
        )

    @property
    def told(self) -> bool:
        """A word came that ends the waiting: what there is of an answer, an apology, or a
        person."""
        return self.reader is not None and bool(self.reader.said or self.reader.statuses)


class Traffic:
    """Methods are for the thread that made it; what they start runs on the loop's own."""

    def __init__(
        self,
        conversations: Sequence[Conversation],
        ports: Sequence[int],
        *,
        rate: float = 20.0,
        chance: random.Random,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.conversations = conversations
        self.ports = ports
        self.rate = rate
        self.chance = chance
        self.tls = tls
        self.tally = Tally()
        self.readers: list[Reader] = []
        self.accepted: dict[str, set[str]] = {each.name: set() for each in conversations}
        self.sent: dict[str, Sent] = {}
        self.retried = 0
        self.questions: list[Question] = []
        self._may_begin = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="chaos", daemon=True
        )
        self._client = httpx.AsyncClient(
            timeout=REQUEST_SECONDS, trust_env=False, verify=tls or True
        )
        self._reading: list[asyncio.Task[None]] = []
        self._others: set[asyncio.Task[None]] = set()
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
        self._call(stop(list(self._others)))
        self._call(self._client.aclose())
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
            tls=self.tls,
            on_reset=self._read_state,
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
        async with asyncio.timeout(OPENED_SECONDS):
            for reader in self.readers:
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
        async with asyncio.TaskGroup() as sending:
            for number in itertools.takewhile(lambda _: self._may_begin, itertools.count()):
                sending.create_task(self._send(number))
                await asyncio.sleep(started + (number + 1) / self.rate - loop.time())

    async def _send(self, number: int) -> None:
        """One message of either side."""
        where = self.chance.choice(self.conversations)
        by_agent = self.chance.random() < 0.5
        token = where.agent_token if by_agent else where.visitor_token
        prefix = "workbench-api" if by_agent else "api"
        body = {"content": f"line {number}", "client_id": f"chaos-{number}"}
        began = time.time()
        await self._post(f"/{prefix}/sessions/{where.name}/messages", body, token)
        self.accepted[where.name].add(body["client_id"])
        self.sent[body["client_id"]] = Sent(where.name, began, time.time())

    async def _post(self, path: str, body: dict[str, Any], token: str = "") -> Any:
        """To any of the processes, again and again until it is accepted; the answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        ports = itertools.cycle(self.chance.sample(list(self.ports), len(self.ports)))
        pause = FIRST_PAUSE_SECONDS
        for port in ports:
            try:
                answer = await self._client.post(
                    f"{self._origin(port)}{path}", json=body, headers=headers
                )
            except httpx.TimeoutException:
                self.tally.unanswered += 1
            except httpx.TransportError:
                pass
            else:
                if answer.is_success:
                    return answer.json()
                if answer.is_client_error:
                    answer.raise_for_status()
                self.tally.unsent[answer.status_code] += 1
            self.retried += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _origin(self, port: int) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"

    def accepted_since(self, moment: float) -> bool:
        """Whether any message was accepted after `moment`, by time.time()."""
        return any(sent.accepted >= moment for sent in list(self.sent.values()))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    # --- after a reset ------------------------------------------------------------------

    def _read_state(self, reader: Reader) -> None:
        self._background(self._reread(reader))

    async def _reread(self, reader: Reader) -> None:
        """All messages of the reader's sessions, over HTTP."""
        api = reader.path.split("/")[1]
        for session in reader.sessions:
            before = ""
            while True:
                page = await self._get(
                    f"/{api}/sessions/{session}/messages?limit={PAGE}{before}", reader.token
                )
                found = {(each["id"], each["client_id"]) for each in page["items"]}
                reader.reread |= found
                reader.seen |= found
                if page["next"] is None:
                    break
                before = f"&before={page['next']}"

    async def _get(self, path: str, token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        while True:
            origin = self._origin(self.chance.choice(self.ports))
            try:
                answer = await self._client.get(f"{origin}{path}", headers=headers)
            except httpx.TransportError:
                pass
            else:
                if answer.is_success:
                    return answer.json()
            await asyncio.sleep(LONGEST_PAUSE_SECONDS)

    # --- questions to the AI ------------------------------------------------------------

    def ask(self, text: str, *, answerable: bool = True) -> Question:
        """In a new session, with a stream; returns at once."""
        question = Question(text, answerable)
        self.questions.append(question)
        self._loop.call_soon_threadsafe(self._background, self._ask(question))
        return question

    async def _ask(self, question: Question) -> None:
        session = await self._post("/api/sessions", {})
        path = f"/api/sessions/{session['session_name']}"
        question.reader = Reader(
            f"{path}/events",
            session["token"],
            (),
            ports=self.ports,
            after=session["cursor"],
            chance=random.Random(self.chance.random()),
            tally=Tally(),
            tls=self.tls,
        )
        self._background(question.reader.run())
        body = {"content": question.text, "client_id": "question"}
        await self._post(f"{path}/messages", body, session["token"])

    def wait_delivered(self, counts: dict[str, int], *, seconds: float) -> bool:
        """Until each stream has as many messages as its sessions; False if it took longer."""
        return self._call(
            self._wait_while(
                lambda reader: (
                    len(reader.deliveries) < sum(counts[name] for name in reader.sessions)
                ),
                seconds,
            )
        )

    def wait_known(
        self, truth: Mapping[str, Collection[tuple[int, str]]], *, seconds: float
    ) -> bool:
        """Until each reader has these messages of its sessions, by its stream or, after a
        reset, in the state; False if it took longer."""
        return self._call(
            self._wait_while(
                lambda reader: (
                    not all(reader.seen.issuperset(truth[name]) for name in reader.sessions)
                ),
                seconds,
            )
        )

    async def _wait_while(self, lacks: Callable[[Reader], bool], seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        waiting = list(self.readers)
        while waiting and loop.time() < deadline:
            waiting = [reader for reader in waiting if lacks(reader)]
            await asyncio.sleep(0.05)
        # Whatever comes twice has a moment to come.
        await asyncio.sleep(0.5)
        return not waiting
