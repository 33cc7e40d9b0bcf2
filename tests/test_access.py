"""Who may read and do what, on real servers: tokens, cookies, logging out, other origins."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.cookie_client import CookieClient
from tests.harness import expect
from tests.harness.client import Agent, Clients, Customer
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services
from tests.harness.streams import EventStream, StreamRefused
from tests.harness.tls import NO_TLS

SHOP = "https://shop.example.com"
PASSWORD = "correct horse battery"

CUSTOMER_CALLS = [
    ("GET", ""),
    ("GET", "/messages"),
    ("POST", "/messages"),
    ("POST", "/messages/1/feedback"),
    ("POST", "/escalate"),
    ("DELETE", "/escalate"),
    ("POST", "/stop"),
    ("POST", "/close"),
]
BODY = {"content": "let me in", "client_id": "1"}


@pytest.fixture(scope="module")
def service(module_services: Services) -> Service:
    return module_services.start(CORS_ALLOWED_ORIGINS=SHOP)


@pytest.fixture(scope="module")
def agents(service: Service) -> Iterator[dict[str, Agent]]:
    """Logged in once, since checking a password takes its time: two agents, a supervisor, and
    an administrator."""
    service.database.manage(
        "shell",
        "-c",
        "from agent_workbench.accounts import create_agent\n"
        f"create_agent('chief', {PASSWORD!r}, role='admin')\n"
        f"create_agent('boss', {PASSWORD!r}, role='supervisor')\n"
        f"create_agent('leaver', {PASSWORD!r})",
    )
    with Clients() as clients:
        yield {
            "alice": clients.agent(service, "alice"),
            "bob": clients.agent(service, "bob"),
            "boss": clients.agent(service, "boss", PASSWORD),
            "chief": clients.agent(service, "chief", PASSWORD),
        }


def _for_one_test(agent: Agent) -> Iterator[Agent]:
    yield agent
    while agent.streams:
        agent.streams.pop().close()


@pytest.fixture
def alice(agents: dict[str, Agent]) -> Iterator[Agent]:
    yield from _for_one_test(agents["alice"])


@pytest.fixture
def bob(agents: dict[str, Agent]) -> Iterator[Agent]:
    yield from _for_one_test(agents["bob"])


@pytest.fixture
def boss(agents: dict[str, Agent]) -> Iterator[Agent]:
    yield from _for_one_test(agents["boss"])


@pytest.fixture
def chief(agents: dict[str, Agent]) -> Iterator[Agent]:
    yield from _for_one_test(agents["chief"])


@pytest.fixture
def customer(clients: Clients, service: Service) -> Customer:
    return clients.customer(service)


def tampered(token: str) -> str:
    return token[:-1] + ("A" if token[-1] != "A" else "B")


def bad_tokens(customer: Customer, agent: Agent) -> list[str | None]:
    """None of them opens the customer's session."""
    return [
        None,
        "",
        "nonsense",
        "x" * 3000,
        tampered(customer.token),
        customer.token[:-1],
        customer.token + "=",
        customer.token.swapcase(),
        customer.session,
        agent.token,
        agent.login["refresh_token"],
    ]


# One for all requests of this module: each would load the machine's certificates anew.
plain = httpx.Client(trust_env=False, verify=NO_TLS, timeout=20)


@pytest.fixture(scope="module", autouse=True)
def _plain_is_closed() -> Iterator[None]:
    yield
    plain.close()


def refused(
    url: str, token: str | None = None, *, by: str = "query", **headers: str
) -> tuple[int, str]:
    """The status and code with which a stream was not opened."""
    params = {}
    if token is not None and by == "query":
        params["token"] = token
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    # Merged by hand: httpx would let `params` replace what the address has.
    request = httpx.URL(url).copy_merge_params(params)
    with plain.stream("GET", request, headers=headers) as answer:
        assert answer.status_code >= 400, "the stream was opened"
        error = json.loads(answer.read())["error"]
    assert sorted(error) == ["code", "details", "message"]
    return answer.status_code, error["code"]


