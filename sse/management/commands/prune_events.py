from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from sse.conf import conf
from sse.log import store
from sse.management.errors import told_by_the_command
from sse.process import registry


class Command(BaseCommand):
    help = "Delete events past their retention. Processes do so by themselves as well."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hours", type=float, default=conf.SSE_RETENTION_HOURS)
        parser.add_argument("--events", type=int, default=conf.SSE_RETENTION_EVENTS)

    def handle(self, *args: Any, **options: Any) -> None:
        with told_by_the_command():
            pruned = store.prune(hours=options["hours"], events=options["events"])
            registry.forget_silent()
        self.stdout.write(f"{pruned} events were deleted.")
