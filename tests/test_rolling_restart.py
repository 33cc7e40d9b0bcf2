"""Two processes behind nginx, restarted one after the other in the middle of traffic."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx
import pytest

from tests.frames.nginx import ShippedNginx
from tests.harness import expect
from tests.harness.client import Clients, Customer
from tests.harness.redis import RedisServer
from tests.harness.services import Server, Service, Services
from tests.harness.tls import NO_TLS

pytestmark = pytest.mark.vendor("sqlite")

SERVERS: list[Server] = ["daphne", "uvicorn"]
PAUSE_SECONDS = 0.03
# Sent after a process is back, so that it has had its part of them.
BETWEEN = 10


class Flow:
    """Requests in a row, of three kinds, until it is left."""

    def __init__(self, origin: str, customer: Customer) -> None:
        self.origin = origin
        self.api = f"{origin}/api{customer.path()}"
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.sent: list[str] = []
        self._customer = customer
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending = True
        self._thread.join(30)

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._customer.token}"}
        with httpx.Client(headers=headers, trust_env=False, verify=NO_TLS, timeout=30) as http:
            while not self._ending:
                self._note("read", http.get(self.api))
                text = f"message {len(self.sent)}"
                self.sent.append(text)
                body = {"content": text, "client_id": uuid.uuid4().hex}
                self._note("message", http.post(f"{self.api}/messages", json=body))
                self._note("other", http.post(f"{self.origin}/api/sessions", json={}))
                time.sleep(PAUSE_SECONDS)

    def _note(self, kind: str, answer: httpx.Response) -> None:
        self.statuses[kind, answer.status_code] += 1

    def wait_for_more(self) -> None:
        wanted = len(self.sent) + BETWEEN
        while len(self.sent) < wanted:
            time.sleep(PAUSE_SECONDS)

    def failures(self, *kinds: str) -> dict[tuple[str, int], int]:
        return {
            (kind, status): count
            for (kind, status), count in self.statuses.items()
            if kind in kinds and status >= 300
        }


@pytest.mark.parametrize("server", SERVERS)
def test_restarts_behind_nginx_go_unnoticed(
    services: Services, redis_server: RedisServer, clients: Clients, server: Server
) -> None:
    pair = [services.start(redis=redis_server, server=server) for _ in range(2)]
    ports = [service.port for service in pair]
    customer = clients.customer(pair[0])
    customer.escalate()
    ends: list[Callable[[Service], None]] = [Service.terminate, Service.kill]
    with (
        ShippedNginx(chatbot=ports, workbench=ports) as nginx,
        Flow(nginx.base_url, customer) as flow,
    ):
        for end in ends:
            for service in pair:
                flow.wait_for_more()
                end(service)
                flow.wait_for_more()
                service.start()

    assert flow.failures("read", "message") == {}
    # A POST that a process may have begun when it was killed is not repeated. One that stops
    # answers what it has taken.
    assert flow.statuses["other", 503] == 0
    customer.send("the last")
    stream = customer.stream(after=customer.cursor)
    stream.wait_for(expect.message("the last"))
    arrived = [text for text in expect.contents(stream) if text.startswith("message ")]
    assert arrived == flow.sent
