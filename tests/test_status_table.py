"""Every status and every verb: what each leads to, and what a refused one leaves untouched."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction
from django.forms.models import model_to_dict
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from agent_workbench.models import Agent
from ai_chatbot import events, turns
from ai_chatbot.conversation import handoff, hours, states, timetable, verbs, waiting
from ai_chatbot.exceptions import (
    AlreadyTaken,
    ConversationError,
    IllegalTransition,
    ManualInProgress,
    NotAssigned,
    NotLive,
    NotPending,
    SessionClosed,
    SessionNotFound,
)
from ai_chatbot.models import TRANSITIONS, ChatSession, Message, Reason, Status
from sse.models import Event
from tests.in_process import Colleague, Visitor, events_of, make_agent, make_session

pytestmark = pytest.mark.django_db

STATUSES = ("bot_active", "pending_manual", "manual_live", "after_hours_email", "closed")

# As the contract has it, written down once more.
TABLE = {
    "bot_active": {"pending_manual", "manual_live", "after_hours_email", "closed"},
    "pending_manual": {"manual_live", "bot_active", "after_hours_email", "closed"},
    "manual_live": {"bot_active", "pending_manual", "manual_live", "closed"},
    "after_hours_email": {"manual_live", "pending_manual", "bot_active", "closed"},
    "closed": {"bot_active"},
}

# By verb, what it makes of a session in each status: the next status, or the refusal.
OUTCOMES: dict[str, dict[str, str | type[ConversationError]]] = {
    "escalate": {
        "bot_active": "pending_manual",
        "pending_manual": ManualInProgress,
        "manual_live": ManualInProgress,
        "after_hours_email": "pending_manual",
        "closed": SessionClosed,
    },
    "escalate_when_nobody_is_there": {
        "bot_active": "after_hours_email",
        "pending_manual": ManualInProgress,
        "manual_live": ManualInProgress,
        "after_hours_email": "after_hours_email",
        "closed": SessionClosed,
    },
    "cancel": {
        "bot_active": NotPending,
        "pending_manual": "bot_active",
        "manual_live": NotPending,
        "after_hours_email": "bot_active",
        "closed": NotPending,
    },
    "take_over": {
        "bot_active": "manual_live",
        "pending_manual": "manual_live",
        "manual_live": "manual_live",
        "after_hours_email": "manual_live",
        "closed": SessionClosed,
    },
    "take_over_by_another": {
        "bot_active": "manual_live",
        "pending_manual": "manual_live",
        "manual_live": AlreadyTaken,
        "after_hours_email": "manual_live",
        "closed": SessionClosed,
    },
    "release": {
        "bot_active": NotLive,
        "pending_manual": NotLive,
        "manual_live": "bot_active",
        "after_hours_email": NotLive,
        "closed": NotLive,
    },
    "release_by_another": {
        "bot_active": NotLive,
        "pending_manual": NotLive,
        "manual_live": NotAssigned,
        "after_hours_email": NotLive,
        "closed": NotLive,
    },
    "close_by_customer": dict.fromkeys(STATUSES, "closed"),
    "close_by_agent": dict.fromkeys(STATUSES, "closed"),
    "close_by_another": {
        "bot_active": "closed",
        "pending_manual": "closed",
        "manual_live": NotAssigned,
        "after_hours_email": "closed",
        "closed": "closed",
    },
    "reopen": {
        "bot_active": IllegalTransition,
        "pending_manual": IllegalTransition,
        "manual_live": IllegalTransition,
        "after_hours_email": IllegalTransition,
        "closed": "bot_active",
    },
}


@pytest.fixture
def alice() -> Agent:
    return make_agent("alice")


@pytest.fixture
def bob() -> Agent:
    return make_agent("bob")


def somebody_is_there(there: bool) -> None:
    Agent.objects.update(status="online" if there else "offline")


def session_in(status: str, agent: Agent) -> str:
    """A session that came to this status by verbs, as a customer's would."""
    name = make_session()
    if status == "pending_manual":
        handoff.escalate(name, text="broken lamp")
    elif status == "after_hours_email":
        somebody_is_there(False)
        handoff.escalate(name, text="broken lamp")
        somebody_is_there(True)
    elif status in ("manual_live", "closed"):
        handoff.escalate(name, text="broken lamp")
        handoff.take_over(name, agent.person)
        if status == "closed":
            handoff.close(name, agent.person, reason=Reason.CLOSED_BY_AGENT)
    assert status_of(name) == status
    return name


