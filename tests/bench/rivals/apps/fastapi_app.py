"""FastAPI with one redis.asyncio pubsub for each subscriber, the way tutorials write it.

MAX_CONNECTIONS lifts the limit of redis-py's connection pool, which is 100.
"""

import os
from collections.abc import AsyncIterator

import redis.asyncio as redis
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
given = os.environ.get("MAX_CONNECTIONS")
options = {"max_connections": int(given)} if given else {}
connections = redis.from_url(os.environ["REDIS_URL"], decode_responses=True, **options)


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(frames(), media_type="text/event-stream")


async def frames() -> AsyncIterator[str]:
    async with connections.pubsub() as pubsub:
        await pubsub.subscribe("events")
        yield ": ready\n\n"
        async for message in pubsub.listen():
            if message["type"] == "message":
                yield f"data: {message['data']}\n\n"
