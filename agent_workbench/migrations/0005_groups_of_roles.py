from typing import Any

from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.models import Q

GROUPS = {"agent": "Agents", "supervisor": "Supervisors", "admin": "Administrators"}
# As agent_workbench.roles had them when this was written.
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


def make_groups(apps: Any, schema_editor: Any) -> None:
    """With the permissions, which Django makes after all migrations only."""
    alias = schema_editor.connection.alias
    for label in ADMINISTRATED:
        app = apps.get_app_config(label)
        app.models_module = True
        create_permissions(app, verbosity=0, using=alias, apps=apps)
        app.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    supervisors = Q(pk__in=[])
    for app, codenames in SUPERVISORS.items():
        supervisors |= Q(content_type__app_label=app, codename__in=codenames)
    permitted = {
        "agent": Q(pk__in=[]),
        "supervisor": supervisors,
        "admin": Q(content_type__app_label__in=ADMINISTRATED),
    }
    groups = apps.get_model("auth", "Group").objects.using(alias)
    agents = apps.get_model("agent_workbench", "Agent").objects.using(alias)
    for role, name in GROUPS.items():
        group, _ = groups.get_or_create(name=name)
        group.permissions.add(*permissions.filter(permitted[role]))
        group.user_set.add(*agents.filter(role=role).values_list("user", flat=True))


class Migration(migrations.Migration):
    dependencies = [
        ("agent_workbench", "0004_roles_transfers_notes"),
        ("ai_chatbot", "0007_supervision_audit_trigger"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("sse", "0005_leases"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