def status_of(name: str) -> str:
    return ChatSession.objects.get(name=name).status


def epoch_of(name: str) -> int:
    return ChatSession.objects.get(name=name).ownership_epoch


def everything_of(name: str) -> dict[str, Any]:
    """All that a verb could have changed or said."""
    session = ChatSession.objects.get(name=name)
    return {
        "session": model_to_dict(session) | {"updated_at": session.updated_at},
        "messages": list(session.messages.values()),
        "turns": list(session.turns.values()),
        "events": list(Event.objects.values_list("target", "seq", "data")),
    }


def do(verb: str, name: str, alice: Agent, bob: Agent) -> None:
    verbs: dict[str, Callable[[], object]] = {
        "escalate": lambda: handoff.escalate(name, text="new lamp"),
        "escalate_when_nobody_is_there": lambda: handoff.escalate(name, text="new lamp"),
        "cancel": lambda: handoff.cancel_escalation(name),
        "take_over": lambda: handoff.take_over(name, alice.person),
        "take_over_by_another": lambda: handoff.take_over(name, bob.person),
        "release": lambda: handoff.release(name, alice.person),
        "release_by_another": lambda: handoff.release(name, bob.person),
        "close_by_customer": lambda: handoff.close(
            name, None, reason=Reason.CLOSED_BY_CUSTOMER
        ),
        "close_by_agent": lambda: handoff.close(
            name, alice.person, reason=Reason.CLOSED_BY_AGENT
        ),
        "close_by_another": lambda: handoff.close(
            name, bob.person, reason=Reason.CLOSED_BY_AGENT
        ),
        "reopen": lambda: handoff.reopen(name),
    }
    somebody_is_there(verb != "escalate_when_nobody_is_there")
    verbs[verb]()


def test_status_table_is_the_contracts() -> None:
    assert {str(a): {str(b) for b in after} for a, after in TRANSITIONS.items()} == TABLE
    assert set(Status.values) == set(STATUSES)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", OUTCOMES)
def test_verb_does_what_the_table_allows_and_nothing_else(
    verb: str, status: str, alice: Agent, bob: Agent
) -> None:
    name = session_in(status, alice)
    outcome = OUTCOMES[verb][status]
    before, epoch = everything_of(name), epoch_of(name)
    if not isinstance(outcome, str):
        with pytest.raises(outcome):
            do(verb, name, alice, bob)
        assert everything_of(name) == before
        return
    do(verb, name, alice, bob)
    assert status_of(name) == outcome
    if outcome == status and verb == "escalate_when_nobody_is_there":
        # Who asks again is answered again, and keeps the place.
        after = everything_of(name)
        assert [m["role"] for m in after["messages"][len(before["messages"]) :]] == ["system"]
        assert after["session"]["escalated_at"] == before["session"]["escalated_at"]
        assert epoch_of(name) == epoch
        return
    if outcome == status:
        # Repeating what is done already changes nothing and announces nothing.
        assert everything_of(name) == before
        return
    assert outcome in TABLE[status]
    assert epoch_of(name) == epoch + 1
    for target in (name, events.AGENTS):
        change = events_of(target, "status_change")[-1]["payload"]
        assert (change["previous"], change["status"]) == (status, outcome)
        assert change["session_name"] == name
    said = ChatSession.objects.get(name=name).messages.last()
    assert said is not None
    assert said.role == "system"
    assert events_of(name, "message")[-1]["payload"]["id"] == said.pk


@pytest.mark.parametrize("verb", ["escalate", "cancel", "take_over", "release", "reopen"])
def test_verbs_on_a_session_that_does_not_exist_say_so(
    verb: str, alice: Agent, bob: Agent
) -> None:
    with pytest.raises(SessionNotFound):
        do(verb, "cs_nobody", alice, bob)
    assert not Event.objects.filter(target__name="cs_nobody").exists()


