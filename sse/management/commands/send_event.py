import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sse import send_event
from sse.management.errors import told_by_the_command


class Command(BaseCommand):
    help = "Send an event to every stream of a channel, and print its cursor."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channel")
        parser.add_argument("name", help="the event's name")
        parser.add_argument("data", help="JSON; with --text anything")
        parser.add_argument("--text", action="store_true", help="send the data as it is")
        parser.add_argument(
            "--ephemeral", action="store_true", help="do not store it: it may be lost"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        text: bool = options["text"]
        try:
            data = options["data"] if text else json.loads(options["data"])
        except json.JSONDecodeError as error:
            raise CommandError(f"The data is no JSON ({error}); --text sends text.") from error
        with told_by_the_command():
            cursor = send_event(
                options["channel"],
                options["name"],
                data,
                durable=not options["ephemeral"],
                json_encode=not text,
            )
        if cursor:
            self.stdout.write(cursor)
