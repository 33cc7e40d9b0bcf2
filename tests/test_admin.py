"""Django's admin: its pages open with data in them, and its actions go through the verbs."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agent_workbench.forms import AgentForm
from ai_chatbot import events
from ai_chatbot.conversation import handoff, verbs
from ai_chatbot.demo import load_articles
from ai_chatbot.models import Article, ChatSession, Message, Reason
from sse.models import Event, Target
from tests.cookie_client import CookieClient
from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.services import Services
from tests.in_process import browser, events_of, make_agent, make_session

OURS = ("ai_chatbot", "agent_workbench", "sse")
MODELS = sorted(
    (model for model in admin.site._registry if model._meta.app_label in OURS),
    key=lambda model: model._meta.label,
)
NAMES = [model._meta.label_lower for model in MODELS]


def address(page: str, model: Any, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def site(db: None) -> Client:
    """A superuser's browser."""
    client = browser()
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client


@pytest.fixture
def data(db: None) -> dict[str, str]:
    """Sessions in every status, by name of the status, and something of everything else."""
    alice = make_agent("alice")
    load_articles()
    names = {}
    for status in ("bot_active", "pending_manual", "manual_live", "closed"):
        names[status] = name = make_session(nickname=f"<b>Zoë</b> & {status}")
        verbs.write(name, content=f"<script>alert({status!r})</script>", client_id="1")
        if status != "bot_active":
            handoff.escalate(name, text="broken lamp")
        if status in ("manual_live", "closed"):
            handoff.take_over(name, alice.person)
            verbs.write_as_agent(name, alice.person, content="hi", client_id="1")
        if status == "closed":
            handoff.close(name, alice.person, reason=Reason.CLOSED_BY_AGENT)
    return names


def test_everything_that_is_promised_is_in_the_admin() -> None:
    assert {
        "ai_chatbot.chatsession",
        "ai_chatbot.article",
        "agent_workbench.agent",
        "sse.event",
        "sse.target",
        "sse.process",
    } <= set(NAMES)


@pytest.mark.usefixtures("data")
def test_front_page_lists_our_applications(site: Client) -> None:
    page = site.get("/admin/")
    assert page.status_code == 200
    for model in MODELS:
        assert address("changelist", model) in page.content.decode()


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    "language",
    ["en", pytest.param("zh-hans", marks=pytest.mark.database_independent)],
)
@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_list_opens_sorted_searched_and_filtered(
    site: Client, model: Any, language: str
) -> None:
    listed = address("changelist", model)
    site.cookies.load({"django_language": language})
    page = site.get(listed)
    assert page.status_code == 200
    text = page.content.decode()
    links = {unescape(link) for link in re.findall(r'href="(\?[^"]+)"', text)}
    if model._default_manager.exists():
        assert any(link.startswith("?o=") for link in links)
    if admin.site._registry[model].search_fields:
        links |= {"?q=zzz", "?q=%F0%9F%A6%89'\"%25"}
    for link in links:
        assert site.get(listed + link).status_code == 200, link


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_every_object_opens(site: Client, model: Any) -> None:
    if admin.site._registry[model].has_add_permission(site.get("/admin/").wsgi_request):
        assert site.get(address("add", model)).status_code == 200
    for row in model._default_manager.all()[:8]:
        assert site.get(address("change", model, row.pk)).status_code == 200
        assert site.get(address("history", model, row.pk)).status_code == 200


def listed_names(site: Client, query: str) -> set[str]:
    text = site.get(f"{address('changelist', ChatSession)}?{query}").content.decode()
    return set(re.findall(r">(cs_[\w-]+)</a>", text))


def test_sessions_are_filtered_and_searched(site: Client, data: dict[str, str]) -> None:
    assert listed_names(site, "") == set(data.values())
    assert listed_names(site, "status__exact=closed") == {data["closed"]}
    agent = ChatSession.objects.get(name=data["manual_live"]).agent_id
    assert listed_names(site, f"agent__id__exact={agent}") == {
        data["manual_live"],
        data["closed"],
    }
    assert listed_names(site, "q=pending_manual") == {data["pending_manual"]}
    assert listed_names(site, f"q={data['bot_active']}") == {data["bot_active"]}
    # Found by two of its messages, listed once.
    assert listed_names(site, "q=alert") == set(data.values())
    page = site.get(f"{address('changelist', ChatSession)}?q=e")
    assert page.context["cl"].result_count == len(listed_names(site, "q=e"))


