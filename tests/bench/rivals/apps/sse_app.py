"""The app `sse` in a project that has nothing else, as its peers here are."""

import os

import environ
from django.conf import settings
from django.urls import path

DATABASE = environ.Env().db_url("DATABASE_URL")
if DATABASE["ENGINE"].endswith("sqlite3"):
    DATABASE["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["sse"],
    DATABASES={"default": DATABASE},
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            # That of the publisher, which is a process of the whole system.
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]], "prefix": "support"},
        }
    },
    USE_TZ=True,
    SSE_MAX_STREAM_SECONDS=86_400.0,
)

from sse.asgi import get_asgi_application  # noqa: E402 - settings come first

application = get_asgi_application()

from sse import stream  # noqa: E402

urlpatterns = [path("events/", stream("events", named=False))]
