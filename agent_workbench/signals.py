"""Who logs out, gets another password or role, is deactivated or deleted loses open streams at
once, in every process; and what a role lets a user do follows the role, whoever changes it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.dispatch import receiver

from agent_workbench import accounts, tokens
from agent_workbench.models import Agent
from ai_chatbot.conversation import audit, availability, people
from ai_chatbot.conversation.people import Person


@receiver(user_logged_in, dispatch_uid="agent_workbench.logged_in")
def note_login(user: Any, **_: Any) -> None:
    """By a page, here or in the admin, whoever it is."""
    audit.note(audit.LOGIN, _person(user), via="page")


@receiver(user_logged_out, dispatch_uid="agent_workbench.logged_out")
def end_streams_of_logged_out_page(user: Any, **_: Any) -> None:
    """A page's login has ended, here or in the admin; tokens of API clients go on."""
    if user is None:
        return
    for agent in Agent.objects.filter(user=user):
        tokens.end_streams(agent)
    audit.note(audit.LOGOUT, _person(user), via="page")


def _person(user: Any) -> Person:
    agent = Agent.objects.filter(user=user).first()
    return agent.person if agent else people.administration(user)


@receiver(post_save, sender=settings.AUTH_USER_MODEL, dispatch_uid="agent_workbench.active")
def end_access_of_inactive_user(instance: Any, **_: Any) -> None:
    if not instance.is_active:
        for agent in Agent.objects.filter(user_id=instance.pk):
            tokens.end_all(agent)


@receiver(pre_save, sender=settings.AUTH_USER_MODEL, dispatch_uid="agent_workbench.password")
def end_access_by_old_password(
    instance: Any, update_fields: Collection[str] | None = None, **_: Any
) -> None:
    """Django ends the pages' logins itself; tokens were given for the password as well."""
    if update_fields is not None and "password" not in update_fields:
        # As each login does, which notes its time.
        return
    for agent in Agent.objects.filter(user_id=instance.pk).exclude(
        user__password=instance.password
    ):
        tokens.end_all(agent)


@receiver(pre_save, sender=Agent, dispatch_uid="agent_workbench.former_role")
def note_former_role(
    instance: Agent, update_fields: Collection[str] | None = None, **_: Any
) -> None:
    instance.former_role = instance.role
    if update_fields is None or "role" in update_fields:
        known = Agent.objects.filter(pk=instance.pk)
        instance.former_role = known.values_list("role", flat=True).first()


@receiver(post_save, sender=Agent, dispatch_uid="agent_workbench.role")
def follow_role(instance: Agent, raw: bool = False, **_: Any) -> None:
    if not raw and instance.former_role != instance.role:
        accounts.follow_role(instance, instance.former_role)


@receiver(pre_delete, sender=Agent, dispatch_uid="agent_workbench.deleted")
def end_access_of_deleted_agent(instance: Agent, **_: Any) -> None:
    accounts.leave(instance)


@receiver(post_save, sender=Agent, dispatch_uid="agent_workbench.watch_saved")
@receiver(post_delete, sender=Agent, dispatch_uid="agent_workbench.watch_deleted")
@receiver(post_save, sender=settings.AUTH_USER_MODEL, dispatch_uid="agent_workbench.watch_user")
def wake_the_watch(**_: Any) -> None:
    """Somebody came, left, was deactivated, or may have more conversations."""
    transaction.on_commit(availability.bell.ring, robust=True)
