import asyncio
import json
from contextlib import aclosing
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from sse import subscribe_sse_events
from sse.management.errors import told_by_the_command


class Command(BaseCommand):
    help = "Print a channel's events as they come, one JSON object a line. Ends with Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channel")
        parser.add_argument("--after", default=None, help="a cursor to begin after")
        parser.add_argument("--count", type=int, default=0, help="end after so many events")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with told_by_the_command():
                asyncio.run(self._tail(options["channel"], options["after"], options["count"]))
        except KeyboardInterrupt:
            return

    async def _tail(self, channel: str, after: str | None, count: int) -> None:
        seen = 0
        events = subscribe_sse_events(channel, after=after)
        async with aclosing(events):
            async for event in events:
                self.stdout.write(json.dumps(event))
                self.stdout.flush()
                seen += 1
                if seen == count:
                    return