def test_session_shows_its_thread_and_nothing_of_it_can_be_changed(
    site: Client, data: dict[str, str]
) -> None:
    session = ChatSession.objects.get(name=data["manual_live"])
    before = (
        list(Message.objects.values()),
        list(ChatSession.objects.values()),
        Event.objects.count(),
    )
    url = address("change", ChatSession, session.pk)
    text = site.get(url).content.decode()
    assert "&lt;script&gt;alert(&#x27;manual_live&#x27;)" in text
    assert "<script>alert(" not in text
    assert session.token_digest not in text
    for field in ("content", "status", "role", "agent", "nickname", "metadata"):
        assert f'name="messages-0-{field}"' not in text
        assert f'name="{field}"' not in text
    form = {
        "status": "closed",
        "agent": "",
        "nickname": "Eve",
        "messages-TOTAL_FORMS": "1",
        "messages-INITIAL_FORMS": "1",
        "messages-0-id": str(session.messages.first().pk),
        "messages-0-session": str(session.pk),
        "messages-0-content": "rewritten",
        "messages-0-DELETE": "on",
    }
    assert site.post(url, form).status_code in (200, 302, 403)
    now = (
        list(Message.objects.values()),
        list(ChatSession.objects.values()),
        Event.objects.count(),
    )
    assert [rows[0]["content"] for rows in (before[0], now[0])] == [before[0][0]["content"]] * 2
    assert [row["status"] for row in now[1]] == [row["status"] for row in before[1]]
    assert [row["nickname"] for row in now[1]] == [row["nickname"] for row in before[1]]
    assert now[0] == before[0]
    assert now[2] == before[2]


@pytest.mark.parametrize("levels", [11, 500, 900, 930, 950, 980])
def test_session_with_deeply_nested_metadata_opens(
    site: Client, data: dict[str, str], levels: int
) -> None:
    """As it may be stored; it does not come in any more."""
    session = ChatSession.objects.get(name=data["pending_manual"])
    nested = '{"a":' * levels + "1" + "}" * levels
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ai_chatbot_chatsession SET metadata = %s WHERE id = %s",
            [nested, session.pk],
        )
    page = site.get(address("change", ChatSession, session.pk))
    assert page.status_code == 200
    assert "nested_too_deep" in page.content.decode()
    assert site.get(address("changelist", ChatSession)).status_code == 200
    handoff.cancel_escalation(session.name)
    session.refresh_from_db()
    assert session.metadata["nested_too_deep"].replace(" ", "") == nested


def test_sessions_and_log_cannot_be_added_by_hand(site: Client, data: dict[str, str]) -> None:
    for model in MODELS:
        if model._meta.app_label == "sse" or model is ChatSession:
            assert site.get(address("add", model)).status_code == 403


def test_log_can_neither_be_changed_nor_deleted(site: Client, data: dict[str, str]) -> None:
    for model in (Event, Target):
        count, row = model.objects.count(), model.objects.first()
        assert site.post(address("change", model, row.pk), {"data": "{}"}).status_code == 403
        assert site.post(address("delete", model, row.pk), {"post": "yes"}).status_code == 403
        run(site, model, "delete_selected", row.pk)
        assert model.objects.count() == count


def test_event_in_the_log_shows_its_type_and_data(site: Client, data: dict[str, str]) -> None:
    event = Event.objects.filter(target__name=data["closed"]).last()
    listed = site.get(address("changelist", Event), {"q": data["closed"]}).content.decode()
    assert "status_change" in listed
    page = site.get(address("change", Event, event.pk)).content.decode()
    assert "closed_by_agent" in page


def run(site: Client, model: Any, action: str, *keys: int) -> str:
    """Run an action; the page that follows it."""
    form = {"action": action, "_selected_action": [str(key) for key in keys]}
    answer = site.post(address("changelist", model), form, follow=True)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def keys(*names: str) -> list[int]:
    return [ChatSession.objects.get(name=name).pk for name in names]


