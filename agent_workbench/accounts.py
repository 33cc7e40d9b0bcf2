"""Agents as users: making them, and what their role lets them do in Django's admin."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from agent_workbench import tokens
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
    """A user with an agent profile.

    Raises django's ValidationError for a taken or unfit username and for a weak password.
    """
    User = get_user_model()
    user = User(username=username)
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


def follow_role(agent: Agent, former: str | None) -> None:
    """Give the user what the agent's role asks for, and take what `former` did.

    Administrators may do everything in Django's admin. Whoever's role has changed opens
    streams and logs in to the API anew. `former` None: the agent is new.
    """
    if Role.ADMIN in (agent.role, former):
        _administrate(agent.user, agent.role == Role.ADMIN)
    if former is not None:
        tokens.end_all(agent)


def leave(agent: Agent) -> None:
    """The agent's profile goes. So does what an administrator may do, but of the last one."""
    tokens.end_all(agent)
    if agent.role == Role.ADMIN and administrator_remains_without([agent.user_id]):
        _administrate(agent.user, False)


def check_administrator_remains(leaving: Any) -> None:
    """Raises django's ValidationError if without this user nobody could use Django's admin.

    In a transaction: of two administrators who demote each other at once, one does.
    """
    if not administrator_remains_without([leaving.pk]):
        raise ValidationError(
            _("This is the last administrator. Make somebody else one first."),
            code="last_administrator",
        )


@transaction.atomic
def administrator_remains_without(users: Collection[int]) -> bool:
    administrators = get_user_model().objects.filter(
        is_active=True, is_staff=True, is_superuser=True
    )
    known = administrators.select_for_update().order_by("pk").values_list("pk", flat=True)
    leaving = set(known) & set(users)
    return not leaving or len(leaving) < len(known)


def _administrate(user: Any, may: bool) -> None:
    user.is_staff = user.is_superuser = may
    user.save(update_fields=["is_staff", "is_superuser"])
