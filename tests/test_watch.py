"""What follows when time passes: agents and customers go, hours end, somebody says nothing."""

import asyncio
import math
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from agent_workbench import presence, watch
from agent_workbench.models import Agent, Notice
from ai_chatbot import events
from ai_chatbot.conversation import (
    availability,
    contact,
    duty,
    handoff,
    hours,
    rounds,
    states,
    verbs,
)
from ai_chatbot.conversation import presence as customers
from ai_chatbot.conversation import waiting as line
from ai_chatbot.models import (
    ChatSession,
    HandoffRecord,
    Message,
    MessageRole,
    Reason,
    Status,
)
from sse.models import Lease, OpenStream, Process
from tests.hubs import on_a_thread, serving_hub, until, until_stored
from tests.in_process import Colleague, error_of, events_of, make_agent, make_session

pytestmark = pytest.mark.django_db

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _nothing_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one test's sessions in another."""
    monkeypatch.setattr(rounds, "_aside", rounds._Aside())


@pytest.fixture
def alice() -> Agent:
    return make_agent("alice")


def status_of(name: str) -> str:
    return ChatSession.objects.get(name=name).status


def opens(subject: str) -> OpenStream:
    # It goes on living, however slow the machine is.
    later = timezone.now() + timedelta(hours=1)
    process, _ = Process.objects.get_or_create(
        name="here", defaults={"started_at": timezone.now(), "seen_at": later}
    )
    return OpenStream.objects.create(
        process=process,
        name=secrets.token_hex(8),
        target="",
        subject=subject,
        opened_at=timezone.now(),
    )


def page_of(name: str) -> OpenStream:
    return opens(f"customer:{name}")


def console_of(agent: Agent) -> OpenStream:
    return opens(presence.subject(agent))


def passes(seconds: float) -> None:
    """As if so much time had gone by, for everybody."""
    age = timedelta(seconds=seconds)
    moments = {
        Agent: ("seen_at",),
        ChatSession: (
            "escalated_at", "taken_at", "unanswered_since", "customer_gone_at",
            "customer_seen_at", "left_line_at", "last_message_at", "followed_up_at",
        ),
        Message: ("created_at",),
    }  # fmt: skip
    for model, names in moments.items():
        for row in model.objects.all():
            old = {name: getattr(row, name) for name in names}
            changed = {name: at - age for name, at in old.items() if at is not None}
            model.objects.filter(pk=row.pk).update(**changed)


def waiting() -> str:
    name = make_session()
    handoff.escalate(name, text="broken lamp")
    return name


def live_with(agent: Agent, *, answered: bool = False) -> str:
    name = make_session()
    handoff.take_over(name, agent.person)
    if answered:
        verbs.write_as_agent(name, agent.person, content="Hello", client_id="1")
    return name


def last_change(name: str) -> Json:
    return events_of(name, "status_change")[-1]["payload"]


def last_line(name: str) -> str:
    return states.state(name)["messages"][-1]["content"]


def told(name: str) -> list[bool]:
    return [e["payload"]["someone_on_duty"] for e in events_of(name, "availability")]


# --- Agents who are gone ----------------------------------------------------------------


def test_lost_agents_session_goes_back_ahead_of_others_and_everybody_hears_of_it(
    alice: Agent,
) -> None:
    bob = make_agent("bob")
    console_of(bob)
    name = live_with(alice)
    earlier = waiting()
    passes(61)
    watch.look()

    assert last_change(name)["reason"] == "agent_lost"
    assert last_change(name)["status"] == status_of(name) == "pending_manual"
    assert "Alice" in last_line(name)
    assert states.state(name)["queue"]["position"] == 1
    assert states.state(earlier)["queue"]["position"] == 2
    session = ChatSession.objects.get(name=name)
    assert session.former_agent_id == alice.user_id
    outcomes = HandoffRecord.objects.filter(session=session).values_list("code", "outcome")
    assert list(outcomes) == [("agent_lost", "waiting"), ("taken_over", "agent_lost")]

    colleague = Colleague(alice)
    (notice,) = colleague.get("/agent/notices").json()["items"]
    assert (notice["kind"], notice["session_name"]) == ("session_lost", name)
    sent = events_of(events.agent_target(alice.user_id), "notice")
    assert [event["payload"] for event in sent] == [notice]
    assert not events_of(name, "notice")
    assert Colleague(bob).get("/agent/notices").json()["items"] == []
    error_of(Colleague(bob).post(f"/agent/notices/{notice['id']}/read"), 404)
    for _ in range(2):
        assert colleague.post(f"/agent/notices/{notice['id']}/read").status_code == 204
    assert colleague.get("/agent/notices").json()["items"] == []