def test_refused_takeover_names_the_one_who_has_it(alice: Agent, bob: Agent) -> None:
    name = session_in("manual_live", alice)
    with pytest.raises(AlreadyTaken) as refused:
        handoff.take_over(name, bob.person)
    assert refused.value.details == {"agent": {"id": alice.user_id, "name": "Alice"}}


def test_administrator_releases_and_closes_what_another_has(alice: Agent) -> None:
    chief = make_agent("chief", role="admin")
    for verb in (
        lambda name: handoff.release(name, chief.person),
        lambda name: handoff.close(name, chief.person, reason=Reason.CLOSED_BY_AGENT),
    ):
        verb(session_in("manual_live", alice))


@pytest.mark.parametrize(
    "way_back",
    [["cancel"], ["take_over", "release"], ["close_by_customer", "reopen"]],
    ids=lambda way: way[-1],
)
def test_nothing_of_an_old_handoff_is_left(
    way_back: list[str],
    alice: Agent,
    bob: Agent,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    name = make_session()
    with django_capture_on_commit_callbacks(execute=True):
        handoff.escalate(name, text="broken lamp")
    assert states.state(name)["queue"] == {
        "position": 1,
        "estimated_wait_seconds": None,
        "estimated_wait_max_seconds": None,
    }
    for verb in way_back:
        with django_capture_on_commit_callbacks(execute=True):
            do(verb, name, alice, bob)

    state = states.state(name)
    assert state["status"] == "bot_active"
    assert state["agent"] is state["queue"] is state["escalated_at"] is None
    assert state["reason"] == ""
    session = ChatSession.objects.get(name=name)
    assert session.queue_position is None
    assert session.agent_name == ""
    assert session.closed_at is None
    # And the AI has it again: what the customer writes is the AI's to answer.
    verbs.write(name, content="thanks", client_id="1")
    assert session.turns.filter(state="waiting").count() == 1
    assert status_of(name) == "bot_active"


def test_customer_who_asks_again_is_told_the_new_place(alice: Agent) -> None:
    """A place announced for the old request must not keep the new one from being announced."""
    name = make_session()
    for _ in range(2):
        handoff.escalate(name)
        waiting.announce_places()
        handoff.cancel_escalation(name)
        waiting.announce_places()
    assert [e["payload"]["position"] for e in events_of(name, "queue_position")] == [1, 1]


def test_closed_session_remembers_who_had_it_until_it_is_reopened(alice: Agent) -> None:
    name = session_in("closed", alice)
    assert states.state(name)["agent"] == {"id": alice.user_id, "name": "Alice"}
    assert ChatSession.objects.get(name=name).closed_at is not None
    handoff.reopen(name)
    assert states.state(name)["agent"] is None


def test_each_change_of_hands_counts(alice: Agent, bob: Agent) -> None:
    name = make_session()
    epochs = [epoch_of(name)]
    for verb in (
        "escalate",
        "cancel",
        "escalate",
        "take_over",
        "release",
        "take_over_by_another",
        "close_by_customer",
        "reopen",
    ):
        do(verb, name, alice, bob)
        epochs.append(epoch_of(name))
    assert epochs == list(range(9))


def test_change_and_what_is_said_of_it_come_in_this_order(alice: Agent) -> None:
    """The customer reads the line first; the status change then says who has the session."""
    name = session_in("pending_manual", alice)
    handoff.take_over(name, alice.person)
    kinds = [(e["type"], e["payload"].get("status")) for e in events_of(name)]
    assert kinds == [
        ("message", "complete"),
        ("status_change", "pending_manual"),
        ("message", "complete"),
        ("status_change", "manual_live"),
    ]
    own = events_of(events.agent_target(alice.user_id))
    assert [e["type"] for e in own] == ["session_assigned"]
    changes = [e["payload"]["change"] for e in events_of(events.AGENTS, "queue_update")]
    assert changes == ["added", "removed"]


def test_system_lines_are_in_the_customers_language(alice: Agent) -> None:
    english, chinese = make_session(language="en"), make_session(language="zh-hans")
    for name in (english, chinese):
        handoff.escalate(name)
    said = [ChatSession.objects.get(name=name).messages.get().content
            for name in (english, chinese)]  # fmt: skip
    assert said[0].isascii()
    assert not said[1].isascii()


def test_rolled_back_verb_leaves_no_event_and_no_message(alice: Agent) -> None:
    name = make_session()
    before = everything_of(name)

    class ChangedMind(Exception):
        pass

    @transaction.atomic
    def half_done() -> None:
        handoff.escalate(name, text="broken lamp")
        handoff.take_over(name, alice.person)
        assert len(events_of(name)) == 4
        raise ChangedMind

    with pytest.raises(ChangedMind):
        half_done()
    assert everything_of(name) == before
    handoff.escalate(name)
    # The log goes on where it was, without a gap for what never happened.
    assert [e.seq for e in Event.objects.filter(target__name=name).order_by("seq")] == [1, 2]


@pytest.mark.parametrize(
    "illegal",
    [
        {"status": "manual_live"},
        {"status": "pending_manual"},
        {"status": "asleep"},
        {"status": ""},
        {"agent": True},
        {"agent": True, "status": "pending_manual", "escalated_at": True},
        {"agent": True, "status": "after_hours_email"},
        {"name": "taken"},
        {"name": None},
        {"ownership_epoch": -1},
    ],
    ids=str,
)
def test_database_refuses_a_session_that_cannot_be(
    illegal: dict[str, Any], alice: Agent
) -> None:
    ChatSession.objects.filter(name=make_session()).update(name="taken")
    name = make_session()
    if illegal.get("agent"):
        illegal = illegal | {"agent": alice.user}
    if illegal.get("escalated_at"):
        illegal = illegal | {"escalated_at": timezone.now()}
    with pytest.raises(IntegrityError), transaction.atomic():
        ChatSession.objects.filter(name=name).update(**illegal)
    assert status_of(name) == "bot_active"


@pytest.mark.parametrize(
    "illegal",
    [
        {"role": "agent"},
        {"role": "stranger"},
        {"role": "user", "client_id": "known"},
        {"role": "user", "content": None},
    ],
    ids=str,
)
def test_database_refuses_a_message_that_cannot_be(illegal: dict[str, Any]) -> None:
    session = ChatSession.objects.get(name=make_session())
    Message.objects.create(session=session, role="user", content="hi", client_id="known")
    with pytest.raises(IntegrityError), transaction.atomic():
        Message.objects.create(**({"session": session, "content": "hi"} | illegal))
    assert session.messages.count() == 1


def test_database_refuses_a_second_turn_at_once() -> None:
    name = make_session()
    verbs.write(name, content="one", client_id="1")
    verbs.write(name, content="two", client_id="2")
    session = ChatSession.objects.get(name=name)
    assert session.turns.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        session.turns.create(question=session.messages.last(), ownership_epoch=0)


# --- At once ----------------------------------------------------------------------------


def at_once(count: int, act: Callable[[int], object]) -> list[object]:
    """Call it in so many threads, each with a connection of its own; the results, or what was
    raised for a refusal."""
    gate = Barrier(count)

    def run(number: int) -> object:
        try:
            gate.wait(10)
            return act(number)
        except ConversationError as refusal:
            return refusal
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


@pytest.mark.django_db(transaction=True)
def test_of_twenty_agents_one_takes_over_and_nineteen_learn_who() -> None:
    agents = [make_agent(f"agent{n}") for n in range(20)]
    name = make_session()
    handoff.escalate(name)

    results = at_once(20, lambda n: handoff.take_over(name, agents[n].person))

    won = [agents[n] for n, result in enumerate(results) if isinstance(result, ChatSession)]
    lost = [result for result in results if isinstance(result, AlreadyTaken)]
    assert (len(won), len(lost)) == (1, 19)
    winner = {"id": won[0].user_id, "name": won[0].display_name}
    assert {tuple(refusal.details["agent"].items()) for refusal in lost} == {
        tuple(winner.items())
    }
    assert states.state(name)["agent"] == winner
    assert epoch_of(name) == 2
    statuses = [e["payload"]["status"] for e in events_of(name, "status_change")]
    assert statuses == ["pending_manual", "manual_live"]
    told = [a for a in agents if events_of(events.agent_target(a.user_id))]
    assert told == [won[0]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("other", ["cancel", "close_by_customer"])
def test_takeover_against_the_customers_own_step_leaves_one_history(other: str) -> None:
    alice, bob = make_agent("alice"), make_agent("bob")
    for _ in range(5):
        name = make_session()
        handoff.escalate(name)
        steps = ("take_over", other)

        results = at_once(2, lambda n, name=name, steps=steps: do(steps[n], name, alice, bob))

        history = [e["payload"] for e in events_of(name, "status_change")]
        # Each step began where the one before it ended: nobody's was overwritten unseen.
        assert [step["previous"] for step in history[1:]] == [
            step["status"] for step in history[:-1]
        ]
        assert history[-1]["status"] == status_of(name)
        assert epoch_of(name) == len(history)
        refused = [result for result in results if isinstance(result, ConversationError)]
        assert len(history) == 3 - len(refused)


@pytest.mark.django_db(transaction=True)
def test_customer_escalating_twice_at_once_is_put_in_line_once() -> None:
    make_agent("alice")
    name = make_session()
    results = at_once(2, lambda _: handoff.escalate(name))
    assert sorted(type(result).__name__ for result in results) == [
        "ChatSession",
        "ManualInProgress",
    ]
    assert len(events_of(name, "status_change")) == 1
    assert ChatSession.objects.get(name=name).messages.count() == 1


@pytest.mark.django_db(transaction=True)
def test_message_against_a_close_is_stored_before_it_or_refused() -> None:
    for _ in range(5):
        name = make_session()

        def act(number: int, name: str = name) -> object:
            if number:
                return handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER)
            return verbs.write(name, content="wait", client_id="1")

        written, _closed = at_once(2, act)
        roles = [e["payload"]["role"] for e in events_of(name, "message")]
        if isinstance(written, SessionClosed):
            assert roles == ["system"]
        else:
            assert roles == ["user", "system"]
        assert not ChatSession.objects.get(name=name).turns.filter(state="waiting").exists()


# --- Is anyone there, and how long will it take? ----------------------------------------

NOBODY_THERE: list[tuple[str, timedelta, bool]] = [
    ("offline", timedelta(0), True),
    ("break", timedelta(0), True),
    ("online", timedelta(seconds=61), True),
    ("online", timedelta(0), False),
]


@pytest.mark.parametrize(("status", "unseen_for", "active"), NOBODY_THERE, ids=str)
def test_escalation_goes_to_email_when_no_agent_can_come(
    status: str, unseen_for: timedelta, active: bool
) -> None:
    agent = make_agent("alice", status=status)
    Agent.objects.update(seen_at=timezone.now() - unseen_for)
    agent.user.is_active = active
    agent.user.save()
    name = make_session()
    handoff.escalate(name, text="broken lamp")
    state = states.state(name)
    assert state["status"] == "after_hours_email"
    assert state["queue"] is None
    assert state["reason"] == "broken lamp"
    assert state["messages"][-1]["role"] == "system"


@pytest.mark.parametrize("status", ["online", "busy"])
def test_escalation_goes_into_the_line_when_an_agent_can_come(status: str) -> None:
    make_agent("alice", status="offline")
    make_agent("bob", status=status)
    name = make_session()
    handoff.escalate(name)
    assert status_of(name) == "pending_manual"


def test_escalation_goes_to_email_outside_opening_hours(
    settings: Settings, alice: Agent
) -> None:
    tomorrow = timetable.DAYS[(timezone.localtime().weekday() + 1) % 7]
    settings.OPENING_HOURS = f"{tomorrow} 00:00-00:01"
    name = make_session()
    handoff.escalate(name)
    assert status_of(name) == "after_hours_email"
    settings.OPENING_HOURS = ""
    handoff.escalate(name)
    assert status_of(name) == "pending_manual"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "when", "is_open"),
    [
        ("", "2026-01-01 03:00", True),
        ("  ; ", "2026-01-01 03:00", True),
        ("mon-fri 09:00-18:00", "2026-01-02 09:00", True),  # a Friday
        ("mon-fri 09:00-18:00", "2026-01-02 08:59", False),
        ("mon-fri 09:00-18:00", "2026-01-02 17:59", True),
        ("mon-fri 09:00-18:00", "2026-01-02 18:00", False),
        ("mon-fri 09:00-18:00", "2026-01-03 12:00", False),
        ("MON-FRI 09:00-18:00; Sat 10:00-14:00", "2026-01-03 12:00", True),
        ("fri 09:00-12:00; fri 13:00-18:00;", "2026-01-02 12:30", False),
        ("fri 09:00-12:00; fri 13:00-18:00;", "2026-01-02 13:00", True),
        ("fri 00:00-24:00", "2026-01-02 23:59", True),
        ("fri 00:00-24:00", "2026-01-03 00:00", False),
    ],
)
def test_opening_hours(settings: Settings, text: str, when: str, is_open: bool) -> None:
    settings.OPENING_HOURS = text
    assert hours.is_open(moment(when)) is is_open