@pytest.fixture
def opened() -> Iterator[Callable[..., EventStream]]:
    streams: list[EventStream] = []

    def open_(url: str, **how: Any) -> EventStream:
        streams.append(EventStream(url, **how))
        return streams[-1]

    yield open_
    for stream in streams:
        stream.close()


# --- A customer's token -----------------------------------------------------------------


@pytest.mark.parametrize(("method", "rest"), CUSTOMER_CALLS)
def test_session_opens_to_its_own_token_only(
    method: str, rest: str, customer: Customer, alice: Agent, clients: Clients, service: Service
) -> None:
    before = customer.state()
    url = f"{service.api_url}{customer.path(rest)}"
    body = BODY if method == "POST" else None

    def answer(**how: Any) -> tuple[int, str]:
        plain.cookies = how.pop("cookies", {})
        response = plain.request(method, url, json=body, **how)
        return response.status_code, response.json()["error"]["code"]

    for token in bad_tokens(customer, alice):
        headers = {} if not token else {"Authorization": f"Bearer {token}"}
        assert answer(headers=headers) == (401, "INVALID_TOKEN")
    foreign = clients.customer(service).token
    assert answer(headers={"Authorization": f"Bearer {foreign}"}) == (403, "FORBIDDEN")
    # In the address a token is for streams, which browsers cannot give a header.
    assert answer(params={"token": customer.token}) == (401, "INVALID_TOKEN")
    assert answer(cookies={"token": customer.token}) == (401, "INVALID_TOKEN")
    assert customer.state() == before


def test_token_for_a_session_that_is_not_there(customer: Customer) -> None:
    for method, rest in CUSTOMER_CALLS:
        path = f"/sessions/cs_{secrets.token_urlsafe(16)}{rest}"
        answer = customer.http.request(method, path, json=BODY)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "SESSION_NOT_FOUND"


@pytest.mark.parametrize("by", ["query", "header"])
def test_session_stream_opens_to_its_own_token_only(
    by: str, customer: Customer, alice: Agent, clients: Clients, service: Service
) -> None:
    url = f"{service.api_url}{customer.path('/events')}"
    for token in bad_tokens(customer, alice):
        assert refused(url, token, by=by) == (401, "INVALID_TOKEN")
    assert refused(url, clients.customer(service).token, by=by) == (403, "FORBIDDEN")
    nowhere = f"{service.api_url}/sessions/cs_nowhere/events"
    assert refused(nowhere, customer.token, by=by) == (404, "SESSION_NOT_FOUND")


def test_session_stream_takes_the_token_from_header_or_address(
    customer: Customer, service: Service, opened: Callable[..., EventStream]
) -> None:
    url = f"{service.api_url}{customer.path('/events')}"
    bearer = {"Authorization": f"Bearer {customer.token}"}
    for how in ({"params": {"token": customer.token}}, {"headers": bearer}):
        stream = opened(url, **how)
        assert stream.wait_for("connected").payload["session_name"] == customer.session
    # The header is what counts where both are given.
    both = {"Authorization": "Bearer nonsense"}
    assert refused(url, customer.token, by="query", **both) == (401, "INVALID_TOKEN")


def test_stream_carries_nothing_of_other_sessions(
    customer: Customer, clients: Clients, service: Service
) -> None:
    other = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    stream.wait_for("connected")
    other.close()
    other.stream(after=other.cursor).wait_for(expect.status("closed"))
    customer.close()
    stream.wait_for(expect.status("closed"))
    assert stream.types() == ["message", "status_change"]
    assert stream.events("status_change")[0].payload["session_name"] == customer.session


def test_cursor_of_another_session_gives_nothing_of_it(
    customer: Customer, clients: Clients, service: Service
) -> None:
    other = clients.customer(service)
    other.close()
    stream = customer.stream(after=other.cursor)
    stream.wait_for("reset")
    customer.close()
    stream.wait_for(expect.status("closed"))
    assert stream.types() == ["reset", "message", "status_change"]
    assert {e.payload["session_name"] for e in stream.events("status_change")} == {
        customer.session
    }


# --- Agents' streams --------------------------------------------------------------------