def test_lost_agents_session_goes_on_to_email_when_nobody_is_left(alice: Agent) -> None:
    name = live_with(alice)
    passes(61)
    watch.look()
    changes = [e["payload"] for e in events_of(name, "status_change")]
    assert [(c["status"], c["reason"]) for c in changes] == [
        ("manual_live", "taken_over"),
        ("pending_manual", "agent_lost"),
        ("after_hours_email", "nobody_on_duty"),
    ]
    assert told(name) == [False]
    alice.refresh_from_db()
    assert alice.status == "offline"


def test_shorter_cut_changes_nothing(alice: Agent) -> None:
    name = live_with(alice)
    passes(50)
    before = events_of(name), events_of(events.AGENTS)
    watch.look()
    assert (events_of(name), events_of(events.AGENTS)) == before
    assert status_of(name) == "manual_live"


def test_agent_with_a_stream_is_not_lost_whatever_the_status_says(alice: Agent) -> None:
    name = live_with(alice, answered=True)
    console_of(alice)
    presence.choose(alice, "offline")
    passes(600)
    watch.look()
    assert status_of(name) == "manual_live"


def test_stream_of_a_process_that_has_fallen_silent_is_no_sign_of_presence(
    alice: Agent,
) -> None:
    name = live_with(alice)
    console_of(alice)
    passes(61)
    Process.objects.update(seen_at=timezone.now() - timedelta(seconds=11))
    watch.look()
    assert status_of(name) == "after_hours_email"


def test_who_has_just_taken_over_is_not_lost(alice: Agent) -> None:
    presence.choose(alice, "offline")
    passes(600)
    name = live_with(alice)
    watch.look()
    assert status_of(name) == "manual_live"


@pytest.mark.parametrize("how", ["deactivated", "deleted"])
def test_session_of_an_agent_who_may_not_work_any_more_goes_back_at_once(
    alice: Agent, how: str
) -> None:
    make_agent("bob")
    name = live_with(alice)
    console_of(alice)
    if how == "deleted":
        alice.delete()
    else:
        alice.user.is_active = False
        alice.user.save()
    watch.look()
    assert status_of(name) == "pending_manual"
    assert last_change(name)["reason"] == "agent_lost"


# --- On duty ----------------------------------------------------------------------------


def test_when_the_last_agent_goes_those_who_wait_are_told_and_keep_their_place(
    alice: Agent,
) -> None:
    names = [waiting() for _ in range(3)]
    handoff.cancel_escalation(names[0])
    handoff.escalate(names[0])
    pages = [page_of(name) for name in names]
    presence.choose(alice, "break")
    watch.look()
    for name in names:
        assert last_change(name)["reason"] == "nobody_on_duty"
        assert status_of(name) == "after_hours_email"
        assert told(name) == [True, False] or told(name) == [False]
    pages[1].delete()

    presence.choose(alice, "online")
    watch.look()
    # The second has gone, and stays by email.
    assert [status_of(name) for name in names] == [
        "pending_manual",
        "after_hours_email",
        "pending_manual",
    ]
    assert last_change(names[0])["reason"] == "staff_back"
    assert [states.state(names[at])["queue"]["position"] for at in (0, 2)] == [2, 1]
    assert states.state(names[1])["queue"] is None


