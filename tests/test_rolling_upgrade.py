"""Processes of the version before go on writing after the new one's migrations."""

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddField
from django.db.models import Model

from agent_workbench import tokens
from agent_workbench.models import AgentToken, TokenKind
from ai_chatbot.models import ChatSession
from tests.in_process import make_agent, make_session

OURS = {"ai_chatbot", "agent_workbench", "sse"}


def added_columns(label: str) -> set[str]:
    return {
        operation.name
        for (app, _), migration in MigrationLoader(None).disk_migrations.items()
        for operation in migration.operations
        if app in OURS
        and isinstance(operation, AddField)
        and label == f"{app}.{operation.model_name}"
    }


def write_as_before(row: Model) -> None:
    """The table's rows once more, without the columns that the version before does not know."""
    table, added = row._meta.db_table, added_columns(row._meta.label_lower)
    assert added
    known = [field.column for field in row._meta.concrete_fields if field.name not in added]
    columns = ", ".join(known)
    with connection.cursor() as cursor:
        for statement in (
            f"CREATE TEMPORARY TABLE before AS SELECT {columns} FROM {table}",  # noqa: S608
            f"DELETE FROM {table}",  # noqa: S608
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM before",  # noqa: S608
            "DROP TABLE before",
        ):
            cursor.execute(statement)


@pytest.mark.django_db
def test_the_version_before_can_begin_sessions() -> None:
    session = ChatSession.objects.get(name=make_session())
    write_as_before(session)
    session.refresh_from_db()
    assert session.origin == ""


@pytest.mark.django_db
def test_the_version_before_can_log_agents_in() -> None:
    tokens.issue(make_agent("alice"))
    token = AgentToken.objects.filter(kind=TokenKind.ACCESS).get()
    write_as_before(token)
    token.refresh_from_db()
    assert token.family == ""
