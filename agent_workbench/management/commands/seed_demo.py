import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.core.management.base import BaseCommand

from agent_workbench.accounts import create_agent
from agent_workbench.models import Agent, Role
from ai_chatbot.demo import load_articles
from ai_chatbot.models import Article

AGENTS = (
    ("alice", "Alice", Role.AGENT),
    ("bob", "Bob", Role.AGENT),
    ("carol", "Carol", Role.SUPERVISOR),
    ("admin", "Ada", Role.ADMIN),
)
# As older versions made them.
FORMER = (("admin", "Ada (supervisor)", Role.ADMIN),)


class Command(BaseCommand):
    help = "Load the demo knowledge base and demo agents; repeating it changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        if not Article.objects.exists():
            self.stdout.write(f"Loaded {load_articles()} knowledge-base articles.")
        usernames = [username for username, _, _ in AGENTS]
        found = Agent.objects.filter(user__username__in=usernames).select_related("user")
        known = {agent.username: agent for agent in found}
        path = Path(settings.DEMO_PASSWORD_FILE)
        kept = path.read_text().strip() if path.exists() and known else ""
        password = kept or secrets.token_urlsafe(9)
        others = [agent for agent in known.values() if not _opens(password, agent)]
        # A real installation may have an agent called admin, too.
        ours = [agent for agent in others if settings.DEMO and _is_of_the_demo(agent)]
        if ours:
            self._give(password, ours)
            others = [agent for agent in others if agent not in ours]
        for username, name, role in AGENTS:
            if username not in known:
                create_agent(username, password, role=role, display_name=name)
        if others:
            self.stdout.write(f"Left alone, with passwords of their own: {_named(others)}.")
        gone = [agent for agent in known.values() if not agent.user.is_active]
        closed = {agent.username for agent in (*others, *gone)}
        opened = [name for name in usernames if name not in closed]
        if not opened:
            return
        if password != kept:
            _keep(password, path)
        self.stdout.write(f"Demo agents: {', '.join(opened)}; password: {password}")

    def _give(self, password: str, agents: Sequence[Agent]) -> None:
        """What is printed logs in, whatever the file and the database went through."""
        for agent in agents:
            agent.user.set_password(password)
            agent.user.save(update_fields=["password"])
        self.stdout.write(
            f"The demo's password did not open {_named(agents)}; they have a new one."
        )


def _opens(password: str, agent: Agent) -> bool:
    return check_password(password, agent.user.password)


def _is_of_the_demo(agent: Agent) -> bool:
    return (agent.username, agent.display_name, agent.role) in AGENTS + FORMER


def _named(agents: Sequence[Agent]) -> str:
    return ", ".join(sorted(agent.username for agent in agents))


def _keep(password: str, path: Path) -> None:
    """A file that its owner alone may read, so that a second run can print it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(password + "\n")