def test_telling_one_more_of_a_long_line_costs_few_statements(
    alice: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "ASKED_EVERY_SECONDS", 60)
    costs = []
    for count in (2, 6):
        presence.choose(alice, "online")
        names = [waiting() for _ in range(count)]
        presence.choose(alice, "break")
        with CaptureQueriesContext(connection) as queries:
            watch.look()
        assert {status_of(name) for name in names} == {"after_hours_email"}
        costs.append(len(queries))
    # Of them on SQLite two for each of five events.
    assert costs[1] - costs[0] <= 4 * (18 if connection.vendor == "sqlite" else 13)


def test_those_behind_in_a_long_line_are_told_once_when_they_are_dealt_with(
    alice: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "AT_ONCE", 2)
    names = [waiting() for _ in range(3)]
    for name in names:
        page_of(name)
    presence.choose(alice, "break")
    assert watch.look()
    assert [told(name) for name in names] == [[False], [False], []]
    watch.look()
    assert [told(name) for name in names] == [[False]] * 3
    assert {status_of(name) for name in names} == {"after_hours_email"}


def test_who_comes_in_the_middle_of_a_round_is_noticed(
    alice: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "ASKED_EVERY_SECONDS", -1)
    names = [waiting() for _ in range(3)]
    presence.choose(alice, "break")
    leave = handoff.nobody_on_duty_locked

    def then_she_comes(*args: Any) -> ChatSession:
        presence.choose(alice, "online")
        return leave(*args)

    monkeypatch.setattr(handoff, "nobody_on_duty_locked", then_she_comes)
    watch.look()
    assert [status_of(name) for name in names] == [
        "after_hours_email",
        "pending_manual",
        "pending_manual",
    ]


def test_when_hours_end_those_who_wait_are_told_when_people_are_back(
    settings: Settings, alice: Agent
) -> None:
    name = waiting()
    tomorrow = hours.DAYS[(timezone.localtime().weekday() + 1) % 7]
    settings.OPENING_HOURS = f"{tomorrow} 09:00-18:00"
    watch.look()
    assert last_change(name)["reason"] == "nobody_on_duty"
    said = events_of(name, "availability")[-1]["payload"]
    assert said == {
        "someone_on_duty": False,
        "back_at": events.stamp(hours.next_opening()),
    }
    assert Json(states.state(name)["availability"]) == said


def test_customer_by_email_with_the_page_open_hears_of_new_hours(settings: Settings) -> None:
    tomorrow = hours.DAYS[(timezone.localtime().weekday() + 1) % 7]
    settings.OPENING_HOURS = f"{tomorrow} 09:00-18:00"
    here, away = waiting(), waiting()
    page_of(here)
    settings.OPENING_HOURS = f"{tomorrow} 10:00-18:00"
    watch.look()
    watch.look()
    assert len(events_of(here, "availability")) == 2
    assert len(events_of(away, "availability")) == 1
    for name in (here, away):
        back_at = states.state(name)["availability"]["back_at"]
        assert back_at == events.stamp(hours.next_opening())
    assert events_of(here, "availability")[-1]["payload"]["back_at"] == back_at


def test_customer_whom_somebody_answered_by_email_is_not_put_in_line(alice: Agent) -> None:
    presence.choose(alice, "break")
    name = waiting()
    page_of(name)
    ChatSession.objects.update(unanswered_since=None)
    presence.choose(alice, "online")
    watch.look()
    assert status_of(name) == "after_hours_email"
    verbs.write(name, content="Which edition?", client_id="2")
    watch.look()
    assert status_of(name) == "pending_manual"


def test_who_was_written_to_and_asks_again_is_in_line_when_staff_is_back(alice: Agent) -> None:
    """Whether somebody was there when it was asked, or not."""
    presence.choose(alice, "offline")
    names = [make_session(), make_session()]
    for name in names:
        handoff.escalate(name, text="broken lamp")
        verbs.write_as_agent(name, alice.person, content="It is on its way", client_id="1")
        page_of(name)
    handoff.escalate(names[0])
    assert ChatSession.objects.get(name=names[0]).escalation_reason == "broken lamp"
    presence.choose(alice, "online")
    handoff.escalate(names[1])
    assert status_of(names[1]) == "pending_manual"
    presence.choose(alice, "offline")
    watch.look()
    assert [status_of(name) for name in names] == ["after_hours_email"] * 2
    presence.choose(alice, "online")
    watch.look()
    assert [status_of(name) for name in names] == ["pending_manual"] * 2


