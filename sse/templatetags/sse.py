from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import template
from django.template import RequestContext
from django.urls import reverse

register = template.Library()


@register.simple_tag(takes_context=True)
def sse_url(
    context: RequestContext, name: str, *args: Any, after: str = "", **kwargs: Any
) -> str:
    """The address of a stream, as `{% url %}` gives it, that begins after a cursor.

    `{% sse_url "room-events" room.slug after=cursor %}`, also with `as variable`.
    """
    request = context.get("request")
    app = getattr(request, "current_app", None)
    if app is None:
        app = getattr(getattr(request, "resolver_match", None), "namespace", None)
    url = reverse(name, args=args, kwargs=kwargs, current_app=app)
    return f"{url}?{urlencode({'last_event_id': after})}" if after else url
