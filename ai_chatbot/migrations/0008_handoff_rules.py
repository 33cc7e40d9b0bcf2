"""The rules that were in the code until now, and two more: see ai_chatbot.handoff_rules."""

from django.db import migrations

RULES = [
    {"name": "Asks for a person", "kind": "request", "order": 10, "code": "explicit_request"},
    {"name": "Answers failed", "kind": "failures", "order": 20, "threshold": 2,
     "code": "reply_failed", "severity": "high"},
    {"name": "Answers did not help", "kind": "thumbs_down", "order": 30, "threshold": 2,
     "code": "not_helpful"},
    {"name": "Frustrated", "kind": "frustration", "order": 40, "code": "frustration",
     "severity": "high"},
]  # fmt: skip


def add(apps, schema_editor):
    rules = apps.get_model("ai_chatbot", "HandoffRule")
    if not rules.objects.exists():
        rules.objects.bulk_create([rules(**rule) for rule in RULES])


class Migration(migrations.Migration):
    dependencies = [("ai_chatbot", "0007_supervision_audit_trigger")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
