"""Agents as users: making them, and what their role lets them do in Django's admin."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from agent_workbench import roles, tokens
from agent_workbench.models import Agent, Role
from ai_chatbot.conversation import audit


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

    Supervisors and administrators log in to Django's admin, where their group's permissions
    decide; administrators may do everything there. Whoever's role has changed opens streams
    and logs in to the API anew. `former` None: the agent is new.
    """
    _become(agent.user, agent.role, former)
    if former is not None:
        tokens.end_all(agent)
    audit.note(
        audit.ROLE_CHANGE,
        agent.changed_by,
        agent=agent.user_id,
        name=agent.username,
        role=agent.role,
        former=former,
    )


def leave(agent: Agent) -> None:
    """The agent's profile goes. So does what its role let the user do, but of the last
    administrator."""
    tokens.end_all(agent)
    if agent.role != Role.ADMIN or administrator_remains_without([agent.user_id]):
        _become(agent.user, None, agent.role)
    audit.note(
        audit.ROLE_CHANGE,
        agent.changed_by,
        agent=agent.user_id,
        name=agent.username,
        role=None,
        former=agent.role,
    )


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


def _become(user: Any, role: str | None, former: str | None) -> None:
    """Group and flags. What a user was given otherwise than by `former` stays."""
    if former is not None:
        user.groups.remove(roles.group_of(former))
    if role is not None:
        user.groups.add(roles.group_of(role))
    known = user.is_staff, user.is_superuser
    if Role.ADMIN in (role, former):
        user.is_superuser = role == Role.ADMIN
    if role in roles.STAFF:
        user.is_staff = True
    elif former in roles.STAFF:
        # A superuser who could not log in to the admin would be none.
        user.is_staff = user.is_superuser
    if (user.is_staff, user.is_superuser) != known:
        user.save(update_fields=["is_staff", "is_superuser"])
