"""What the servers themselves do with a request, before it is an application's and after."""

import base64
import http.client
import secrets
import socket

import httpx
import pytest

from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.services import Server, Service, Services

pytestmark = pytest.mark.database_independent


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def service(module_services: Services, request: pytest.FixtureRequest) -> Service:
    return module_services.start(server=request.param)


@pytest.mark.parametrize("path", ["/", "/ws/", "/api/sessions/x/events?token=hidden-1"])
def test_websocket_is_refused(service: Service, path: str) -> None:
    """The service's log is looked through for tracebacks when it stops."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    connection.request("GET", path, headers={**upgrade, "Sec-WebSocket-Key": key})
    status = connection.getresponse().status
    connection.close()
    assert status == 403


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize("path", ["/api/sessions", "/workbench-api/agent/login"])
def test_malformed_form_is_answered_with_the_error_object(
    service: Service, path: str, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    answer = httpx.post(f"{service.base_url}{path}", content=b"--x\r\nabc", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )


@pytest.mark.parametrize("server", ["gunicorn", "hypercorn-alone", "granian"])
def test_other_servers_carry_streams_and_end_them(
    services: Services, clients: Clients, server: Server
) -> None:
    """What they are in for with a load: `make servers`."""
    service = services.start(server=server)
    customer = clients.customer(service)
    stream = customer.stream()
    stream.wait_for("connected")
    customer.send("hello")
    stream.wait_for(expect.message("hello"))

    service.terminate()
    stream.wait_ended()
    assert stream.types()[-1] == "goodbye"


def test_queries_stay_out_of_the_log(service: Service, clients: Clients) -> None:
    """Of streams and other requests, answered, refused and failed."""
    customer = clients.customer(service)
    customer.stream().close()
    agent = clients.agent(service)
    agent.stream().close()
    agent.call("GET", "/sessions", q="hidden-2")
    for path in (
        f"{customer.path('/events')}?token=hidden-3",
        f"{customer.path('/messages')}?token={customer.token}&limit=hidden-4",
        "/nothing?token=hidden-5",
        "/livez?hidden-6=1",
    ):
        httpx.get(f"{service.api_url}{path}")
    httpx.get(f"{service.base_url}/?q=hidden-7", headers={"Host": "hidden.example"})
    raw(service, b"/api/sessions/x?q=\xfchidden-8")
    raw(service, b"/last")
    service.wait_for_log("GET /last")
    log = service.log_text()
    for path in (f"/api{customer.path('/events')}", "/workbench-api/sessions", "/api/livez"):
        assert f"GET {path} " in log or f'GET {path}"' in log
    for secret in ("hidden-", customer.token, agent.token):
        assert secret not in log


def raw(service: Service, path: bytes) -> None:
    """A request as no client library would send it."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
