"""What the server runs: event streams straight to their consumers, the rest to Django."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

from config import postgresql

postgresql.bound_waits()
django_application = get_asgi_application()

from django.urls import re_path  # noqa: E402 - Django must be set up first

from agent_workbench import watch  # noqa: E402
from agent_workbench.streams import urlpatterns as workbench_streams  # noqa: E402
from ai_chatbot import outbox, replies  # noqa: E402
from ai_chatbot.conversation import waiting  # noqa: E402
from ai_chatbot.streams import urlpatterns as chatbot_streams  # noqa: E402
from config import api, health, startup  # noqa: E402
from sse.process.supervisor import Work  # noqa: E402
from sse.serving.server import Finishing, Server  # noqa: E402

# Health answers whatever hangs, and whichever host name it is asked by.
streams = health.before_django(api.prefixes())
# Both services change the line of those who wait, and neither needs the other to look after it;
# both write mail.
work: list[Work] = [waiting.keep_announcing, watch.keep_watch, outbox.keep_sending]
if settings.SERVES_CHATBOT:
    streams += chatbot_streams("api")
    work += [replies.keep_answering, replies.keep_sweeping]
if settings.SERVES_WORKBENCH:
    streams += workbench_streams("workbench-api")
if not settings.SERVES_CHATBOT:
    streams += workbench_streams("api")

# What is no stream is Django's. (An ASGI application stands where Django expects a view.)
streams.append(re_path(r"", Finishing(django_application)))  # type: ignore[arg-type]

startup.warn_of_unread()
startup.warn_of_mail()


async def refuse_websocket(scope: Any, receive: Any, send: Any) -> None:
    """There are none here: the handshake is answered 403."""
    await receive()
    await send({"type": "websocket.close"})


application = Server(
    ProtocolTypeRouter({"http": URLRouter(streams), "websocket": refuse_websocket}),
    work=work,
    about=startup.about(),
)