def test_opening_hours_are_in_the_sites_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    settings.OPENING_HOURS = "mon 09:00-18:00"
    assert hours.is_open(moment("2026-01-05 02:00"))
    assert not hours.is_open(moment("2026-01-05 12:00"))


@pytest.mark.parametrize(
    "text",
    [
        "always",
        "mon",
        "mon 9:00-18:00",
        "mon 09:00",
        "mon 09:00-09:00",
        "mon 24:00-24:00",
        "mon 25:00-26:00",
        "mon 09:60-10:00",
        "mon 09:00-10:00, tue 09:00-10:00",
        "fri-mon 09:00-10:00",
        "foo 09:00-10:00",
        "mon-foo 09:00-10:00",
        "mon 09:00-10:00; tue",
        "mon ０9:00-10:00",
    ],
)
def test_unreadable_opening_hours_are_refused_with_the_part_that_is_wrong(text: str) -> None:
    with pytest.raises(timetable.InvalidHours, match=text.split(";")[-1].strip()[:3].lower()):
        timetable.parse(text)


def in_line() -> list[str]:
    names = [make_session() for _ in range(3)]
    for name in names:
        handoff.escalate(name)
        waiting.announce_places()
    return names


def places(name: str) -> list[int]:
    return [event["payload"]["position"] for event in events_of(name, "queue_position")]


