"""A browser as far as cookies and forms go: for pages whose scripts do not matter."""

import httpx

from tests.harness.services import Service
from tests.harness.streams import EventStream


class CookieClient(httpx.Client):
    def __init__(self, service: Service) -> None:
        super().__init__(base_url=service.base_url, trust_env=False, verify=False, timeout=20)
        self.service = service

    def submit(self, path: str, fields: dict[str, object] | None = None) -> httpx.Response:
        """POST a form, with the CSRF token of the last page that was opened."""
        token = {"csrfmiddlewaretoken": self.cookies["support_csrf"]}
        return self.post(path, data={**(fields or {}), **token})

    def try_log_in(self, username: str, password: str, at: str) -> httpx.Response:
        assert self.get(at).status_code == 200
        return self.submit(at, {"username": username, "password": password})

    def log_in(
        self, username: str = "alice", password: str = "", *, at: str = "/workbench/login/"
    ) -> None:
        """The default password is the demo agents'."""
        password = password or self.service.database.demo_password()
        answer = self.try_log_in(username, password, at)
        assert answer.status_code == 302, answer.text

    def log_out(self, *, at: str = "/workbench/logout/") -> None:
        assert self.submit(at).status_code in (200, 302)

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def events(self, path: str = "/agent/events", **params: str) -> EventStream:
        """A stream of the workbench, authorised by the cookie."""
        url = f"{self.service.workbench_url}{path}"
        return EventStream(url, params=params, headers={"Cookie": self.cookie})
