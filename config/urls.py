from django.conf import settings
from django.contrib import admin
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from ai_chatbot import replies
from config import api
from sse.prometheus import Metrics

handler500 = "config.errors.server_error"
urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("favicon.ico", RedirectView.as_view(url=static("ai_chatbot/icon.svg"))),
    path("metrics", Metrics([replies.METRICS]), name="metrics"),
    *api.urlpatterns(),
]
if settings.SERVES_CHATBOT:
    urlpatterns.append(path("", include("ai_chatbot.urls")))
else:
    # The admin's "View site", and whoever types no more than the host.
    urlpatterns.append(path("", RedirectView.as_view(pattern_name="workbench")))
if settings.SERVES_WORKBENCH:
    urlpatterns.append(path("workbench/", include("agent_workbench.urls")))
