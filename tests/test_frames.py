"""Any event reaches clients that nobody here wrote, directly and through nginx, unharmed."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sse.exceptions import InvalidEvent
from sse.log import encoding, frames
from sse.log.encoding import DATA_MAX_BYTES
from sse.log.frames import Frame
from tests.frames.nginx import ShippedNginx
from tests.frames.publisher import Publisher
from tests.frames.readers import ChromiumReader, HttpxReader, NodeReader, Reader
from tests.harness.browser import Pages
from tests.harness.client import Clients, Customer
from tests.harness.databases import Database
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services
from tests.harness.tls import NO_TLS

pytestmark = pytest.mark.database_independent

Json = Any
Payload = dict[str, Json]

NASTY = (
    *("\r", "\n", "\r\n", "\0", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\ufeff"),
    *("\ud800", "\udfff", "\U0001f600", "\U0010ffff", "\uffff", "\x7f", '"', "\\", "\\u0000"),
    *(":", "data: ", "\n\nid: 7\n\n", "\ndata: {}\n\n", "event: x\r\r", "</script>"),
)
texts = st.lists(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from(NASTY)), max_size=12
).map("".join)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
payloads = st.dictionaries(texts, values, max_size=5)
# Halves of surrogate pairs are escaped in JSON, and cannot be in what is not JSON.
speakable = texts.map(lambda text: text.encode("utf-8", "ignore").decode())
names = speakable.map(lambda text: re.sub(r"[\x00-\x1f\x7f-\x9f]", "", text)).filter(
    lambda name: name and name not in ("error", "open") and not name.startswith("sse-")
)


def filled(text: str) -> Payload:
    """A payload of as many bytes as are allowed, or all but a few, made of this text."""
    room = DATA_MAX_BYTES - len('{"text":""}')
    escaped = any("\ud800" <= character <= "\udfff" for character in text)
    each = json.dumps(text, ensure_ascii=escaped)[1:-1]
    times, left = divmod(room, len(each.encode()))
    return {"text": text * times + "x" * left}


NAMED: list[Payload] = [
    {},
    *({"text": text} for text in NASTY),
    {text: text for text in NASTY},
    {"text": "".join(NASTY) * 20},
    {"deep": [[[[[[[[[[{"a": [{}, [], [[]]]}]]]]]]]]]]},
    {"numbers": [0, -0.0, 1e308, 5e-324, 2**53, -(2**63), 10**30, 10**400, 0.1]},
    {"__proto__": {"a": 1}, "constructor": None, "": "", "0": 0, "length": 5},
    {"type": "reset", "payload": {}, "timestamp": 0, "id": "x"},
    *(filled(text) for text in ("x", "\n", "\0", "\u2028", "€", "\U0001f600", "\ud800")),
]


# --- the named form -----------------------------------------------------------------------


class Dispatched(NamedTuple):
    """What a browser makes of a block of lines."""

    id: str
    name: str
    data: str


def dispatched(body: bytes) -> list[Dispatched]:
    """By the steps of the standard's section "Interpreting an event stream"."""
    found = []
    last_id = name = data = ""
    for line in re.split(r"\r\n|\n|\r", body.decode().removeprefix("\ufeff"))[:-1]:
        if not line:
            if data:
                found.append(Dispatched(last_id, name or "message", data.removesuffix("\n")))
            name = data = ""
            continue
        key, colon, value = line.partition(":")
        value = value.removeprefix(" ") if colon else ""
        if key == "event":
            name = value
        elif key == "data":
            data += value + "\n"
        elif key == "id" and "\0" not in value:
            last_id = value
    return found


def framed(text: str, seq: int = 7) -> Frame:
    return Frame("0123456789abcdef", seq, text, barrier=False, since=0)


@given(names, payloads | values)
@example("named", {})
@example("named", "a\nb")
@example("named", {"a": 1, "timestamp": {"payload": 2, "timestamp": 3}})
@example("named", '{"type":1},"timestamp":2,"form":"text"')
@example('","form":"text","payload":{"data":"x"},"timestamp":1}', [])
def test_json_is_on_one_line_of_the_named_form(name: str, data: Json) -> None:
    frame = framed(encoding.encode(name, data))

    [event] = dispatched(frame.named_wire)
    assert (event.id, event.name) == (frame.cursor, name)
    assert "\n" not in event.data
    assert written(json.loads(event.data)) == written(json.loads(json.dumps(data)))


