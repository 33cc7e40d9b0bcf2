"""The entry of an ASGI server: in a project's asgi.py, in place of Django's own.

Importing this reads no settings, since Django's template imports it before it names them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sse.process.supervisor import Work

Application = Callable[[Any, Any, Any], Awaitable[None]]


def get_asgi_application(
    django: Application | None = None,
    *,
    work: Iterable[Work | str] = (),
    at_stop: Iterable[Callable[[], object]] = (),
    about: str = "sse",
) -> Application:
    """Set Django up; answer what `sse.stream` has in the URLconf, give the rest to `django`.

    Without `django` that is Django's own handler, and WebSockets are refused. It stands
    outermost, or inside Channels' ProtocolTypeRouter.

    `work` runs for as long as the process serves and is started anew when it fails: callables
    that take a pulse (sse.process.supervisor), or their dotted paths. `at_stop` is called in
    the moment the process is told to stop, and must not wait. `about` begins the line that the
    process logs when it has started.
    """
    from django import setup
    from django.apps import apps
    from django.utils.module_loading import import_string

    if not apps.ready:
        setup(set_prefix=False)

    from django.core.handlers.asgi import ASGIHandler

    from sse.serving.entry import Entry, refuse
    from sse.serving.server import LifeCycle

    works = [import_string(each) if isinstance(each, str) else each for each in work]
    life = LifeCycle(work=works, at_stop=at_stop, about=about)
    if django is None:
        return Entry(ASGIHandler(), refuse, life)
    return Entry(django, django, life)