@pytest.mark.parametrize("by", ["query", "header"])
def test_agents_streams_open_to_agents_only(
    by: str, customer: Customer, alice: Agent, clients: Clients, service: Service
) -> None:
    gone = clients.agent(service, "leaver", PASSWORD)
    gone.logout()
    for path in (
        "/agent/events",
        f"/agent/events?watch={customer.session}",
        f"/sessions/{customer.session}/events",
    ):
        url = f"{service.workbench_url}{path}"
        for token in (
            None,
            "",
            "nonsense",
            customer.token,
            tampered(alice.token),
            alice.login["refresh_token"],
            gone.token,
        ):
            assert refused(url, token, by=by) == (401, "INVALID_TOKEN")


def test_agents_stream_takes_the_token_from_header_or_address(
    alice: Agent, service: Service, opened: Callable[..., EventStream]
) -> None:
    url = f"{service.workbench_url}/agent/events"
    bearer = {"Authorization": f"Bearer {alice.token}"}
    for how in ({"params": {"token": alice.token}}, {"headers": bearer}):
        connected = opened(url, **how).wait_for("connected")
        assert connected.payload["agent"] == {"id": alice.login["agent"]["id"], "name": "Alice"}


def test_live_session_is_closed_to_other_agents_and_open_to_who_supervises(
    customer: Customer, alice: Agent, bob: Agent, boss: Agent, chief: Agent, service: Service
) -> None:
    alice.take_over(customer.session)
    for url in (
        f"{service.workbench_url}/sessions/{customer.session}/events",
        f"{service.workbench_url}/agent/events?watch={customer.session}",
    ):
        assert refused(url, bob.token, by="header") == (403, "NOT_ASSIGNED")
    for agent in (alice, boss, chief):
        for stream in (
            agent.session_stream(customer.session),
            agent.stream(watch=customer.session),
        ):
            stream.wait_for("connected")
            said = alice.send(customer.session, f"for all to read {secrets.token_hex(4)}")
            assert stream.wait_for(expect.message(said["content"])).payload == said
    alice.release(customer.session)
    bob.session_stream(customer.session).wait_for("connected")


def test_agents_own_stream_carries_no_messages_of_others_conversations(
    customer: Customer, alice: Agent, bob: Agent
) -> None:
    stream = bob.stream()
    stream.wait_for("connected")
    alice.take_over(customer.session)
    customer.send("my secret")
    alice.send(customer.session, "I keep it")
    alice.close(customer.session)
    stream.wait_for(expect.status("closed"))
    assert not stream.events("message", "session_assigned")
    assert "secret" not in json.dumps([event.payload for event in stream.events()])


def test_onlookers_are_shut_out_by_a_takeover(
    customer: Customer, alice: Agent, bob: Agent, boss: Agent, chief: Agent
) -> None:
    onlookers = [bob.session_stream(customer.session), bob.stream(watch=customer.session)]
    staying = [
        alice.session_stream(customer.session),
        chief.session_stream(customer.session),
        boss.session_stream(customer.session),
        bob.stream(),
    ]
    for stream in (*onlookers, *staying):
        stream.wait_for("connected")
    alice.take_over(customer.session)
    for stream in onlookers:
        stream.wait_ended(timeout=5)
    alice.send(customer.session, "between us")
    for stream in staying[:3]:
        stream.wait_for(expect.message("between us"))
    alice.close(customer.session)
    staying[3].wait_for(expect.status("closed"))
    for stream in onlookers:
        assert "between us" not in json.dumps([event.payload for event in stream.events()])


def test_guest_reads_the_session_until_the_answer(
    customer: Customer, alice: Agent, bob: Agent, service: Service
) -> None:
    url = f"{service.workbench_url}/sessions/{customer.session}/events"
    alice.take_over(customer.session)
    asked = {"session_name": customer.session, "to_agent": "bob", "question": "what now?"}
    request = alice.call("POST", "/assist-requests", asked)["id"]
    guests = [bob.session_stream(customer.session), bob.stream(watch=customer.session)]
    alice.send(customer.session, "among the three of us")
    for stream in guests:
        stream.wait_for(expect.message("among the three of us"))
    bob.call("POST", f"/assist-requests/{request}/answer", {"answer": "nothing"})
    for stream in guests:
        stream.wait_ended(timeout=5)
    alice.send(customer.session, "between us")
    assert refused(url, bob.token, by="header") == (403, "NOT_ASSIGNED")
    for stream in guests:
        assert "between us" not in json.dumps([event.payload for event in stream.events()])


