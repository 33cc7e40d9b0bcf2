import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from agent_workbench.accounts import create_agent
from agent_workbench.models import Agent, Role
from ai_chatbot.demo import load_articles
from ai_chatbot.models import Article

AGENTS = (
    ("alice", "Alice", Role.AGENT),
    ("bob", "Bob", Role.AGENT),
    ("admin", "Ada (supervisor)", Role.ADMIN),
)


class Command(BaseCommand):
    help = "Load the demo knowledge base and demo agents; repeating it changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        if not Article.objects.exists():
            self.stdout.write(f"Loaded {load_articles()} knowledge-base articles.")
        usernames = [username for username, _, _ in AGENTS]
        known = set(
            Agent.objects.filter(user__username__in=usernames).values_list(
                "user__username", flat=True
            )
        )
        missing = [agent for agent in AGENTS if agent[0] not in known]
        password = self._password(renew=len(missing) == len(AGENTS))
        for username, name, role in missing:
            create_agent(username, password, role=role, display_name=name)
        self.stdout.write(f"Demo agents: {', '.join(usernames)}; password: {password}")

    def _password(self, *, renew: bool) -> str:
        """A random one, kept beside the database so that a second run can show it again."""
        path = Path(settings.DEMO_PASSWORD_FILE)
        if renew or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(9) + "\n")
        return path.read_text().strip()