@given(names, speakable)
@example("row", "")
@example("row", "\n")
@example("row", "\r\r\n\n")
@example("row", " leading\n  and more\n")
@example("row", "data: x\n\nid: 8\n\n: y")
@example("row", '"}},"timestamp":1}')
def test_text_arrives_line_by_line_in_the_named_form(name: str, text: str) -> None:
    frame = framed(encoding.encode(name, text, json_encode=False))

    # All ends of lines are one to a stream.
    arrived = re.sub(r"\r\n?", "\n", text)
    assert dispatched(frame.named_wire) == [(frame.cursor, name, arrived)]
    assert dispatched(b"id: other\n" + frame.named_body) == [("other", name, arrived)]


@given(names, values, st.sampled_from([0, 1, 10**12]))
def test_a_frame_is_the_same_event_in_each_form(name: str, data: Json, seq: int) -> None:
    frame = framed(encoding.encode(name, data), seq)

    [event] = dispatched(frame.wire)
    found = json.loads(event.data)
    wanted = data if isinstance(data, dict) else {"data": data}
    assert event.id == frame.cursor
    assert bool(frame.cursor) == bool(seq)
    assert (event.name, found["type"]) == ("message", name)
    assert written(found["payload"]) == written(json.loads(json.dumps(wanted)))
    assert written(frame.data) == written({k: v for k, v in found.items() if k != "form"})
    assert frame.body == frame.wire.removeprefix(f"id: {frame.cursor}\n".encode())
    assert frame.chunk == b"%x\r\n%b\r\n" % (len(frame.wire), frame.wire)
    assert frame.named_chunk == b"%x\r\n%b\r\n" % (len(frame.named_wire), frame.named_wire)
    assert frame.named_wire is frame.named_wire


def test_frames_about_the_stream_have_both_forms() -> None:
    [plain] = dispatched(frames.control("reset", {"reason": "trimmed"}, cursor="c-1"))
    named = frames.control("goodbye", {"retry_ms": 5}, retry_ms=5, named=True)

    event = json.loads(plain.data)
    assert (plain.id, event["type"], event["payload"]) == (
        "c-1",
        "reset",
        {"reason": "trimmed"},
    )
    assert named == b'retry: 5\nevent: sse-goodbye\ndata: {"retry_ms":5}\n\n'
    assert dispatched(frames.control("heartbeat", {}, named=True)) == [
        ("", "sse-heartbeat", "{}")
    ]


def test_a_name_of_an_earlier_version_stays_on_its_line() -> None:
    stored = json.dumps(
        {"type": "a\ndata: b\ud800", "payload": {}, "timestamp": 1.5}, separators=(",", ":")
    )

    assert dispatched(framed(stored).named_wire)[0].name == "a\ufffddata: b\ufffd"


@pytest.mark.parametrize(
    "name",
    [
        *("", "error", "open", "sse-connected", "sse-", None, 7, b"row"),
        *("a\nb", "a\rb", "\0", "\x7f", "\x85", "\ud800"),
    ],
)
def test_a_name_that_a_stream_cannot_carry_is_refused(name: Any) -> None:
    with pytest.raises(InvalidEvent):
        encoding.encode(name, {})


# --- by clients that nobody here wrote ----------------------------------------------------


@pytest.fixture(scope="module")
def service(module_services: Services, module_redis_server: RedisServer) -> Service:
    return module_services.start(redis=module_redis_server, ALLOWED_HOSTS="127.0.0.1")


@pytest.fixture(scope="module")
def nginx(service: Service) -> Iterator[ShippedNginx]:
    with ShippedNginx(chatbot=[service.port], workbench=[service.port]) as started:
        yield started


@pytest.fixture(scope="module")
def publisher(
    module_demo_database: Database, module_redis_server: RedisServer
) -> Iterator[Publisher]:
    layer = {"USE_REDIS_SSE": "true", "REDIS_URL": module_redis_server.url}
    with Publisher(module_demo_database.environment(**layer)) as started:
        yield started


@pytest.fixture
def customer(service: Service, clients: Clients) -> Customer:
    return clients.customer(service)


@pytest.fixture(params=["direct", "nginx"])
def origin(request: pytest.FixtureRequest, service: Service) -> str:
    """Where the clients reach the service."""
    if request.param == "direct":
        return service.base_url
    nginx: ShippedNginx = request.getfixturevalue("nginx")
    return nginx.base_url


def stream_url(origin: str, customer: Customer) -> str:
    return f"{origin}/api{customer.path('/events')}?token={customer.token}"


