from typing import Any

from django.db import migrations

# Only of updates: rows go with a retention, and when tests empty the tables. On SQLite a
# migration that makes the table anew has to make the trigger anew.
SQLITE = """
CREATE TRIGGER audit_entry_stays BEFORE UPDATE ON ai_chatbot_auditentry
BEGIN SELECT RAISE(ABORT, 'The audit log is not changed.'); END
"""
POSTGRESQL = """
CREATE FUNCTION audit_entry_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'The audit log is not changed.' USING ERRCODE = 'check_violation'; END
$$;
CREATE TRIGGER audit_entry_stays BEFORE UPDATE ON ai_chatbot_auditentry
FOR EACH ROW EXECUTE FUNCTION audit_entry_stays();
"""


def make_trigger(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    schema_editor.execute(POSTGRESQL if vendor == "postgresql" else SQLITE)


def drop_trigger(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION audit_entry_stays() CASCADE")
    else:
        schema_editor.execute("DROP TRIGGER audit_entry_stays")


class Migration(migrations.Migration):
    dependencies = [("ai_chatbot", "0006_schedule_stamp")]

    operations = [
        migrations.AlterModelOptions(
            name="auditentry",
            options={
                "default_permissions": ["view"],
                "ordering": ["-pk"],
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit log",
            },
        ),
        migrations.AlterModelOptions(
            name="chatsession",
            options={
                "ordering": ["-created_at"],
                "permissions": [
                    ("supervise_sessions", "Can release and close everybody's conversations")
                ],
                "verbose_name": "chat session",
                "verbose_name_plural": "chat sessions",
            },
        ),
        migrations.RunPython(make_trigger, drop_trigger),
    ]
