"""The contract's HTTP API as a customer and an agent use it, over real connections."""

import ssl
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from tests.harness.services import Service
from tests.harness.streams import EventStream
from tests.harness.tls import NO_TLS

Json = dict[str, Any]


class ApiError(Exception):
    """A status outside 2xx, with the contract's error fields where the body has them."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        error = _error(response)
        self.code: str | None = error.get("code")
        self.details: Json = error.get("details") or {}
        request = response.request
        super().__init__(
            f"{self.status} for {request.method} {request.url}: {response.text[:2000]}"
        )


def _error(response: httpx.Response) -> Json:
    if "json" not in response.headers.get("content-type", ""):
        return {}
    body = response.json()
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


class Client:
    """`http` is the httpx client underneath, with the token in its headers: answers unchecked,
    paths relative to the API's prefix."""

    def __init__(
        self,
        api_url: str,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        verify: ssl.SSLContext = NO_TLS,
    ) -> None:
        self.api_url = api_url
        self.verify = verify
        self.http = httpx.Client(
            base_url=api_url, timeout=timeout, trust_env=False, verify=verify
        )
        self.streams: list[EventStream] = []
        self._token = ""
        if token is not None:
            self.token = token

    @property
    def token(self) -> str:
        return self._token

    @token.setter
    def token(self, token: str) -> None:
        self._token = token
        self.http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, json: Any = None, **params: object) -> Any:
        """The decoded answer, or None where it has no body. Raises ApiError."""
        given = {name: str(value) for name, value in params.items() if value is not None}
        response = self.http.request(method, path, json=json, params=given)
        if not response.is_success:
            raise ApiError(response)
        return response.json() if response.content else None

    def open_stream(
        self,
        path: str,
        *,
        after: str | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float = 15.0,
    ) -> EventStream:
        """Authorised by ?token=, as a browser's EventSource is. Closed with this client."""
        stream = EventStream(
            f"{self.api_url}{path}",
            params={"token": self.token, **(params or {})},
            last_event_id=after,
            timeout=timeout,
            verify=self.verify,
        )
        self.streams.append(stream)
        return stream

    def close_connections(self) -> None:
        for stream in self.streams:
            stream.close()
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close_connections()


class Customer(Client):
    """One session, created with this object."""

    def __init__(self, service: Service, **fields: Any) -> None:
        super().__init__(service.api_url, verify=service.verify)
        self.created: Json = self.call("POST", "/sessions", fields)
        self.session: str = self.created["session_name"]
        self.token = self.created["token"]
        self.cursor: str = self.created["cursor"]

    def path(self, rest: str = "") -> str:
        return f"/sessions/{quote(self.session, safe='')}{rest}"

    def state(self) -> Json:
        state: Json = self.call("GET", self.path())
        return state

    def send(self, content: str, client_id: str | None = None) -> Json:
        body = {"content": content, "client_id": client_id or uuid.uuid4().hex}
        message: Json = self.call("POST", self.path("/messages"), body)
        return message

    def messages(self, *, before: str | None = None, limit: int | None = None) -> Json:
        page: Json = self.call("GET", self.path("/messages"), before=before, limit=limit)
        return page

    def escalate(self, reason: str | None = None) -> Any:
        return self.call("POST", self.path("/escalate"), _given(reason=reason))

    def cancel_escalation(self) -> Any:
        return self.call("DELETE", self.path("/escalate"))

    def stop(self) -> Any:
        """Stop the AI's answer."""
        return self.call("POST", self.path("/stop"), {})

    def close(self) -> Any:
        """Close the session; its connections stay open."""
        return self.call("POST", self.path("/close"), {})

    def typing(self, active: bool = True) -> Any:
        return self.call("POST", self.path("/typing"), {"active": active})

    def read(self, message_id: Any) -> Any:
        return self.call("POST", self.path("/read"), {"message_id": message_id})

    def rate(self, score: int, comment: str | None = None) -> Any:
        return self.call("POST", self.path("/rating"), _given(score=score, comment=comment))

    def leave_contact(self, email: str, note: str | None = None) -> Any:
        return self.call("POST", self.path("/contact"), _given(email=email, note=note))

    def stream(self, *, after: str | None = None, timeout: float = 15.0) -> EventStream:
        return self.open_stream(self.path("/events"), after=after, timeout=timeout)


class Agent(Client):
    """Logged in when it is created."""

    def __init__(self, service: Service, username: str, password: str) -> None:
        super().__init__(service.workbench_url, verify=service.verify)
        self.username = username
        body = {"username": username, "password": password}
        self.login: Json = self.call("POST", "/agent/login", body)
        self.token = self.login["token"]

    def profile(self) -> Json:
        profile: Json = self.call("GET", "/agent/profile")
        return profile

    def set_status(self, status: str) -> Any:
        return self.call("PUT", "/agent/status", {"status": status})

    def logout(self) -> Any:
        return self.call("POST", "/agent/logout", {})

    def sessions(self, **filters: object) -> Json:
        page: Json = self.call("GET", "/sessions", **filters)
        return page

    def queue(self) -> Json:
        page: Json = self.call("GET", "/sessions/queue")
        return page

    def state(self, session: str) -> Json:
        state: Json = self.call("GET", _session(session))
        return state

    def messages(self, session: str, **params: object) -> Json:
        page: Json = self.call("GET", _session(session, "/messages"), **params)
        return page

    def take_over(self, session: str) -> Any:
        return self.call("POST", _session(session, "/takeover"), {})

    def send(self, session: str, content: str, client_id: str | None = None) -> Json:
        body = {"content": content, "client_id": client_id or uuid.uuid4().hex}
        message: Json = self.call("POST", _session(session, "/messages"), body)
        return message

    def release(self, session: str) -> Any:
        return self.call("POST", _session(session, "/release"), {})

    def close(self, session: str) -> Any:
        return self.call("POST", _session(session, "/close"), {})

    def reopen(self, session: str) -> Any:
        return self.call("POST", _session(session, "/reopen"), {})

    def stream(
        self, *, watch: str | None = None, after: str | None = None, timeout: float = 15.0
    ) -> EventStream:
        """The agent's own stream; `watch` adds a session's events to it."""
        params = _given(watch=watch)
        return self.open_stream("/agent/events", after=after, params=params, timeout=timeout)

    def session_stream(
        self, session: str, *, after: str | None = None, timeout: float = 15.0
    ) -> EventStream:
        return self.open_stream(_session(session, "/events"), after=after, timeout=timeout)


def _session(name: str, rest: str = "") -> str:
    return f"/sessions/{quote(name, safe='')}{rest}"


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


class Clients:
    """Makes clients, and closes all their connections when it is left."""

    def __init__(self) -> None:
        self._opened: list[Client] = []

    def customer(self, service: Service, **fields: Any) -> Customer:
        """A new session: `nickname`, `email`, `language`, `metadata`."""
        customer = Customer(service, **fields)
        self._opened.append(customer)
        return customer

    def agent(
        self,
        service: Service,
        username: str = "alice",
        password: str | None = None,
        *,
        status: str | None = "online",
    ) -> Agent:
        """Logged in and, unless `status` is None, online. The default password is the demo
        agents' in that service's database."""
        agent = Agent(service, username, password or service.database.demo_password())
        self._opened.append(agent)
        if status is not None:
            agent.set_status(status)
        return agent

    def close(self) -> None:
        for client in self._opened:
            client.close_connections()
        self._opened.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
