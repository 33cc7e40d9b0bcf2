import getpass
import os
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agent_workbench.accounts import create_agent
from agent_workbench.models import Role


class Command(BaseCommand):
    help = "Make an agent. The password comes from AGENT_PASSWORD, else from a prompt."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="NAME")
        parser.add_argument("--role", choices=Role.values, default=Role.AGENT)
        parser.add_argument("--display-name", default="", help="the name customers see")
        parser.add_argument("--max-sessions", type=int, default=5, metavar="N")

    def handle(self, *args: Any, **options: Any) -> None:
        password = os.environ.get("AGENT_PASSWORD") or self._ask()
        try:
            agent = create_agent(
                options["username"],
                password,
                role=options["role"],
                display_name=options["display_name"],
                max_sessions=options["max_sessions"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"Agent {agent.username} ({agent.get_role_display()}) was made.")

    def _ask(self) -> str:
        try:
            password = getpass.getpass("Password: ")
            if password != getpass.getpass("Password (again): "):
                raise CommandError("The passwords differ.")
        except (EOFError, KeyboardInterrupt) as error:
            raise CommandError(
                "No password: set AGENT_PASSWORD or answer the prompt."
            ) from error
        return password