def test_release_action_is_the_verb(site: Client, data: dict[str, str]) -> None:
    page = run(site, ChatSession, "release_to_ai", *keys(*data.values()))
    session = ChatSession.objects.get(name=data["manual_live"])
    assert (session.status, session.agent, session.escalated_at) == ("bot_active", None, None)
    for target in (session.name, events.AGENTS):
        change = events_of(target, "status_change")[-1]["payload"]
        assert (change["previous"], change["status"]) == ("manual_live", "bot_active")
        assert change["reason"] == "released"
    # The others have nothing to release, are left as they are, and named.
    for status in ("bot_active", "pending_manual", "closed"):
        assert ChatSession.objects.get(name=data[status]).status == status
        assert f"No agent has this session. ({data[status]})" in page
    assert "1 session was changed." in page


def test_close_action_is_the_verb(site: Client, data: dict[str, str]) -> None:
    names = [data[status] for status in ("bot_active", "pending_manual", "manual_live")]
    page = run(site, ChatSession, "close_sessions", *keys(*names))
    assert "3 sessions were changed." in page
    for name in names:
        assert ChatSession.objects.get(name=name).status == "closed"
        change = events_of(name, "status_change")[-1]["payload"]
        assert (change["status"], change["reason"]) == ("closed", "closed_by_agent")
        assert events_of(name, "message")[-1]["payload"]["role"] == "system"
    removed = events_of(events.AGENTS, "queue_update")[-1]["payload"]
    assert (removed["change"], removed["session"]["session_name"]) == ("removed", names[1])