# --- Agents who do not answer -----------------------------------------------------------


def test_silent_agent_is_warned_then_supervisors_hear_then_the_session_goes_back(
    alice: Agent,
) -> None:
    boss = make_agent("boss", role="supervisor")
    console_of(alice)
    console_of(boss)
    name = live_with(alice)
    for seconds, kinds in (
        (90, []),
        (31, [("alice", "customer_waits")]),
        (79, [("alice", "customer_waits")]),
        (41, [("alice", "customer_waits"), ("boss", "agent_silent")]),
    ):
        passes(seconds)
        watch.look()
        watch.look()
        rows = Notice.objects.order_by("pk").values_list("agent__user__username", "kind")
        assert list(rows) == kinds
        assert status_of(name) == "manual_live"
    passes(240)
    watch.look()
    assert last_change(name)["reason"] == "agent_silent"
    assert Notice.objects.latest("pk").kind == "session_silent"


@pytest.mark.parametrize("why", ["answered", "gone", "off"])
def test_nobody_waits_for_this_agent(alice: Agent, settings: Settings, why: str) -> None:
    console_of(alice)
    name = live_with(alice, answered=why == "answered")
    if why == "gone":
        ChatSession.objects.update(customer_gone_at=timezone.now())
    if why == "off":
        settings.AGENT_SILENT_WARN_SECONDS = 0
        settings.AGENT_SILENT_ALERT_SECONDS = 0
        settings.AGENT_SILENT_REQUEUE_SECONDS = 0
    passes(1000)
    watch.look()
    assert status_of(name) == "manual_live"
    assert not Notice.objects.exists()


# --- Time in which nobody looked --------------------------------------------------------


# A slow machine does not make a gap.
GO_ON = -600
BY_EMAIL = "after_hours_email"


def lease(*, round_age: float, since_age: float) -> None:
    now = timezone.now()
    Lease.objects.create(
        name=rounds.WATCH,
        holder="somebody",
        until=now,
        round_at=now - timedelta(seconds=round_age),
        since=now - timedelta(seconds=since_age),
    )


@pytest.mark.parametrize(
    ("round_age", "since_age", "status"),
    [(70, 900, "pending_manual"), (GO_ON, 0, "pending_manual"), (GO_ON, 900, BY_EMAIL)],
)
def test_time_in_which_nobody_looked_counts_for_no_agent(
    alice: Agent, round_age: float, since_age: float, status: str
) -> None:
    live = live_with(alice)
    passes(70)
    lease(round_age=round_age, since_age=since_age)
    # In the first second after it.
    assert status_of(waiting()) == status
    watch.look()
    assert status_of(live) == ("manual_live" if status == "pending_manual" else status)


def test_time_in_which_nobody_looked_counts_for_no_customer(alice: Agent) -> None:
    name = waiting()
    page = page_of(name)
    console_of(alice)
    watch.look()
    page.delete()
    passes(1000)
    lease(round_age=1000, since_age=9000)
    watch.look()
    session = ChatSession.objects.get(name=name)
    assert (session.status, session.customer_gone_at) == ("pending_manual", None)


# --- Customers who go and come back -----------------------------------------------------


def changes(agent: Agent, name: str) -> list[Any]:
    told = events_of(events.AGENTS, "queue_update")
    told += events_of(events.agent_target(agent.user_id), "queue_update")
    return [
        event["payload"]["session"]["customer_gone_at"] is not None
        for event in told
        if event["payload"]["change"] == "updated"
        and event["payload"]["session"]["session_name"] == name
    ]