def check_round_trips(reader: Reader, publisher: Publisher, session: str) -> None:
    """Many batches of events through one stream."""

    @given(st.lists(st.tuples(names, payloads), min_size=1, max_size=25))
    @example([("named", payload) for payload in NAMED])
    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def arrives_unharmed(events: list[tuple[str, Payload]]) -> None:
        ids = publisher.enqueue(
            session, [{"type": kind, "payload": payload} for kind, payload in events]
        )
        received = reader.take(ids)

        assert [one.id for one in received] == ids
        for (kind, payload), one in zip(events, received, strict=True):
            sent = json.loads(json.dumps({"type": kind, "payload": payload}))
            data = json.loads(one.data)
            assert isinstance(data.pop("timestamp"), float)
            assert written(data) == written(sent)
            seen = json.loads(one.seen)
            del seen["timestamp"]
            assert written(as_javascript(seen)) == written(as_javascript(sent))

    arrives_unharmed()


def written(value: Json) -> str:
    """With every character that is not ASCII escaped: lone surrogates can be compared, and a
    true differs from a 1."""
    return json.dumps(value, sort_keys=True)


def as_javascript(value: Json) -> Json:
    """With JavaScript's one kind of number, whose infinities JSON has no word for."""
    if isinstance(value, dict):
        return {key: as_javascript(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_javascript(inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            # JSON.stringify knows no negative zero.
            return float(value) + 0.0
        except OverflowError:
            return None
    return value


@pytest.mark.every_database
def test_httpx_sse(origin: str, customer: Customer, publisher: Publisher) -> None:
    with HttpxReader(stream_url(origin, customer)) as reader:
        check_round_trips(reader, publisher, customer.session)


def test_npm_eventsource(origin: str, customer: Customer, publisher: Publisher) -> None:
    with NodeReader(stream_url(origin, customer)) as reader:
        check_round_trips(reader, publisher, customer.session)


def test_chromium(origin: str, customer: Customer, publisher: Publisher, pages: Pages) -> None:
    pages.allow("404 .*favicon.ico")
    page = pages.open(f"{origin}/api/livez")
    with ChromiumReader(page, stream_url(origin, customer)) as reader:
        check_round_trips(reader, publisher, customer.session)


def test_replayed_frames_are_the_live_ones(
    origin: str, customer: Customer, publisher: Publisher
) -> None:
    with HttpxReader(stream_url(origin, customer)) as reader:
        ids = publisher.enqueue(
            customer.session, [{"type": "named", "payload": payload} for payload in NAMED]
        )
        live = reader.take(ids)

    with HttpxReader(stream_url(origin, customer), after=customer.cursor) as resumed:
        assert resumed.take(ids) == live


def test_nginx_answers_for_both_services_but_not_for_metrics(
    service: Service, nginx: ShippedNginx
) -> None:
    paths = ("/api/livez", "/workbench-api/livez", "/", "/workbench/login/", "/metrics")
    statuses = {
        path: httpx.get(f"{nginx.base_url}{path}", trust_env=False, verify=NO_TLS).status_code
        for path in paths
    }

    assert statuses == dict.fromkeys(paths, 200) | {"/metrics": 404}
    assert (
        httpx.get(f"{service.base_url}/metrics", trust_env=False, verify=NO_TLS).status_code
        == 200
    )


def test_nginx_compresses_pages_and_no_streams(nginx: ShippedNginx, customer: Customer) -> None:
    with httpx.Client(
        headers={"Accept-Encoding": "gzip"}, trust_env=False, verify=NO_TLS
    ) as client:
        page = client.get(f"{nginx.base_url}/")
        with client.stream("GET", stream_url(nginx.base_url, customer)) as stream:
            assert page.headers["content-encoding"] == "gzip"
            assert "content-encoding" not in stream.headers


def test_no_token_in_the_logs_of_nginx(nginx: ShippedNginx, customer: Customer) -> None:
    with HttpxReader(stream_url(nginx.base_url, customer)):
        pass
    httpx.get(stream_url(nginx.base_url, customer) + "x", trust_env=False, verify=NO_TLS)

    logged = nginx.wait_for_log(f'"GET /api{customer.path("/events")}" 401')
    assert customer.token not in logged


def test_what_a_stream_says_of_itself_may_be_longer_than_an_event() -> None:
    """It is not stored, and its head has been sent already."""
    large = "x" * DATA_MAX_BYTES
    assert large.encode() in frames.control("connected", {"state": large})
