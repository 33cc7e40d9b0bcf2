"""HTTP and streams as the day's people use them: they try again where a process is away."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx

Json = dict[str, Any]

# A process that was killed is back before that.
PATIENCE_SECONDS = 40.0
AGAIN_SECONDS = 0.2
_AWAY = (429, 500, 502, 503, 504)


class Refused(Exception):
    """4xx, with the contract's code."""

    def __init__(self, response: httpx.Response) -> None:
        body = response.json() if response.content else {}
        self.status = response.status_code
        self.code: str = body.get("error", {}).get("code", "")
        super().__init__(f"{self.status} {self.code} for {response.request.url}")


class Caller:
    def __init__(self, http: httpx.AsyncClient, url: str, token: str = "") -> None:
        self.http, self.url, self.token = http, url, token

    async def call(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """The decoded answer. Raises Refused, and TimeoutError where nobody answers."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with suppress(httpx.TransportError):
                    response = await self.http.request(
                        method, f"{self.url}{path}", json=body, params=params, headers=headers
                    )
                    if response.is_success:
                        return response.json() if response.content else None
                    if response.status_code not in _AWAY:
                        raise Refused(response)
                await asyncio.sleep(AGAIN_SECONDS)


class Stream:
    """Opened again whenever it ends, until it is dropped. What arrives is in `events`; `reset`
    and every new connection among it, after which the state is to be read anew."""

    def __init__(self, caller: Caller, path: str, after: str | None = None) -> None:
        self.caller, self.path, self.last_id = caller, path, after
        self.events: asyncio.Queue[Json] = asyncio.Queue()
        self._task = asyncio.create_task(self._keep_reading())

    async def _keep_reading(self) -> None:
        while True:
            with suppress(httpx.HTTPError):
                await self._read()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _read(self) -> None:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        async with self.caller.http.stream(
            "GET",
            f"{self.caller.url}{self.path}",
            params={"token": self.caller.token},
            headers=headers,
            timeout=httpx.Timeout(10, read=30),
        ) as response:
            if not response.is_success:
                return
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "data":
                    self.events.put_nowait(json.loads(value))

    async def next(self, seconds: float | None = None) -> Json | None:
        """None after so many seconds of the wall."""
        try:
            return await asyncio.wait_for(self.events.get(), seconds)
        except TimeoutError:
            return None

    async def drop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