@pytest.mark.parametrize("status", ["pending_manual", "manual_live", "after_hours_email"])
def test_agents_see_that_a_customer_has_gone_and_is_back(alice: Agent, status: str) -> None:
    console_of(alice)
    if status == "after_hours_email":
        presence.choose(alice, "break")
    name = live_with(alice, answered=True) if status == "manual_live" else waiting()
    page = page_of(name)
    watch.look()
    before = len(changes(alice, name))
    page.delete()
    passes(100)
    watch.look()
    assert changes(alice, name)[before:] == []
    passes(40)
    watch.look()
    watch.look()
    assert changes(alice, name)[before:] == [True]
    page_of(name)
    watch.look()
    watch.look()
    assert changes(alice, name)[before:] == [True, False]
    assert status_of(name) == status


def test_customer_who_left_before_the_agent_came_is_shown_as_gone(alice: Agent) -> None:
    console_of(alice)
    name = make_session()
    verbs.write(name, content="hello?", client_id="1")
    page = page_of(name)
    watch.look()
    page.delete()
    passes(140)
    handoff.take_over(name, alice.person)
    watch.look()
    assert changes(alice, name) == [True]


def test_customer_who_left_gives_up_the_place_and_has_it_again_when_back_in_time(
    alice: Agent,
) -> None:
    console_of(alice)
    name = waiting()
    page = page_of(name)
    watch.look()
    page.delete()
    passes(140)
    behind = waiting()
    page_of(behind)
    watch.look()
    passes(161)
    watch.look()
    assert last_change(name)["reason"] == "customer_gone"
    assert status_of(name) == "bot_active"
    assert states.state(behind)["queue"]["position"] == 1

    passes(1700)
    watch.look()
    page_of(name)
    watch.look()
    assert last_change(name)["reason"] == "customer_back"
    assert states.state(name)["queue"]["position"] == 1
    watch.look()
    assert ChatSession.objects.get(name=name).customer_gone_at is None


def test_customer_who_is_back_and_asks_anew_has_the_old_place(alice: Agent) -> None:
    console_of(alice)
    name = waiting()
    passes(30)
    behind = waiting()
    with transaction.atomic():
        handoff.leave_line_locked(handoff.lock(name))
    handoff.escalate(name)
    assert states.state(name)["queue"]["position"] == 1
    assert states.state(behind)["queue"]["position"] == 2
    assert ChatSession.objects.get(name=name).left_line_at is None


def test_customer_who_left_an_address_and_the_line_is_owed_a_mail_and_has_the_place(
    alice: Agent,
) -> None:
    console_of(alice)
    name = waiting()
    contact.leave(name, email="zoe@example.com", note="")
    page = page_of(name)
    watch.look()
    page.delete()
    passes(140)
    behind = waiting()
    page_of(behind)
    watch.look()
    passes(161)
    watch.look()
    assert last_change(name)["reason"] == "customer_gone"
    assert status_of(name) == "after_hours_email"
    # However long it takes: it is in the list that is worked off.
    passes(2000)
    watch.look()
    assert status_of(name) == "after_hours_email"
    assert [session.name for session in ChatSession.objects.by_email()] == [name]
    assert HandoffRecord.objects.get(session__name=name).outcome == "by_email"

    page_of(name)
    watch.look()
    assert last_change(name)["reason"] == "customer_back"
    assert states.state(name)["queue"]["position"] == 1


def test_place_is_forgotten_when_the_customer_is_back_too_late(alice: Agent) -> None:
    console_of(alice)
    name = waiting()
    page = page_of(name)
    watch.look()
    page.delete()
    passes(140)
    watch.look()
    passes(301)
    watch.look()
    passes(1801)
    page_of(name)
    watch.look()
    session = ChatSession.objects.get(name=name)
    assert session.status == "bot_active"
    assert (session.escalated_at, session.left_line_at) == (None, None)


def test_customer_who_writes_is_there_without_a_page(alice: Agent) -> None:
    console_of(alice)
    name = waiting()
    page_of(name).delete()
    ChatSession.objects.update(customer_seen_at=timezone.now())
    passes(400)
    verbs.write(name, content="still there?", client_id="1")
    watch.look()
    watch.look()
    session = ChatSession.objects.get(name=name)
    assert (session.status, session.customer_gone_at) == ("pending_manual", None)


