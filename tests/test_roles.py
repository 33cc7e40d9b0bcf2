"""What an agent may do in the admin follows the role, and one administrator stays."""

from html import unescape
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from pytest_django import Settings

from agent_workbench import accounts, presence, roles, tokens
from agent_workbench.models import Agent, PresenceStatus, Role
from ai_chatbot.conversation import handoff, verbs
from ai_chatbot.models import AuditEntry
from sse.log.targets import CONTROL
from tests.in_process import Api, browser, events_of, make_session

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
LAST = "This is the last administrator. Make somebody else one first."


@pytest.fixture
def chief(settings: Settings) -> Agent:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return accounts.create_agent("chief", PASSWORD, role=Role.ADMIN)


@pytest.fixture
def carol(chief: Agent) -> Agent:
    return accounts.create_agent("carol", PASSWORD)


def flags(agent: Agent) -> tuple[bool, bool]:
    user = get_user_model().objects.get(pk=agent.user_id)
    return user.is_staff, user.is_superuser


def groups(agent: Agent) -> list[str]:
    return list(agent.user.groups.values_list("name", flat=True))


def become(agent: Agent, role: str) -> None:
    agent.role = role
    agent.save()


def site_of(agent: Agent) -> Client:
    client = browser()
    client.force_login(agent.user)
    return client


def edit_role(site: Client, agent: Agent, role: str) -> Any:
    form = {"user": agent.user_id, "display_name": "x", "role": role, "max_sessions": "5"}
    return site.post(f"/admin/agent_workbench/agent/{agent.pk}/change/", form)


@pytest.mark.parametrize(
    ("role", "expected", "group"),
    [
        ("agent", (False, False), "Agents"),
        ("supervisor", (True, False), "Supervisors"),
        ("admin", (True, True), "Administrators"),
    ],
)
def test_group_and_flags_follow_the_role(
    chief: Agent, carol: Agent, role: str, expected: tuple[bool, bool], group: str
) -> None:
    made = accounts.create_agent("made", PASSWORD, role=role)
    for former in Role.values:
        become(carol, former)
        become(carol, role)
        for agent in (carol, made):
            assert flags(agent) == expected
            assert groups(agent) == [group]
    assert site_of(made).get("/admin/").status_code == (200 if expected[0] else 302)
    made.delete()
    assert flags(made) == (False, False)
    assert groups(made) == []


def test_groups_of_a_new_database_are_those_that_are_made_later() -> None:
    def permitted() -> dict[str, set[str]]:
        return {
            role: {
                f"{app}.{codename}"
                for app, codename in roles.group_of(role).permissions.values_list(
                    "content_type__app_label", "codename"
                )
            }
            for role in Role.values
        }

    migrated = permitted()
    Group.objects.all().delete()
    assert permitted() == migrated
    assert migrated["agent"] == set()
    assert migrated["supervisor"] == {
        f"{app}.{codename}" for app, names in roles.SUPERVISORS.items() for codename in names
    }
    assert "auth.change_user" in migrated["admin"]


def test_users_of_an_older_version_are_put_into_their_groups(
    chief: Agent, carol: Agent
) -> None:
    Group.objects.all().delete()
    older = Group.objects.create(name="Agents")
    older.permissions.set(Permission.objects.filter(codename="view_article"))
    assert groups(chief) == groups(carol) == []
    migration = "0005_groups_of_roles"
    state = MigrationLoader(connection).project_state(("agent_workbench", migration))
    module = import_module(f"agent_workbench.migrations.{migration}")
    module.make_groups(state.apps, SimpleNamespace(connection=connection))
    assert (groups(chief), groups(carol)) == (["Administrators"], ["Agents"])
    # A group that somebody has made keeps what it had.
    assert older.permissions.count() == 1
    supervisors = Group.objects.get(name="Supervisors").permissions
    assert supervisors.filter(codename="supervise_sessions").exists()


