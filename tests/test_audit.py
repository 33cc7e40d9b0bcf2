"""The audit log: who did what, for administrators to read and for nobody to change."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, models, transaction
from django.utils import timezone
from pytest_django import Settings

from agent_workbench import accounts
from agent_workbench.models import Agent, Role
from ai_chatbot.conversation import audit, handoff
from ai_chatbot.models import AuditEntry, ChatSession, HandoffRecord, Reason
from ai_chatbot.models.audit import AuditError
from tests.in_process import (
    Api,
    Colleague,
    Json,
    Visitor,
    browser,
    error_of,
    make_agent,
    make_session,
)

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


@pytest.fixture
def alice(settings: Settings) -> Agent:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return accounts.create_agent("alice", PASSWORD, display_name="Alice")


@pytest.fixture
def chief() -> Colleague:
    return Colleague(make_agent("chief", role=Role.ADMIN))


def entries(chief: Colleague, **query: Any) -> list[Json]:
    answer = chief.get("/audit", **query)
    assert answer.status_code == 200, answer.content
    return answer.json()["items"]


def last() -> tuple[str, int | None, str, Json]:
    entry = AuditEntry.objects.first()
    assert entry
    return entry.action, entry.actor_id, entry.actor_name, entry.details


def test_logins_and_logouts_are_noted(alice: Agent) -> None:
    login = {"username": "alice", "password": PASSWORD}
    known = AuditEntry.objects.count()
    error_of(Api("/workbench-api").post("/agent/login", {**login, "password": "x"}), 401)
    assert AuditEntry.objects.count() == known
    token = Api("/workbench-api").post("/agent/login", login).json()["token"]
    who = (alice.user_id, "Alice")
    assert last() == ("login", *who, {"via": "api"})
    assert Api("/workbench-api", token).post("/agent/logout").status_code == 204
    assert last() == ("logout", *who, {"via": "api"})
    page = browser()
    assert page.post("/workbench/login/", login).status_code == 302
    assert last() == ("login", *who, {"via": "page"})
    assert page.post("/workbench/logout/").status_code == 302
    assert last() == ("logout", *who, {"via": "page"})
    assert AuditEntry.objects.count() == known + 4


def test_logout_of_a_page_by_the_api_is_noted_once(alice: Agent) -> None:
    page = Api("/workbench-api")
    page.client.force_login(alice.user)
    assert page.post("/agent/logout").status_code == 204
    assert [e.details["via"] for e in AuditEntry.objects.filter(action="logout")] == ["page"]


def test_administration_without_a_profile_is_noted_by_its_username() -> None:
    root = get_user_model().objects.create_superuser("root", password=PASSWORD)
    site = browser()
    site.post("/admin/login/", {"username": "root", "password": PASSWORD, "next": "/admin/"})
    assert last() == ("login", root.pk, "root", {"via": "page"})


def test_change_of_role_is_noted_with_who_did_it(alice: Agent, chief: Colleague) -> None:
    site = browser()
    site.force_login(chief.agent.user)
    form = {
        "user": alice.user_id, "display_name": "Alice", "role": "supervisor",
        "max_sessions": "5",
    }  # fmt: skip
    url = f"/admin/agent_workbench/agent/{alice.pk}"
    assert site.post(f"{url}/change/", form).status_code == 302
    whose = {"agent": alice.user_id, "name": "alice"}
    who = ("role_change", chief.agent.user_id, "chief")
    assert last() == (*who, {**whose, "role": "supervisor", "former": "agent"})
    count = AuditEntry.objects.count()
    assert site.post(f"{url}/change/", form).status_code == 302
    assert AuditEntry.objects.count() == count
    assert site.post(f"{url}/delete/", {"post": "yes"}).status_code == 302
    assert last() == (*who, {**whose, "role": None, "former": "supervisor"})


def test_what_agents_do_with_a_session_is_noted(chief: Colleague) -> None:
    alice = Colleague(make_agent("alice"))
    visitor = Visitor()
    for verb in ("takeover", "release", "takeover", "close", "reopen"):
        assert alice.post(f"/sessions/{visitor.session}/{verb}").status_code == 200
    found = entries(chief, session=visitor.session)
    assert [entry["action"] for entry in found] == [
        "reopen", "close", "take_over", "release", "take_over",
    ]  # fmt: skip
    assert {entry["actor"]["id"] for entry in found} == {alice.agent.user_id}
    assert {entry["session_name"] for entry in found} == {visitor.session}


def test_what_is_refused_is_not_noted(chief: Colleague) -> None:
    alice, bob = Colleague(make_agent("alice")), Colleague(make_agent("bob"))
    visitor = Visitor()
    alice.post(f"/sessions/{visitor.session}/takeover")
    error_of(bob.post(f"/sessions/{visitor.session}/takeover"), 409)
    error_of(bob.post(f"/sessions/{visitor.session}/close"), 403)
    assert [e["action"] for e in entries(chief, session=visitor.session)] == ["take_over"]


def test_log_is_read_in_pages_and_filtered(chief: Colleague) -> None:
    AuditEntry.objects.all()._raw_delete(AuditEntry.objects.db)
    alice = make_agent("alice").person
    for number in range(5):
        audit.note(
            audit.EXPORT, alice if number % 2 else None, session=f"cs_{number}", n=number
        )
    exported = {"action": "export"}
    first = chief.get("/audit", limit=2, **exported).json()
    assert [entry["details"]["n"] for entry in first["items"]] == [4, 3]
    rest = chief.get("/audit", cursor=first["next"], **exported).json()
    assert [entry["details"]["n"] for entry in rest["items"]] == [2, 1, 0]
    assert rest["next"] is None
    assert rest["items"][0]["actor"] is None
    assert rest["items"][1]["actor"] == {"id": alice.id, "name": alice.name}
    assert len(entries(chief, actor=alice.id)) == 2
    assert len(entries(chief, session="cs_3")) == 1
    assert entries(chief, action="nothing") == []
    at = AuditEntry.objects.get(session_name="cs_2").at.isoformat()
    assert [entry["details"]["n"] for entry in entries(chief, since=at, **exported)] == [
        4,
        3,
        2,
    ]
    assert [entry["details"]["n"] for entry in entries(chief, until=at, **exported)] == [1, 0]
    assert entries(chief, until="2000-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-12:00"},
        {"actor": "alice"},
        {"actor": str(2**63)},
        {"cursor": "-1"},
        {"limit": "0"},
        {"limit": "201"},
        {"action": "\x00"},
        {"session": "\x00"},
        {"session": "x" * 65},
    ],
    ids=str,
)
def test_bad_filters_are_refused(chief: Colleague, query: Json) -> None:
    error_of(chief.get("/audit", **query), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("role", ["agent", "supervisor"])
def test_log_is_for_administrators(role: str) -> None:
    error = error_of(Colleague(make_agent(role, role=role)).get("/audit"), 403, "NOT_PERMITTED")
    assert error["details"] == {"role": role}


def test_entry_is_never_changed() -> None:
    """Not by SQL either."""
    audit.note(audit.EXPORT, None)
    entry = AuditEntry.objects.get()
    entry.action = "something else"
    with pytest.raises(AuditError):
        entry.save()
    with pytest.raises(AuditError):
        AuditEntry.objects.update(action="something else")
    with pytest.raises(AuditError):
        AuditEntry.objects.all().delete()
    with pytest.raises(AuditError):
        entry.delete()
    with pytest.raises(IntegrityError, match="audit log"), transaction.atomic():
        models.QuerySet(AuditEntry).update(action="something else")
    assert AuditEntry.objects.get().action == "export"


# --- In Django's admin ------------------------------------------------------------------


def test_log_and_records_are_only_read_in_the_admin(chief: Colleague) -> None:
    name = make_session()
    handoff.escalate(name, text="a parrot")
    record, entry = HandoffRecord.objects.get(), AuditEntry.objects.all()[0]
    site = browser()
    site.force_login(chief.agent.user)
    entry = AuditEntry.objects.all()[0]
    count = AuditEntry.objects.count()
    for model, key in (("auditentry", entry.pk), ("handoffrecord", record.pk)):
        url = f"/admin/ai_chatbot/{model}/"
        assert site.get(f"{url}{key}/change/").status_code == 200
        assert site.get(f"{url}add/").status_code == 403
        assert site.post(f"{url}{key}/delete/", {"post": "yes"}).status_code == 403
        assert site.post(f"{url}{key}/change/", {"action": "x"}).status_code == 403
        act = {"action": "delete_selected", "_selected_action": [key], "post": "yes"}
        site.post(url, act)
    assert AuditEntry.objects.count() == count
    assert HandoffRecord.objects.count() == 1
    page = site.get(f"/admin/ai_chatbot/chatsession/{record.session_id}/change/")
    assert "a parrot" in page.content.decode()


def test_records_go_with_their_session_and_what_was_noted_stays(chief: Colleague) -> None:
    name = make_session()
    handoff.escalate(name)
    handoff.close(name, chief.agent.person, reason=Reason.CLOSED_BY_AGENT)
    session = ChatSession.objects.get(name=name)
    site = browser()
    site.force_login(chief.agent.user)
    url = f"/admin/ai_chatbot/chatsession/{session.pk}/delete/"
    assert site.post(url, {"post": "yes"}).status_code == 302
    assert not HandoffRecord.objects.exists()
    assert [entry["action"] for entry in entries(chief, session=name)] == ["close"]
    assert timezone.now() - AuditEntry.objects.all()[0].at < timedelta(minutes=1)
