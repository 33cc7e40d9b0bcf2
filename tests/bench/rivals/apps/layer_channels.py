"""A Django async view with one channel of channels_redis' pub/sub layer for each client."""

import os
from collections.abc import AsyncIterator

import django
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    },
)
django.setup()


async def events(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(frames(), content_type="text/event-stream")


async def frames() -> AsyncIterator[str]:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("events", channel)
    try:
        yield ": ready\n\n"
        while True:
            message = await layer.receive(channel)
            yield f"data: {message['data']}\n\n"
    finally:
        await layer.group_discard("events", channel)


urlpatterns = [path("events", events)]
application = get_asgi_application()
