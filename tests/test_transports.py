"""How frames get onto a connection: by each server, over TLS, directly and by `send`."""

import os
import signal
from asyncio.sslproto import _SSLProtocolTransport
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from daphne.http_protocol import WebRequest
from pytest_django import Settings
from twisted.internet.tcp import Server as TcpConnection
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from sse.streams import transports
from sse.streams.transports import (
    REFUSED,
    DaphneTransport,
    DirectDaphneTransport,
    Transport,
    UvicornTransport,
    behind,
)
from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.services import Server, Service, Services
from tests.harness.tls import Certificate
from tests.harness.waiting import wait_until
from tests.test_slow_readers import RawStream, open_at

pytestmark = pytest.mark.vendor("sqlite")

LINES = [f"say: line {number}" for number in range(10)]
# 6 MB: the kernel takes up to 4 for one connection.
MISSED = 100


@dataclass(frozen=True)
class Kind:
    server: Server
    tls: bool
    direct: bool
    env: dict[str, str] = field(default_factory=dict)


OFF = {"SSE_DIRECT_WRITES": "false"}
KINDS = {
    "daphne by send": Kind("daphne", tls=False, direct=False, env=OFF),
    "daphne over TLS": Kind("daphne", tls=True, direct=False),
    "uvicorn over TLS": Kind("uvicorn", tls=True, direct=True),
    "uvicorn by send over TLS": Kind("uvicorn", tls=True, direct=False, env=OFF),
    "uvicorn with h11": Kind("uvicorn", tls=False, direct=False, env={"UVICORN_HTTP": "h11"}),
}


@pytest.fixture(scope="module")
def serving(module_services: Services) -> dict[str, Service]:
    certificate = Certificate(module_services.directory)
    return {
        name: module_services.start(
            server=kind.server,
            tls=certificate if kind.tls else None,
            AI_BACKEND="scripted",
            **kind.env,
        )
        for name, kind in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_events_arrive_once_and_in_order(
    serving: dict[str, Service], clients: Clients, kind: str
) -> None:
    service = serving[kind]
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    for line in LINES:
        customer.send(line)
        stream.wait_for(expect.reply(line.removeprefix("say: ")))
    stream.reconnect()
    again = customer.stream(after=customer.cursor)
    customer.send("say: the end")

    for reader in (stream, again):
        reader.wait_for(expect.reply("the end"))
        expect.assert_each_once(reader)
    assert expect.contents(again) == expect.contents(stream)
    assert (service.metric("sse_delivered_directly_total") > 0) is KINDS[kind].direct


def test_servers_stop_though_a_client_does_not_read(
    serving: dict[str, Service], clients: Clients
) -> None:
    (first, *_) = serving.values()
    customer = clients.customer(first)
    first.database.manage(
        "shell",
        "--no-imports",
        "--command",
        "from sse import enqueue_sse_message_sync as enqueue\n"
        f"for _ in range({MISSED}):\n"
        f"    enqueue({customer.session!r}, {{'type': 'x', 'payload': {{'x': 'x' * 60_000}}}})",
    )
    with ExitStack() as stack:
        readers = []
        for service in serving.values():
            stack.enter_context(RawStream(service, customer, after=customer.cursor))
            readers.append(open_at(service, customer))
            # More than is written at once: the client takes no more of it.
            wait_until(
                lambda service=service: service.metric("sse_pending_high_water_bytes") > 65_536,
                what="a full buffer",
            )
        # An idle connection does not read either, and TLS wants an answer to its goodbye.
        customer.http.close()
        for service in serving.values():
            os.kill(service.pid, signal.SIGTERM)
        for reader in readers:
            reader.wait_for("goodbye")
        for service in serving.values():
            wait_until(lambda service=service: not service.running, timeout=30, what="the end")

    for service in serving.values():
        log = service.log_text()
        assert "left behind" not in log
        assert "graceful shutdown exceeded" not in log
        assert "without completing response" not in log


# --- what is not known for certain --------------------------------------------------------


class WrappedConnection(TcpConnection):
    """As a library might make it that changes what is put on the socket."""


def sending(connection: object, *, channel: Any = None) -> Any:
    """daphne's `send` for a request on this connection."""
    request: Any = object.__new__(WebRequest)
    request.channel = channel or HTTPChannel()
    request.channel.transport = connection
    return partial(lambda _request, _message: None, request)


def connection(made: type = TcpConnection, *, tls: bool = False) -> Any:
    found = object.__new__(made)
    found.TLS = tls
    found.socket, found.dataBuffer, found.offset, found._tempDataLen = None, b"", 0, 0
    return found


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[str, ...]]]:
    """Those that count as tested."""
    tested = dict(transports.TESTED_VERSIONS)
    monkeypatch.setattr(transports, "TESTED_VERSIONS", tested)
    transports.known.cache_clear()
    yield tested
    transports.known.cache_clear()


