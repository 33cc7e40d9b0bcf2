"""What each role may do in Django's admin: a group of its name's, whose permissions decide.

In the workbench `Agent.supervises` decides. Administrators are superusers besides, so that
somebody can always use the admin, whatever becomes of the groups.
"""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from agent_workbench.models import Role

GROUPS = {
    Role.AGENT: "Agents",
    Role.SUPERVISOR: "Supervisors",
    Role.ADMIN: "Administrators",
}
# Who may log in to Django's admin.
STAFF = (Role.SUPERVISOR, Role.ADMIN)
# Supervisors read what was said and asked for, act on sessions, and edit rules, limits and
# skills. Accounts, roles, the audit log and the log of events are the administrators'.
SUPERVISORS = {
    "ai_chatbot": (
        "view_chatsession",
        "supervise_sessions",
        "view_message",
        "view_messagefeedback",
        "view_handoffrecord",
        "view_handoffrule",
        "add_handoffrule",
        "change_handoffrule",
        "delete_handoffrule",
        "view_article",
        "view_schedule",
        "view_openingspan",
        "view_specialday",
        "view_mail",
    ),
    "agent_workbench": (
        "view_agent",
        "change_agent",
        "view_note",
        "view_transferrequest",
        "view_assistrequest",
    ),
}
ADMINISTRATED = ("ai_chatbot", "agent_workbench", "sse", "auth")


def group_of(role: str) -> Group:
    """Made with its permissions if somebody deleted it; one that is there stays as it is."""
    group, made = Group.objects.get_or_create(name=GROUPS[Role(role)])
    if made:
        group.permissions.set(Permission.objects.filter(_permissions(role)))
    return group


def _permissions(role: str) -> Q:
    if role == Role.ADMIN:
        return Q(content_type__app_label__in=ADMINISTRATED)
    permitted = Q(pk__in=[])
    if role == Role.SUPERVISOR:
        for app, codenames in SUPERVISORS.items():
            permitted |= Q(content_type__app_label=app, codename__in=codenames)
    return permitted
