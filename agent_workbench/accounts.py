"""Making agents."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.db import transaction

from agent_workbench.models import Agent, Role


@transaction.atomic
def create_agent(
    username: str,
    password: str,
    *,
    role: str = Role.AGENT,
    display_name: str = "",
    max_sessions: int = 5,
) -> Agent:
    """A user with an agent profile; an administrator may also use Django's admin.

    Raises django's ValidationError for a taken or unfit username and for a weak password.
    """
    User = get_user_model()
    admin = role == Role.ADMIN
    user = User(username=username, is_staff=admin, is_superuser=admin)
    user.full_clean(exclude=["password"])
    validate_password(password, user)
    user.set_password(password)
    user.save()
    agent = Agent(
        user=user, display_name=display_name or username, role=role, max_sessions=max_sessions
    )
    agent.full_clean()
    agent.save()
    return agent
