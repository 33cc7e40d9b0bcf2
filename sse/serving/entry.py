"""A project's ASGI application: streams straight to their views, the rest to Django."""

from __future__ import annotations

import asyncio
from typing import Any

from sse.serving.server import Application, Finishing, LifeCycle
from sse.streams.routes import Routes


class Entry:
    """`others` gets what is neither a request nor lifespan."""

    def __init__(self, django: Application, others: Application, life: LifeCycle) -> None:
        self._requests = Finishing(django)
        self._others = others
        self._life = life
        self._routes = Routes()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._life.lifespan(receive, send)
            return
        self._life.begin(asyncio.get_running_loop())
        if scope["type"] != "http":
            await self._others(scope, receive, send)
        elif found := self._routes.find(scope):
            endpoint, match = found
            await endpoint.serve(scope, receive, send, match)
        else:
            await self._requests(scope, receive, send)


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """The handshake of a WebSocket is answered 403."""
    if scope["type"] != "websocket":
        raise ValueError(f"Nothing here speaks {scope['type']}.")
    await receive()
    await send({"type": "websocket.close"})
