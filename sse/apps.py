from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SseConfig(AppConfig):
    name = "sse"
    verbose_name = _("Event streams")