def test_installed_servers_are_of_tested_versions(
    versions: dict[str, tuple[str, ...]],
) -> None:
    """A new version is read again (sse/transports.py) before it is added there."""
    assert transports.known(*versions)
    assert type(behind(sending(connection()))) is DirectDaphneTransport


def test_tls_connection_that_is_closed_for_good_is_asked_nothing() -> None:
    """As a client leaves it that is gone before its stream begins: closed from both ends."""
    under = SimpleNamespace(_start_shutdown=lambda: None, _abort=lambda _error: None)
    closed = _SSLProtocolTransport(None, under)
    closed.close()
    closed.close()
    with pytest.raises(AttributeError):
        closed.get_extra_info("socket")
    cycle: Any = object.__new__(RequestResponseCycle)
    cycle.transport, cycle.disconnected = closed, False

    transport = behind(cycle.send)
    assert isinstance(transport, UvicornTransport)
    transport.give_up_after(15)
    assert transport.pending() == 0
    assert not transport.lingers()
    transport.abort()


def test_connection_that_carries_another_request_by_now_is_not_lingering() -> None:
    cycle: Any = object.__new__(RequestResponseCycle)
    protocol = SimpleNamespace(cycle=cycle, connections=[])
    protocol.connections.append(protocol)
    cycle.transport = SimpleNamespace(get_protocol=lambda: protocol)

    transport = behind(cycle.send)
    assert transport.lingers()
    protocol.cycle = object.__new__(RequestResponseCycle)
    assert not transport.lingers()


class OtherChannel(HTTPChannel):
    """As that of HTTP/2."""


@pytest.mark.parametrize(
    "send",
    [
        sending(connection(WrappedConnection)),
        sending(connection(tls=True)),
        sending(StringTransport()),
        sending(None),
        sending(connection(), channel=OtherChannel()),
    ],
    ids=["subclass", "startTLS", "other", "lost", "other channel"],
)
def test_unknown_connection_is_left_to_its_server(send: Any) -> None:
    transport = behind(send)
    assert type(transport) is Transport
    assert transport.write(b"5\r\nhello\r\n") == REFUSED
    assert transport.pending() == 0
    transport.abort()
    transport.give_up_after(15)


def test_connection_that_lacks_what_is_read_of_it_is_left_to_its_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = sending(connection())
    assert type(behind(send)) is not Transport
    monkeypatch.setattr(transports, "_SOCKET_PARTS", ("socket", "a_part_of_another_version"))
    assert type(behind(send)) is Transport


def test_unknown_server_is_left_alone() -> None:
    async def send(_message: dict[str, Any]) -> None: ...

    assert type(behind(send)) is Transport
    assert type(behind(partial(send, object()))) is Transport


def test_unknown_version_is_not_written_to_directly_and_said_once(
    versions: dict[str, tuple[str, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    versions["Twisted"] = ("1.2.",)
    for _ in range(2):
        assert type(behind(sending(connection()))) is DaphneTransport
    (said,) = caplog.messages
    assert "Twisted" in said


def test_direct_writes_can_be_switched_off(settings: Settings) -> None:
    settings.SSE_DIRECT_WRITES = False
    assert type(behind(sending(connection()))) is DaphneTransport