def test_staff_who_may_only_look_cannot_run_the_actions(data: dict[str, str]) -> None:
    user = get_user_model().objects.create_user("looker", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_chatsession"))
    client = browser()
    client.force_login(user)
    assert (
        data["manual_live"] in client.get(address("changelist", ChatSession)).content.decode()
    )
    run(client, ChatSession, "close_sessions", *keys(data["manual_live"]))
    assert ChatSession.objects.get(name=data["manual_live"]).status == "manual_live"


@pytest.mark.django_db
def test_admin_is_for_staff_only() -> None:
    client = browser()
    client.force_login(make_agent("alice").user)
    for model in MODELS:
        answer = client.get(address("changelist", model))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")


def test_article_is_edited(site: Client, data: dict[str, str]) -> None:
    article = Article.objects.filter(language="en").first()
    url = address("change", Article, article.pk)
    form = {
        "slug": f"{article.slug}-2",
        "language": "zh-hans",
        "title": "新标题",
        "body": "新的正文",
        "url": "/help/x/",
        "published": "on",
    }
    assert site.post(url, form).status_code == 302
    article.refresh_from_db()
    assert (article.title, article.body, article.language) == ("新标题", "新的正文", "zh-hans")
    assert "新标题" in site.get(address("changelist", Article), {"q": "新标"}).content.decode()
    again = Article.objects.filter(language="en").first()
    refused = site.post(address("change", Article, again.pk), form)
    assert refused.status_code == 200
    assert refused.context["errors"]


@pytest.mark.parametrize(
    ("name", "length"), [("title", 201), ("url", 301), ("body", 100_001), ("slug", 101)]
)
def test_article_of_any_length_is_not_stored(site: Client, name: str, length: int) -> None:
    values = {"slug": "s", "language": "en", "title": "t", "body": "b", "url": "/u/"}
    answer = site.post(address("add", Article), values | {name: "x" * length})
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [name]
    assert not Article.objects.exists()


def test_agents_role_is_edited_and_their_presence_is_not(
    site: Client, data: dict[str, str]
) -> None:
    alice = get_user_model().objects.get(username="alice").agent_profile
    form = {
        "user": alice.user_id,
        "display_name": "Alice A.",
        "role": "admin",
        "max_sessions": "7",
        "status": "offline",
    }
    assert site.post(address("change", type(alice), alice.pk), form).status_code == 302
    alice.refresh_from_db()
    assert (alice.display_name, alice.role, alice.max_sessions) == ("Alice A.", "admin", 7)
    assert alice.status == "online"
    assert (alice.languages, alice.skills) == ([], [])
    refused = site.post(address("change", type(alice), alice.pk), form | {"max_sessions": "0"})
    assert refused.status_code == 200
    assert refused.context["errors"]


@pytest.mark.parametrize(
    ("name", "written", "stored"),
    [
        ("languages", " EN, zh-Hans;en，de ", ["en", "zh-hans", "de"]),
        ("languages", "", []),
        ("languages", "english", None),
        ("languages", '["en"]', None),
        ("languages", ", ".join(f"en-{n:03}" for n in range(51)), None),
        ("skills", "Billing, VIP-care\nreturns", ["billing", "vip-care", "returns"]),
        ("skills", "退货、发票", ["退货", "发票"]),
        ("skills", "a/b", None),
        ("skills", "x" * 51, None),
    ],
)
def test_languages_and_skills_are_written_with_commas(
    site: Client, data: dict[str, str], name: str, written: str, stored: list[str] | None
) -> None:
    alice = get_user_model().objects.get(username="alice").agent_profile
    path = address("change", type(alice), alice.pk)
    form = {"display_name": "Alice", "role": "agent", "max_sessions": "5", name: written}
    answer = site.post(path, form)
    alice.refresh_from_db()
    if stored is None:
        assert list(answer.context["adminform"].form.errors) == [name]
        assert getattr(alice, name) == []
        return
    assert answer.status_code == 302
    assert getattr(alice, name) == stored
    shown = site.get(path).context["adminform"].form[name].value()
    assert site.post(path, form | {name: shown}).status_code == 302
    alice.refresh_from_db()
    assert getattr(alice, name) == stored


def test_what_changes_while_an_agent_is_edited_stays(
    site: Client, data: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = get_user_model().objects.get(username="alice").agent_profile
    now = timezone.now()
    meanwhile = {
        "status": "busy", "status_chosen": False, "seen_at": now, "assigned_at": now,
    }  # fmt: skip
    clean = AgentForm.clean

    def clean_late(form: AgentForm) -> Any:
        type(alice).objects.filter(pk=alice.pk).update(**meanwhile)
        return clean(form)

    monkeypatch.setattr(AgentForm, "clean", clean_late)
    form = {"display_name": "Alicia", "role": "supervisor", "max_sessions": "7"}
    answer = site.post(
        address("change", type(alice), alice.pk), form | {"languages": "en", "skills": "vip"}
    )
    assert answer.status_code == 302
    alice.refresh_from_db()
    assert {name: getattr(alice, name) for name in meanwhile} == meanwhile
    assert (alice.display_name, alice.role, alice.max_sessions) == ("Alicia", "supervisor", 7)
    assert (alice.languages, alice.skills) == (["en"], ["vip"])


# --- On a real server -------------------------------------------------------------------


@pytest.fixture
def office(services: Services) -> Iterator[CookieClient]:
    """An administrator's browser, at a running service."""
    service = services.start(AI_BACKEND="offline")
    with CookieClient(service) as client:
        client.log_in("admin", at="/admin/login/")
        yield client


def test_actions_and_articles_reach_open_streams(
    office: CookieClient, clients: Clients
) -> None:
    service = office.service
    alice, customer = clients.agent(service), clients.customer(service)
    stream, desk = customer.stream(after=customer.cursor), alice.stream()
    desk.wait_for("connected")
    alice.take_over(customer.session)
    listed = "/admin/ai_chatbot/chatsession/"
    (key,) = re.findall(rf"{listed}(\d+)/change", office.get(listed).text)

    assert office.submit(
        listed, {"action": "release_to_ai", "_selected_action": key}
    ).is_redirect
    for reader in (stream, desk):
        assert reader.wait_for(expect.status("bot_active")).payload["reason"] == "released"

    added = "/admin/ai_chatbot/article/add/"
    assert office.get(added).status_code == 200
    article = {
        "slug": "zorblax",
        "language": "en",
        "title": "Zorblax lamps",
        "body": "A zorblax lamp is watered twice a week with lukewarm tea.",
        "url": "/help/zorblax/",
        "published": "on",
    }
    assert office.submit(added, article).is_redirect
    customer.send("How is a zorblax lamp watered?")
    answer = stream.wait_for(
        lambda e: e.type == "message" and e.payload["role"] == "assistant"
    ).payload
    assert "lukewarm tea" in answer["content"]
    assert answer["sources"][0]["title"] == "Zorblax lamps"

    assert office.submit(
        listed, {"action": "close_sessions", "_selected_action": key}
    ).is_redirect
    for reader in (stream, desk):
        change = reader.wait_for(expect.status("closed")).payload
        assert change["reason"] == "closed_by_agent"

    for page in ("process", "openstream", "event", "target"):
        assert office.get(f"/admin/sse/{page}/").status_code == 200
