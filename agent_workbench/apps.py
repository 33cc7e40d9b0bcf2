from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AgentWorkbenchConfig(AppConfig):
    name = "agent_workbench"
    verbose_name = _("Agent workbench")

    def ready(self) -> None:
        from agent_workbench import signals  # noqa: F401 - connects its receivers
