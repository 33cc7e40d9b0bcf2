"""django-eventstream as its README sets it up for several processes, without middleware."""

import os
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import include, path

redis = urlsplit(os.environ["REDIS_URL"])
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django_eventstream"],
    EVENTSTREAM_REDIS={"host": redis.hostname, "port": redis.port, "db": 0},
)
django.setup()

urlpatterns = [path("events", include("django_eventstream.urls"), {"channels": ["events"]})]
application = get_asgi_application()