@pytest.mark.parametrize(
    "watch",
    ["cs_nowhere", "", "%00", "a%00b", "%FF", "alice", "workbench:agents", "x" * 900],
    ids=lambda watch: watch[:20],
)
def test_only_sessions_can_be_watched(alice: Agent, service: Service, watch: str) -> None:
    url = f"{service.workbench_url}/agent/events?watch={watch}"
    assert refused(url, alice.token, by="header") == (404, "SESSION_NOT_FOUND")


def test_only_so_many_sessions_are_watched_at_once(alice: Agent, service: Service) -> None:
    watched = "&".join(f"watch=cs_{number}" for number in range(51))
    url = f"{service.workbench_url}/agent/events?{watched}"
    assert refused(url, alice.token, by="header") == (422, "VALIDATION_ERROR")


# --- The pages' cookie ------------------------------------------------------------------


@pytest.fixture
def page(service: Service) -> Iterator[CookieClient]:
    with CookieClient(service) as client:
        yield client


def test_page_reads_its_agents_stream_by_cookie(
    page: CookieClient, service: Service, customer: Customer
) -> None:
    page.log_in()
    with page.events(watch=customer.session) as stream:
        assert stream.wait_for("connected").payload["agent"]["name"] == "Alice"
        customer.close()
        stream.wait_for(expect.status("closed"))
    with page.events(f"/sessions/{customer.session}/events") as stream:
        assert stream.wait_for("connected").payload["session_name"] == customer.session


def test_cookie_of_an_agent_opens_no_customers_stream(
    page: CookieClient, service: Service, customer: Customer
) -> None:
    page.log_in()
    url = f"{service.api_url}{customer.path('/events')}"
    assert refused(url, Cookie=page.cookie) == (401, "INVALID_TOKEN")
    assert page.get(f"/api{customer.path()}").status_code == 401


@pytest.mark.parametrize("cookie", ["", "nonsense", "x" * 40, '"\\000aaaaaaaaaa"', "\xff" * 10])
def test_cookie_that_is_none_of_ours_opens_nothing(
    service: Service, customer: Customer, cookie: str
) -> None:
    for path in ("/agent/events", f"/sessions/{customer.session}/events"):
        url = f"{service.workbench_url}{path}"
        headers = {"Cookie": f"support_session={cookie}".encode("latin-1")}
        with pytest.raises(StreamRefused) as refusal:
            EventStream(url, headers=headers)  # type: ignore[arg-type] # bytes are fine
        assert refusal.value.status == 401


def test_logging_out_of_a_page_ends_its_streams(page: CookieClient, service: Service) -> None:
    page.log_in()
    with page.events() as stream:
        stream.wait_for("connected")
        before = page.cookie
        page.log_out()
        stream.wait_ended(timeout=5)
    url = f"{service.workbench_url}/agent/events"
    assert refused(url, Cookie=before) == (401, "INVALID_TOKEN")


LEAVING = """
from agent_workbench.models import Agent
user = Agent.objects.get(user__username="alice").user
user.is_active = False
user.save()
Agent.objects.get(user__username="admin").delete()
"""