def test_supervisor_sees_sessions_and_acts_on_them_in_the_admin(carol: Agent) -> None:
    become(carol, Role.SUPERVISOR)
    alice = accounts.create_agent("alice", PASSWORD)
    name = make_session()
    verbs.write(name, content="a parrot", client_id="1")
    session = handoff.take_over(name, alice.person)
    site = site_of(carol)
    page = site.get(f"/admin/ai_chatbot/chatsession/{session.pk}/change/")
    assert "a parrot" in page.content.decode()
    act = {"action": "close_sessions", "_selected_action": [session.pk]}
    assert site.post("/admin/ai_chatbot/chatsession/", act).status_code == 302
    session.refresh_from_db()
    assert session.status == "closed"
    entry = AuditEntry.objects.get(action="close")
    assert (entry.actor_id, entry.session_name) == (carol.user_id, name)


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ("ai_chatbot/handoffrule/add", 200),
        ("ai_chatbot/handoffrecord", 200),
        ("ai_chatbot/auditentry", 403),
        ("ai_chatbot/article", 200),
        ("ai_chatbot/article/add", 403),
        ("ai_chatbot/chatsession", 200),
        ("agent_workbench/agent", 200),
        ("agent_workbench/agent/add", 403),
        ("auth/user", 403),
        ("auth/group", 403),
        ("sse/event", 403),
    ],
)
def test_permissions_of_the_group_decide_in_the_admin(
    chief: Agent, carol: Agent, page: str, status: int
) -> None:
    become(carol, Role.SUPERVISOR)
    site = site_of(carol)
    assert site.get(f"/admin/{page}/").status_code == status
    assert site_of(chief).get(f"/admin/{page}/").status_code in (200, 403)
    # Not the role: whoever takes the permissions from the group takes them from its members.
    roles.group_of(Role.SUPERVISOR).permissions.clear()
    assert site.get(f"/admin/{page}/").status_code == 403
    assert carol.supervises


def test_supervisor_edits_limits_and_gives_no_roles(carol: Agent) -> None:
    become(carol, Role.SUPERVISOR)
    alice = accounts.create_agent("alice", PASSWORD)
    assert edit_role(site_of(carol), alice, "admin").status_code == 302
    alice.refresh_from_db()
    assert (alice.role, alice.display_name) == ("agent", "x")


def test_superuser_who_is_no_longer_a_supervisor_stays_one() -> None:
    root = get_user_model().objects.create_superuser("root")
    agent = Agent.objects.create(user=root, display_name="Root", role=Role.SUPERVISOR)
    become(agent, Role.AGENT)
    assert flags(agent) == (True, True)


def test_role_changed_in_the_admin_changes_what_the_user_may(
    chief: Agent, carol: Agent
) -> None:
    site, hers = site_of(chief), site_of(carol)
    assert edit_role(site, carol, "admin").status_code == 302
    assert flags(carol) == (True, True)
    assert hers.get("/admin/auth/user/").status_code == 200
    assert edit_role(site, carol, "agent").status_code == 302
    assert flags(carol) == (False, False)
    assert hers.get("/admin/auth/user/").status_code == 302


@pytest.mark.parametrize("how", [{}, {"update_fields": ["role"]}], ids=str)
def test_role_changed_by_saving_it_changes_what_the_user_may(
    carol: Agent, how: dict[str, Any]
) -> None:
    carol.role = Role.ADMIN
    carol.save(**how)
    assert flags(carol) == (True, True)
    again = Agent.objects.get(pk=carol.pk)
    again.role = Role.AGENT
    again.save(**how)
    assert flags(carol) == (False, False)


def test_roles_are_not_changed_behind_the_users_backs(carol: Agent) -> None:
    with pytest.raises(TypeError, match="role"):
        Agent.objects.filter(pk=carol.pk).update(role=Role.ADMIN)
    carol.role = Role.ADMIN
    with pytest.raises(TypeError, match="role"), transaction.atomic():
        Agent.objects.bulk_update([carol], ["role"])
    assert flags(carol) == (False, False)
    Agent.objects.update(max_sessions=9)
    carol.refresh_from_db()
    assert (carol.role, carol.max_sessions) == ("agent", 9)


@pytest.mark.parametrize("role", ["admin", "supervisor", "agent"])
def test_changed_role_ends_tokens_and_streams(chief: Agent, carol: Agent, role: str) -> None:
    agent = chief if role == "agent" else carol
    spare = accounts.create_agent("spare", PASSWORD, role=Role.ADMIN)
    pair = tokens.issue(agent)
    edit_role(site_of(spare), agent, role)
    assert Api("/workbench-api", pair["token"]).get("/agent/profile").status_code == 401
    refresh = {"refresh_token": pair["refresh_token"]}
    assert Api("/workbench-api").post("/agent/refresh", refresh).status_code == 401
    assert f"agent:{agent.pk}" in [e["payload"]["subject"] for e in events_of(CONTROL)]


def test_other_changes_of_an_agent_end_nothing(chief: Agent, carol: Agent) -> None:
    pair = tokens.issue(carol)
    assert edit_role(site_of(chief), carol, "agent").status_code == 302
    assert Api("/workbench-api", pair["token"]).get("/agent/profile").status_code == 200