def test_customer_who_never_opened_a_stream_is_not_held_to_be_gone(alice: Agent) -> None:
    console_of(alice)
    name = waiting()
    passes(1700)
    watch.look()
    session = ChatSession.objects.get(name=name)
    assert (session.status, session.customer_gone_at) == ("pending_manual", None)
    passes(200)
    watch.look()
    assert last_change(name)["reason"] == "customer_gone"
    # As an API client is back: by writing.
    verbs.write(name, content="is it my turn?", client_id="1")
    watch.look()
    assert status_of(name) == "pending_manual"


# --- Idle conversations -----------------------------------------------------------------


def test_idle_conversation_is_followed_up_once_and_then_closed(
    alice: Agent, settings: Settings
) -> None:
    settings.IDLE_FOLLOW_UP_SECONDS, settings.IDLE_CLOSE_SECONDS = 100, 50
    console_of(alice)
    answered, unanswered = live_with(alice, answered=True), live_with(alice)
    settings.AGENT_SILENT_REQUEUE_SECONDS = 0
    passes(101)
    watch.look()
    watch.look()
    lines = Message.objects.filter(session__name=answered, role=MessageRole.SYSTEM)
    assert lines.filter(content__startswith="Is there anything else").count() == 1
    passes(20)
    watch.look()
    assert status_of(answered) == "manual_live"
    passes(31)
    watch.look()
    assert last_change(answered)["reason"] == "idle"
    assert [status_of(name) for name in (answered, unanswered)] == ["closed", "manual_live"]


def test_customer_who_says_nothing_is_not_asked_again(alice: Agent, settings: Settings) -> None:
    settings.IDLE_FOLLOW_UP_SECONDS = 100
    console_of(alice)
    name = live_with(alice, answered=True)
    for _ in range(3):
        passes(101)
        watch.look()
    lines = Message.objects.filter(session__name=name, content__startswith="Is there anything")
    assert lines.count() == 1
    assert status_of(name) == "manual_live"


def test_conversation_by_email_is_closed_when_no_link_leads_back(
    alice: Agent, settings: Settings
) -> None:
    settings.IDLE_CLOSE_SECONDS, settings.CONTACT_LINK_DAYS = 50, 2
    presence.choose(alice, "offline")
    answered, unanswered = make_session(), make_session()
    for name in (answered, unanswered):
        handoff.escalate(name)
    assert status_of(answered) == "after_hours_email"
    verbs.write_as_agent(answered, alice.person, content="Here you are.", client_id="1")
    passes(2 * 24 * 3600 - 60)
    watch.look()
    assert status_of(answered) == "after_hours_email"
    passes(120)
    watch.look()
    assert last_change(answered)["reason"] == "idle"
    assert status_of(unanswered) == "after_hours_email"


def test_conversation_that_goes_on_is_not_closed(alice: Agent, settings: Settings) -> None:
    settings.IDLE_FOLLOW_UP_SECONDS, settings.IDLE_CLOSE_SECONDS = 100, 50
    console_of(alice)
    name = live_with(alice, answered=True)
    passes(101)
    watch.look()
    verbs.write(name, content="yes", client_id="1")
    verbs.write_as_agent(name, alice.person, content="go on", client_id="2")
    passes(60)
    watch.look()
    assert status_of(name) == "manual_live"


# --- What was told, and what is read ----------------------------------------------------


def check_told_as_read(name: str) -> None:
    """A page that listened shows what one that is loaded now shows."""
    state = states.state(name)
    change = last_change(name)
    assert (change["status"], change["agent"]) == (state["status"], state["agent"])
    if state["status"] in handoff.LEAVABLE:
        said = events_of(name, "availability")
        believed = said[-1]["payload"] if said else {"someone_on_duty": True, "back_at": None}
        assert believed == state["availability"]
    if state["status"] == "pending_manual":
        place = events_of(name, "queue_position")[-1]["payload"]
        assert place["position"] == state["queue"]["position"]
    else:
        assert state["queue"] is None