@pytest.mark.parametrize("leaves", ["cancel", "take_over", "close_by_customer"])
def test_those_behind_move_up_and_are_told(leaves: str, alice: Agent, bob: Agent) -> None:
    first, second, third = in_line()
    assert [places(name) for name in (first, second, third)] == [[1], [2], [3]]
    do(leaves, first, alice, bob)
    waiting.announce_places()
    assert places(first) == [1]
    assert places(second) == [2, 1]
    assert places(third) == [3, 2]
    assert states.state(third)["queue"]["position"] == 2


def test_two_who_asked_in_the_same_instant_have_two_places(alice: Agent) -> None:
    names = [session_in("pending_manual", alice) for _ in range(2)]
    ChatSession.objects.filter(name__in=names).update(escalated_at=timezone.now())
    assert [states.state(name)["queue"]["position"] for name in names] == [1, 2]


LONG_LINE = 800


@pytest.fixture
def long_line() -> list[str]:
    """The names of those who wait, all of whom know their place."""
    since = timezone.now() - timedelta(hours=1)
    ChatSession.objects.bulk_create(
        ChatSession(
            token_digest=str(place),
            status=Status.PENDING_MANUAL,
            escalated_at=since + timedelta(seconds=place),
            queue_position=place,
        )
        for place in range(1, LONG_LINE + 1)
    )
    return list(ChatSession.objects.pending().values_list("name", flat=True))