def test_profile_of_a_superuser_takes_nothing_from_them(chief: Agent) -> None:
    root = get_user_model().objects.create_superuser("root")
    agent = Agent.objects.create(user=root, display_name="Root")
    assert flags(agent) == (True, True)


def test_deleted_administrator_is_none_in_djangos_admin_either(chief: Agent) -> None:
    other = accounts.create_agent("other", PASSWORD, role=Role.ADMIN)
    other.delete()
    assert flags(other) == (False, False)
    # The last one's account is left as it is, so that the admin is not locked for good.
    chief.delete()
    assert flags(chief) == (True, True)


# --- The last administrator -------------------------------------------------------------


def test_last_administrator_cannot_be_demoted(chief: Agent, carol: Agent) -> None:
    site = site_of(chief)
    page = edit_role(site, chief, "agent")
    assert page.status_code == 200
    assert LAST in unescape(page.content.decode())
    assert flags(chief) == (True, True)
    assert Agent.objects.get(pk=chief.pk).role == "admin"
    edit_role(site, carol, "admin")
    assert edit_role(site, chief, "agent").status_code == 302
    assert flags(chief) == (False, False)


def account_form(user: User, **changes: str) -> dict[str, str]:
    form = {
        "username": user.username,
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
    }
    return {name: value for name, value in (form | changes).items() if value}


@pytest.mark.parametrize("taken", ["is_active", "is_staff", "is_superuser"])
def test_last_administrator_cannot_be_shut_out(chief: Agent, carol: Agent, taken: str) -> None:
    site, url = site_of(chief), f"/admin/auth/user/{chief.user_id}/change/"
    form = account_form(chief.user, **{taken: ""})
    page = site.post(url, form)
    assert page.status_code == 200
    assert LAST in unescape(page.content.decode())
    assert flags(chief) == (True, True)
    # Somebody who is deactivated is no other administrator.
    gone = accounts.create_agent("gone", PASSWORD, role=Role.ADMIN)
    gone.user.is_active = False
    gone.user.save()
    assert site.post(url, form).status_code == 200
    edit_role(site, carol, "admin")
    assert site.post(url, form).status_code == 302
    chief.user.refresh_from_db()
    assert not getattr(chief.user, taken)


def test_last_administrators_cannot_be_deleted(chief: Agent) -> None:
    other = accounts.create_agent("other", PASSWORD, role=Role.ADMIN)
    site = site_of(chief)
    form = {
        "action": "delete_selected",
        "_selected_action": [chief.user_id, other.user_id],
        "post": "yes",
    }
    page = site.post("/admin/auth/user/", form)
    assert "The last administrator" in page.content.decode()
    assert get_user_model().objects.count() == 2
    url = f"/admin/auth/user/{other.user_id}/delete/"
    assert site.post(url, {"post": "yes"}).status_code == 302
    page = site.post(f"/admin/auth/user/{chief.user_id}/delete/", {"post": "yes"})
    assert "The last administrator" in page.content.decode()
    assert get_user_model().objects.get().username == "chief"


def test_staff_who_are_no_administrators_give_no_roles(carol: Agent) -> None:
    carol.user.is_staff = True
    carol.user.save()
    carol.user.user_permissions.set(
        Permission.objects.filter(codename__in=["change_agent", "add_agent", "view_user"])
    )
    site = site_of(carol)
    assert edit_role(site, carol, "admin").status_code == 302
    added = get_user_model().objects.create_user("added")
    form = {"user": added.pk, "display_name": "x", "role": "admin", "max_sessions": "5"}
    assert site.post("/admin/agent_workbench/agent/add/", form).status_code == 302
    assert [agent.role for agent in Agent.objects.filter(user__in=[added, carol.user])] == [
        "agent",
        "agent",
    ]


def test_profile_stays_its_users(chief: Agent, carol: Agent) -> None:
    form = {"user": carol.user_id, "display_name": "x", "role": "admin", "max_sessions": "5"}
    carol.delete()
    site_of(chief).post(f"/admin/agent_workbench/agent/{chief.pk}/change/", form)
    assert Agent.objects.get(pk=chief.pk).user_id == chief.user_id


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_presence_does_not_wait_for_a_user_who_is_being_changed(carol: Agent) -> None:
    """Whoever changes a user locks the agent next: two who wait for each other."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM auth_user WHERE id = %s FOR UPDATE", [carol.user_id])
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '500ms'")
        assert presence.arrive(carol).status == PresenceStatus.ONLINE
        assert presence.choose(carol, "busy").status == PresenceStatus.BUSY
    finally:
        other.rollback()
        other.close()
        connection.close()