def test_what_customers_were_told_is_what_they_read(alice: Agent, settings: Settings) -> None:
    names = [waiting() for _ in range(4)]
    pages = {name: page_of(name) for name in names}
    tomorrow = hours.DAYS[(timezone.localtime().weekday() + 1) % 7]
    day_after = hours.DAYS[(timezone.localtime().weekday() + 2) % 7]

    def open_from(text: str) -> None:
        settings.OPENING_HOURS = text

    first, second, third, fourth = names
    for change in (
        lambda: presence.choose(alice, "break"),
        lambda: handoff.cancel_escalation(third),
        lambda: presence.choose(alice, "online"),
        lambda: handoff.escalate(third),
        lambda: handoff.take_over(second, alice.person),
        lambda: pages.pop(fourth).delete(),
        lambda: open_from(f"{tomorrow} 09:00-18:00"),
        lambda: open_from(f"{day_after} 09:00-18:00"),
        lambda: passes(70),
        lambda: page_of(fourth),
        lambda: open_from(""),
        lambda: console_of(alice),
        lambda: presence.choose(alice, "online"),
        lambda: handoff.take_over(first, alice.person),
        lambda: handoff.close(first, None, reason=Reason.CLOSED_BY_CUSTOMER),
    ):
        change()
        # What one part changes another may follow up in the next round.
        watch.look()
        watch.look()
        line.announce_places()
        for name in (row["session_name"] for row in customers.here()):
            check_told_as_read(name)
    assert [status_of(name) for name in names] == [
        "closed",
        "pending_manual",
        "pending_manual",
        "pending_manual",
    ]


# --- Rounds -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_rounds_of_two_processes_at_once_do_everything_once(
    alice: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    """As when one hangs in the middle of a round and loses the lease."""
    names = [waiting() for _ in range(12)]
    presence.choose(alice, "break")
    begin = Barrier(2)

    def round_of_a_process() -> None:
        begin.wait(10)
        try:
            watch.look()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as processes:
        for done in [processes.submit(round_of_a_process) for _ in range(2)]:
            done.result(60)
    watch.look()
    for name in names:
        reasons = [e["payload"]["reason"] for e in events_of(name, "status_change")]
        assert reasons == ["requested", "nobody_on_duty"]
    removed = [
        event
        for event in events_of(events.AGENTS, "queue_update")
        if event["payload"]["change"] == "removed"
    ]
    assert len(removed) == len(names)
    assert not caplog.records