def test_streams_of_agents_who_leave_end(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    """Whoever takes an agent out need not be in the process that serves the streams."""
    service = services.start(redis=redis_server)
    deactivated, deleted = clients.agent(service, "alice"), clients.agent(service, "admin")
    bob = clients.agent(service, "bob")
    with CookieClient(service) as page:
        page.log_in("alice")
        ending = [deactivated.stream(), deleted.stream(), page.events()]
        going_on = bob.stream()
        for stream in (*ending, going_on):
            stream.wait_for("connected")
        redis = {"USE_REDIS_SSE": "true", "REDIS_URL": redis_server.url}
        service.database.manage("shell", "-c", LEAVING, **redis)
        for stream in ending:
            stream.wait_ended(timeout=5)
        ending[-1].close()
        url = f"{service.workbench_url}/agent/events"
        for gone in (deactivated, deleted):
            assert refused(url, gone.token) == (401, "INVALID_TOKEN")
        assert refused(url, Cookie=page.cookie) == (401, "INVALID_TOKEN")
    bob.set_status("busy")
    going_on.wait_for(lambda e: e.payload.get("status") == "busy")


def test_user_without_a_profile_logs_in_nowhere_and_opens_no_stream(
    page: CookieClient, service: Service
) -> None:
    service.database.manage(
        "shell",
        "-c",
        "from django.contrib.auth import get_user_model as m\n"
        f"m().objects.create_superuser('root', password={PASSWORD!r})",
    )
    page.log_in("root", PASSWORD, at="/admin/login/")
    url = f"{service.workbench_url}/agent/events"
    assert refused(url, Cookie=page.cookie) == (403, "NOT_AN_AGENT")
    with CookieClient(service) as another:
        answer = another.try_log_in("root", PASSWORD, "/workbench/login/")
        assert answer.status_code == 200
        assert "support_session" not in another.cookies


# --- Logging out, in every process ------------------------------------------------------


def test_logout_ends_the_agents_streams_in_both_of_two_processes(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    first = services.start(redis=redis_server)
    second = services.start("agent_workbench", redis=redis_server)
    customer = clients.customer(first)
    alice = clients.agent(first, "alice")
    alice_there = clients.agent(second, "alice")
    bob = clients.agent(second, "bob")
    ending = [
        alice.stream(),
        alice.session_stream(customer.session),
        alice_there.stream(watch=customer.session),
    ]
    going_on = [bob.stream(), customer.stream(after=customer.cursor)]
    for stream in (*ending, *going_on):
        stream.wait_for("connected")

    alice.logout()

    for stream in ending:
        stream.wait_ended(timeout=5)
    for agent, process in ((alice, second), (alice_there, first)):
        url = f"{process.workbench_url}/agent/events"
        assert refused(url, agent.token) == (401, "INVALID_TOKEN")
    customer.close()
    for stream in going_on:
        stream.wait_for(expect.status("closed"))


def test_logout_reaches_another_process_without_redis(
    services: Services, clients: Clients
) -> None:
    """The log carries it, as it does the events, where Redis is wanted and away."""
    away = "redis://127.0.0.1:1/0"
    first = services.start(redis=away)
    second = services.start("agent_workbench", redis=away)
    alice, alice_there = clients.agent(first, "alice"), clients.agent(second, "alice")
    stream = alice_there.stream()
    stream.wait_for("connected")
    alice.logout()
    stream.wait_ended(timeout=5)


# --- Secrets stay secret ----------------------------------------------------------------


def test_secrets_are_neither_stored_in_clear_nor_logged(
    services: Services, clients: Clients
) -> None:
    service = services.start(LOG_LEVEL="DEBUG")
    password = service.database.demo_password()
    customer, alice = clients.customer(service), clients.agent(service, "alice")
    alice.take_over(customer.session)
    customer.send("the customer's own words")
    for stream in (
        customer.stream(after=customer.cursor),
        alice.stream(watch=customer.session),
        alice.session_stream(customer.session),
    ):
        stream.wait_for("connected")
    for path in ("/nothing", "/agent/profile", "/agent/login"):
        assert not alice.http.post(path, json={"token": alice.token}).is_success
    refused(f"{service.api_url}{customer.path('/events')}", alice.token)
    alice.close(customer.session)
    customer_stream = customer.streams[0]
    customer_stream.wait_for(expect.status("closed"))
    customer_stream.close()
    alice.logout()
    for stream in alice.streams:
        stream.wait_ended(timeout=5)

    stored = service.database.manage("dumpdata")
    assert customer.session in stored
    service.terminate()
    logged = service.log_text()
    assert "/agent/login" in logged
    for name, secret in {
        "customer's token": customer.token,
        "agent's token": alice.token,
        "refresh token": alice.login["refresh_token"],
        "password": password,
    }.items():
        assert secret not in stored, name
        assert secret not in logged, name
    assert "own words" not in logged


def test_tokens_are_not_in_any_answer_but_the_one_that_gives_them(
    customer: Customer, alice: Agent
) -> None:
    for text in (
        customer.http.get(customer.path()).text,
        alice.http.get("/agent/profile").text,
        alice.http.get("/sessions").text,
        alice.http.get(f"/sessions/{customer.session}").text,
    ):
        assert customer.token not in text
        assert alice.token not in text


# --- Other origins ----------------------------------------------------------------------

OTHERS = ["https://evil.example", "null", "http://shop.example.com", f"{SHOP}.evil.example"]


def test_shops_page_may_call_the_api(customer: Customer, service: Service) -> None:
    origin = {"Origin": SHOP}
    for answer in (
        customer.http.get(customer.path(), headers=origin),
        customer.http.get("/sessions/cs_nowhere", headers=origin),
        plain.get(f"{service.api_url}{customer.path()}", headers=origin),
        plain.get(f"{service.api_url}/nothing", headers=origin),
        plain.put(f"{service.api_url}/sessions", headers=origin),
        plain.get(f"{service.api_url}/config", headers=origin),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert "origin" in answer.headers["Vary"].lower()
        # Cookies are no business of the shop's page.
        assert "Access-Control-Allow-Credentials" not in answer.headers


def preflight(url: str, origin: str, method: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    return plain.options(url, headers=headers)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_shops_browser_may_ask_first(customer: Customer, service: Service, method: str) -> None:
    answer = preflight(f"{service.api_url}{customer.path('/escalate')}", SHOP, method)
    assert answer.is_success
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert method in answer.headers["Access-Control-Allow-Methods"]
    allowed = re.split(r",\s*", answer.headers["Access-Control-Allow-Headers"].lower())
    assert {"authorization", "content-type"} <= set(allowed)


@pytest.mark.parametrize("origin", OTHERS)
def test_no_other_page_may_call_the_api(
    customer: Customer, service: Service, origin: str
) -> None:
    for answer in (
        customer.http.get(customer.path(), headers={"Origin": origin}),
        customer.http.get("/config", headers={"Origin": origin}),
        preflight(f"{service.api_url}/sessions", origin, "POST"),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("origin", [SHOP, *OTHERS])
def test_workbench_is_for_its_own_pages_only(
    alice: Agent, service: Service, origin: str
) -> None:
    for answer in (
        alice.http.get("/agent/profile", headers={"Origin": origin}),
        preflight(f"{service.workbench_url}/agent/status", origin, "PUT"),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_shops_page_may_read_the_stream_and_its_refusals(
    customer: Customer, service: Service, opened: Callable[..., EventStream]
) -> None:
    url = f"{service.api_url}{customer.path('/events')}"
    bearer = {"Authorization": f"Bearer {customer.token}", "Origin": SHOP}
    stream = opened(url, headers=bearer)
    assert stream.response_headers["Access-Control-Allow-Origin"] == SHOP
    assert "origin" in stream.response_headers["Vary"].lower()
    assert "Access-Control-Allow-Credentials" not in stream.response_headers
    with pytest.raises(StreamRefused) as refusal:
        EventStream(url, headers={"Origin": SHOP})
    assert refusal.value.response.headers["Access-Control-Allow-Origin"] == SHOP
    asked = preflight(url, SHOP, "GET")
    assert asked.is_success
    assert asked.headers["Access-Control-Allow-Origin"] == SHOP
    assert "authorization" in asked.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("origin", OTHERS)
def test_no_other_page_may_read_the_stream(
    customer: Customer, service: Service, origin: str, opened: Callable[..., EventStream]
) -> None:
    """The browser withholds what has no such header from the page."""
    url = f"{service.api_url}{customer.path('/events')}"
    bearer = {"Authorization": f"Bearer {customer.token}", "Origin": origin}
    stream = opened(url, headers=bearer)
    assert "Access-Control-Allow-Origin" not in stream.response_headers
    assert "Access-Control-Allow-Origin" not in preflight(url, origin, "GET").headers
