"""The stream endpoint of a real server, as clients on the wire see it."""

import httpx
import pytest

from tests.harness import expect
from tests.harness.client import Clients, Customer
from tests.harness.services import Service, Services
from tests.harness.streams import EventStream, StreamRefused

pytestmark = pytest.mark.database_independent


@pytest.fixture(scope="module")
def service(module_services: Services) -> Service:
    return module_services.start(
        SSE_HEARTBEAT_SECONDS="0.3",
        SSE_MAX_STREAMS_PER_TARGET="4",
        AI_BACKEND="scripted",
        CORS_ALLOWED_ORIGINS="https://shop.example",
    )


@pytest.fixture
def customer(service: Service, clients: Clients) -> Customer:
    return clients.customer(service)


@pytest.mark.every_database
def test_headers_and_first_frame(customer: Customer) -> None:
    stream = customer.stream()

    first = stream.wait_for("connected")
    assert stream.events()[0] is first
    assert first.payload == {"session_name": customer.session, "cursor": customer.cursor}
    assert first.retry
    assert first.event is None
    assert stream.response_headers["content-type"] == "text/event-stream"
    assert stream.response_headers["cache-control"] == "no-cache, no-transform"
    assert stream.response_headers["x-accel-buffering"] == "no"


def test_heartbeats_come_when_idle(customer: Customer) -> None:
    stream = customer.stream()
    beats = stream.wait_for_count("heartbeat", 3)
    assert [beat.payload for beat in beats] == [{}, {}, {}]


@pytest.mark.every_database
def test_nothing_falls_between_state_and_stream(customer: Customer) -> None:
    customer.send("say: one")
    state = customer.state()
    customer.send("say: two")

    stream = customer.stream(after=state["cursor"])

    stream.wait_for(expect.reply("two"))
    known = [message["content"] for message in state["messages"]]
    assert known[0] == "say: one"
    assert "say: two" in expect.contents(stream)


@pytest.mark.every_database
def test_resuming_gives_each_missed_event_once_in_order(customer: Customer) -> None:
    stream = customer.stream(after=customer.cursor)
    customer.send("say: one")
    stream.wait_for(expect.reply("one"))
    stream.close()
    for number in range(5):
        customer.send(f"missed {number}")

    stream.reconnect()

    stream.wait_for(expect.message("missed 4", "user"))
    users = [
        e.payload["content"] for e in stream.events("message") if e.payload["role"] == "user"
    ]
    assert users == ["say: one", *[f"missed {number}" for number in range(5)]]
    expect.assert_each_once(stream)


def test_the_header_wins_over_the_address(service: Service, customer: Customer) -> None:
    customer.send("say: first")
    with customer.stream(after=customer.cursor) as stream:
        answer = stream.wait_for(expect.reply("first"))
    stream = EventStream(
        f"{service.api_url}{customer.path('/events')}",
        params={"token": customer.token, "last_event_id": customer.cursor},
        last_event_id=answer.id,
    )
    with stream:
        stream.wait_for("heartbeat")
        assert stream.types() == []


@pytest.mark.parametrize("cursor", ["garbage", "00000000-1", "~", "x" * 10_000, "é-1"])
def test_a_foreign_cursor_is_one_reset_and_then_live(customer: Customer, cursor: str) -> None:
    stream = customer.open_stream(customer.path("/events"), params={"last_event_id": cursor})

    stream.wait_for("reset")
    customer.send("say: live")
    stream.wait_for(expect.reply("live"))
    assert len(stream.events("reset")) == 1


@pytest.mark.every_database
def test_agents_stream_carries_its_sessions_under_one_cursor(
    service: Service, customer: Customer, clients: Clients
) -> None:
    agent = clients.agent(service)
    stream = agent.stream(watch=customer.session)
    stream.wait_for("connected")
    customer.escalate()
    agent.take_over(customer.session)
    stream.wait_for("session_assigned")
    stream.close()
    customer.send("while you were away")
    agent.send(customer.session, "I saw it")

    stream.reconnect()

    stream.wait_for(expect.message("I saw it"))
    assert not stream.events("reset")
    expect.assert_each_once(stream)
    assert expect.contents(stream) == [m["content"] for m in customer.state()["messages"]]


def test_more_streams_than_allowed_are_refused(customer: Customer) -> None:
    streams = [customer.stream() for _ in range(4)]

    with pytest.raises(StreamRefused) as refused:
        customer.stream()

    response = refused.value.response
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"]["code"] == "TOO_MANY_STREAMS"
    for stream in streams:
        stream.wait_for("connected")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
def test_other_methods_are_refused(service: Service, customer: Customer, method: str) -> None:
    response = httpx.request(method, f"{service.api_url}{customer.path('/events')}")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, OPTIONS"


def test_a_shop_on_another_origin_may_read_its_stream(
    service: Service, customer: Customer
) -> None:
    url = f"{service.api_url}{customer.path('/events')}"
    allowed = httpx.options(url, headers={"Origin": "https://shop.example"})
    foreign = httpx.options(url, headers={"Origin": "https://other.example"})

    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in foreign.headers


def test_server_says_goodbye_when_it_stops(services: Services, clients: Clients) -> None:
    service = services.start()
    stream = clients.customer(service).stream()
    stream.wait_for("connected")

    service.terminate()

    goodbye = stream.wait_for("goodbye")
    assert goodbye.retry == goodbye.payload["retry_ms"]
    stream.wait_ended()
