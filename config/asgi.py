"""What the server runs."""

import logging
import os
import threading
import time

import django

from config import postgresql
from sse.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
postgresql.bound_waits()
django.setup(set_prefix=False)

from config import startup  # noqa: E402 - Django must be set up first

# From the order to stop to the end of the process, if it does not end by itself.
EXIT_SECONDS = 10.0


def leave_for_certain() -> None:
    """A synchronous middleware whose request was under way when the loop stopped waits for it
    for ever, and the interpreter waits for its thread."""

    def leave() -> None:
        time.sleep(EXIT_SECONDS)
        logging.getLogger(__name__).warning("threads of unfinished requests are left behind")
        os._exit(0)

    threading.Thread(target=leave, name="exit", daemon=True).start()


startup.warn_of_unread()
startup.warn_of_mail()
application = get_asgi_application(
    work=startup.work(), at_stop=[leave_for_certain], about=startup.about()
)