@pytest.mark.parametrize("how", ["comes", "limit", "deactivated", "session"])
def test_whoever_changes_who_is_there_wakes_the_watch(
    alice: Agent,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    rung = []
    monkeypatch.setattr(availability.bell, "ring", lambda: rung.append(how))
    name = make_session()
    with django_capture_on_commit_callbacks(execute=True):
        if how == "comes":
            presence.choose(alice, "busy")
        elif how == "limit":
            alice.max_sessions += 1
            alice.save()
        elif how == "deactivated":
            alice.user.is_active = False
            alice.user.save()
        else:
            handoff.escalate(name)
    assert rung


def test_row_that_cannot_be_dealt_with_does_not_stop_the_others(
    alice: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = [waiting() for _ in range(5)]
    presence.choose(alice, "break")
    said = handoff.say

    def say(session: ChatSession, text: str) -> Message:
        if session.name in names[:3]:
            raise ValueError("poisoned")
        return said(session, text)

    monkeypatch.setattr(handoff, "say", say)
    monkeypatch.setattr(rounds, "AT_ONCE", 3)
    monkeypatch.setattr(rounds, "FAILED_SECONDS", 60.0)
    assert watch.look()
    watch.look()
    assert [status_of(name) for name in names[3:]] == ["after_hours_email"] * 2
    assert [status_of(name) for name in names[:3]] == ["pending_manual"] * 3
    assert caplog.text.count("is left out for a while") == 3
    monkeypatch.setattr(rounds, "_aside", rounds._Aside())
    monkeypatch.setattr(handoff, "say", said)
    watch.look()
    assert {status_of(name) for name in names} == {"after_hours_email"}


def test_part_that_fails_does_not_stop_the_others_and_is_logged_once(
    alice: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("poisoned")

    monkeypatch.setitem(watch.PARTS, "lost agents", fail)
    name = waiting()
    presence.choose(alice, "break")
    for _ in range(3):
        watch.look()
    assert status_of(name) == "after_hours_email"
    assert caplog.text.count("lost agents fails") == 1
    watch._failing.clear()


def test_quiet_round_asks_little_and_writes_nothing(alice: Agent) -> None:
    console_of(alice)
    names = [waiting(), live_with(alice, answered=True)]
    for name in names:
        page_of(name)
    watch.look()
    with CaptureQueriesContext(
        connection,
    ) as quiet:
        watch.look()
    texts = [query["sql"] for query in quiet]
    assert not [text for text in texts if text.startswith(("UPDATE", "INSERT", "DELETE"))]
    assert len(texts) <= QUIET_QUERIES, texts


QUIET_QUERIES = 20
MANY = 1000


def test_thousand_who_wait_are_dealt_with_some_at_a_time(alice: Agent) -> None:
    since = timezone.now() - timedelta(seconds=100)
    ChatSession.objects.bulk_create(
        ChatSession(
            token_digest=str(place),
            status=Status.PENDING_MANUAL,
            escalated_at=since + timedelta(milliseconds=place),
            queue_position=place,
        )
        for place in range(1, MANY + 1)
    )
    console_of(alice)
    watch.look()
    with CaptureQueriesContext(connection) as quiet:
        assert not watch.look()
    assert len(quiet) <= QUIET_QUERIES
    first = list(ChatSession.objects.pending()[: rounds.AT_ONCE])
    presence.choose(alice, "break")
    assert watch.look()
    assert ChatSession.objects.pending().count() == MANY - rounds.AT_ONCE
    assert {status_of(session.name) for session in first} == {"after_hours_email"}


# --- A process that stops ---------------------------------------------------------------


# Less than a lease.
GIVEN_UP_SECONDS = 1.5


def holder() -> str:
    """Who has the watch for more than this moment."""
    lease = Lease.objects.filter(name=rounds.WATCH, until__gt=timezone.now()).first()
    return lease.holder if lease else ""


@pytest.mark.django_db(transaction=True)
def test_health_says_that_a_part_of_the_watch_fails_and_that_it_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poisoned = threading.Event()
    poisoned.set()

    def part(round: rounds.Round) -> None:
        if poisoned.is_set():
            raise ValueError("poisoned")

    monkeypatch.setattr(watch, "PARTS", {"a part": part})

    async def scene() -> None:
        async with serving_hub() as hub:
            hub.runtime.supervisor.keep("watch over time", watch.keep_watch)
            await until(lambda: hub.runtime.supervisor.ailing() == ["watch over time"])
            poisoned.clear()
            await until(lambda: hub.runtime.supervisor.ailing() == [])

    asyncio.run(scene())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("busy", [False, True], ids=["between rounds", "in a round"])
def test_watch_is_given_up_by_a_process_that_stops(
    monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    began, goes_on = threading.Event(), threading.Event()

    def part(round: rounds.Round) -> None:
        began.set()
        if busy:
            # Until the process has been told to stop.
            goes_on.wait(10)

    monkeypatch.setattr(watch, "PARTS", {"a part": part, "another": _hold_on})

    async def scene() -> None:
        async with serving_hub() as hub:
            hub.runtime.supervisor.keep("watch over time", watch.keep_watch)
            await until(began.is_set)
            assert await on_a_thread(holder) == hub.name
            asyncio.get_running_loop().call_later(0.2, goes_on.set)
        await until_stored(holder, "", seconds=GIVEN_UP_SECONDS)

    asyncio.run(scene())


def _hold_on(round: rounds.Round) -> None:
    round._renewed_at = -math.inf
    round._hold()