def announced() -> int:
    return Event.objects.filter(data__contains='"queue_position"').count()


@pytest.mark.parametrize("leaves", ["cancel", "take_over", "close_by_customer"])
def test_departure_from_a_long_line_costs_those_behind_little(
    leaves: str,
    long_line: list[str],
    alice: Agent,
    bob: Agent,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Nothing in the request; at once those in front, the others a bounded number at a time."""
    with django_capture_on_commit_callbacks(execute=True):
        do(leaves, long_line[3], alice, bob)
    assert announced() == 0

    waiting.announce_places(everybody=False)
    assert announced() == waiting.FIRST - 3
    rounds = 0
    while waiting.announce_places():
        rounds += 1
        assert announced() <= waiting.FIRST - 3 + rounds * waiting.TOLD_AT_ONCE
    assert rounds == 4
    left = [name for name in long_line if name != long_line[3]]
    for place in (1, 3, 4, 10, 11, 400, LONG_LINE - 1):
        told = places(left[place - 1])
        # Who was in front of the one who left has heard nothing, the others one thing.
        assert told == ([place] if place > 3 else [])
        assert states.state(left[place - 1])["queue"]["position"] == place
    assert list(ChatSession.objects.pending().values_list("queue_position", flat=True)) == list(
        range(1, LONG_LINE)
    )


def test_those_at_the_end_of_a_long_line_are_not_forgotten(
    long_line: list[str], alice: Agent
) -> None:
    """Also where more leave than can be told in time."""
    for name in long_line[:8]:
        handoff.take_over(name, alice.person)
        waiting.announce_places()
    announced_places = ChatSession.objects.pending().values_list("queue_position", flat=True)
    wrong_by = [
        announced_place - place
        for place, announced_place in enumerate(announced_places, start=1)
        if announced_place is not None
    ]
    assert len(wrong_by) == LONG_LINE - 8
    assert max(wrong_by) <= 1 + LONG_LINE // waiting.TOLD_AT_ONCE


def test_who_comes_last_is_told_the_place_at_once(long_line: list[str], alice: Agent) -> None:
    name = make_session()
    handoff.escalate(name)
    waiting.announce_places(everybody=False)
    assert places(name) == [LONG_LINE + 1]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["escalate", "stop", "close", "takeover"])
def test_change_whose_outcome_cannot_be_read_is_not_made(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told that it failed, its caller may repeat it."""
    visitor, colleague = Visitor(), Colleague(make_agent("alice"))
    before = everything_of(visitor.session)

    def fail(*_: object) -> None:
        raise OperationalError("the database is gone")

    monkeypatch.setattr("sse.cursor", fail)
    caller = colleague if verb == "takeover" else visitor
    answer = caller.post(f"/sessions/{visitor.session}/{verb}")
    assert answer.status_code == 503
    assert everything_of(visitor.session) == before


@pytest.mark.django_db(transaction=True)
def test_change_that_is_done_is_not_undone_by_what_comes_after_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_agent("alice")
    visitor = Visitor()

    def fail(*_: object) -> None:
        raise OperationalError("the database is gone")

    monkeypatch.setattr("sse.live.outbox.Outbox.put", fail)
    answer = visitor.post(visitor.at("/escalate"))
    assert answer.status_code == 200
    assert answer.json()["status"] == status_of(visitor.session) == "pending_manual"
    assert "the database is gone" in caplog.text


@pytest.mark.parametrize("then", ["stays", "goes back"])
def test_an_answer_goes_on_while_the_ai_keeps_the_session(then: str) -> None:
    """Nobody is there to take over, so what the AI is saying is not cut off."""
    name = make_session()
    verbs.write(name, content="How long?", client_id="1")
    (pk,) = turns.claim(1)
    turn = turns.load(pk)
    _, covered = turns.conversation(turn)
    turns.start(turn)
    turns.extend(turn, "Two")
    handoff.escalate(name)
    assert status_of(name) == "after_hours_email"
    if then == "goes back":
        handoff.cancel_escalation(name)
    turns.extend(turn, " days.")
    turns.finish(turn, turn.text, (), covered)
    answer = ChatSession.objects.get(name=name).messages.get(role="assistant")
    assert (answer.content, answer.status) == ("Two days.", "complete")
    assert events_of(name, "reply_aborted") == []
