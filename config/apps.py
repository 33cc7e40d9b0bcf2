from django.apps import AppConfig
from django.core.checks import register
from django.db.backends.signals import connection_created

from config import checks, files


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        for check in checks.ALL:
            register(check)
        connection_created.connect(files.keep_private)
