from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _

from sse.accounts import heed_accounts


class SseConfig(AppConfig):
    name = "sse"
    verbose_name = _("Event streams")
    # Whatever the project's is, so that its makemigrations finds nothing to do here.
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sse import checks

        for check in checks.ALL:
            register(check)
        heed_accounts()
