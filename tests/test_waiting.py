"""How long a place in the line may take: measured, robust, and told anew when it changes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from agent_workbench import presence
from agent_workbench.models import Agent
from ai_chatbot.conversation import estimates, handoff, states, waiting
from ai_chatbot.conversation.estimates import Estimate, Wait
from ai_chatbot.models import ChatSession, HandoffRecord, Outcome, Priority, Reason
from tests.harness.waiting import wait_until
from tests.in_process import events_of, make_agent, make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Agent:
    return make_agent("alice")


@pytest.fixture(autouse=True)
def _assigned(settings: Settings) -> None:
    settings.ASSIGNMENT = "least_busy"


def handled(
    *seconds: float, outcome: str = Outcome.CLOSED, waited: float = 10, ago: float = 0
) -> None:
    """Conversations that agents had for so long, one ended after the other, up to now."""
    session = ChatSession.objects.get(name=make_session())
    ended = timezone.now() - timedelta(seconds=ago)
    for number, length in enumerate(seconds):
        at = ended - timedelta(seconds=len(seconds) - number)
        taken = at - timedelta(seconds=length)
        HandoffRecord.objects.create(
            session=session,
            code=Reason.REQUESTED,
            created_at=taken - timedelta(seconds=waited),
            waited_seconds=waited,
            taken_at=taken,
            ended_at=at,
            outcome=outcome,
        )


def live(agent: Agent, count: int = 1) -> list[str]:
    names = [make_session() for _ in range(count)]
    for name in names:
        handoff.take_over(name, agent.person)
    return names


def wait_in_line(count: int = 1) -> list[str]:
    names = [make_session() for _ in range(count)]
    for name in names:
        handoff.escalate(name)
    return names


def told(name: str) -> list[dict[str, Any]]:
    return [event["payload"] for event in events_of(name, "queue_position")]


# --- What is measured -------------------------------------------------------------------


def test_nothing_is_estimated_before_enough_has_been_measured(alice: Agent) -> None:
    live(alice, 5)
    (name,) = wait_in_line()
    handled(*[300] * (estimates.MEASURED_AT_LEAST - 1))
    assert states.state(name)["queue"] == {
        "position": 1,
        "estimated_wait_seconds": None,
        "estimated_wait_max_seconds": None,
    }
    handled(300)
    queue = states.state(name)["queue"]
    assert 0 < queue["estimated_wait_seconds"] < queue["estimated_wait_max_seconds"]
    waiting.announce_places()
    assert told(name) == [queue]


def test_a_wait_of_seventy_minutes_moves_nothing(alice: Agent) -> None:
    live(alice, 5)
    handled(*[300] * 10)
    before = estimates.now()
    handled(300, waited=70 * 60)
    assert estimates.now() == before


def test_one_chat_left_open_for_a_day_moves_the_estimate_little(alice: Agent) -> None:
    handled(*[300] * 10)
    handled(24 * 3600)
    seconds = estimates.handling_seconds()
    assert seconds is not None
    assert 300 < seconds < 450


def test_what_did_not_end_by_the_agents_work_does_not_count(alice: Agent) -> None:
    for outcome in (Outcome.AGENT_LOST, Outcome.AGENT_SILENT, Outcome.CUSTOMER_GONE):
        handled(*[300] * 10, outcome=outcome)
    handled(*[300] * 10, ago=15 * 24 * 3600)
    assert estimates.handling_seconds() is None
    handled(*[60] * 5, outcome=Outcome.RELEASED)
    assert estimates.handling_seconds() == 60


def test_the_latest_count(alice: Agent) -> None:
    handled(*[600] * estimates.MEASURED_AT_MOST, ago=3600)
    handled(*[100] * estimates.MEASURED_AT_MOST)
    assert estimates.handling_seconds() == 100


def test_the_time_until_an_agent_takes_the_next_one_counts(alice: Agent) -> None:
    """Where that one waited already; who has nobody to take loses no time."""
    session = ChatSession.objects.get(name=make_session())
    at = timezone.now() - timedelta(hours=6)
    for number in range(10):
        # Each had for 300 s; the next is taken 60 s later, half of them after nobody was there.
        asked = at - timedelta(seconds=10) if number % 2 else at + timedelta(seconds=3600)
        taken = at + timedelta(seconds=60) if number % 2 else asked
        at = taken + timedelta(seconds=300)
        HandoffRecord.objects.create(
            session=session,
            agent=alice.user,
            code=Reason.REQUESTED,
            created_at=asked,
            taken_at=taken,
            ended_at=at,
            outcome=Outcome.CLOSED,
        )
    assert estimates.handling_seconds() == 360


# --- What the agents on duty can take -----------------------------------------------------


def test_capacity_is_that_of_agents_who_are_given_something(alice: Agent) -> None:
    bob, carol, dave = make_agent("bob"), make_agent("carol"), make_agent("dave")
    assert presence.capacity() == (20, 20)
    live(alice, 2)
    live(bob, 5)
    live(carol, 1)
    presence.choose(carol, "busy")
    assert presence.capacity() == (15, 8)
    presence.choose(dave, "break")
    assert presence.capacity() == (10, 3)
    Agent.objects.filter(pk=bob.pk).update(max_sessions=2)
    assert presence.capacity() == (10, 3)
    Agent.objects.filter(pk=alice.pk).update(seen_at=timezone.now() - timedelta(hours=1))
    assert presence.capacity() == (5, 0)


def test_by_hand_an_agent_counts_for_what_is_in_hand(settings: Settings, alice: Agent) -> None:
    settings.ASSIGNMENT = "off"
    make_agent("bob")
    live(alice, 3)
    assert presence.capacity() == (4, 1)


def test_with_nobody_who_takes_any_there_is_no_estimate(alice: Agent) -> None:
    handled(*[300] * 10)
    assert estimates.now().of_place(1) is not None
    presence.choose(alice, "busy")
    assert estimates.now().of_place(1) is None


# --- The formula --------------------------------------------------------------------------


def test_whoever_finds_a_free_slot_is_told_the_shortest_wait() -> None:
    estimate = Estimate(handling_seconds=600, slots=5, free=2)
    assert [estimate.of_place(place) for place in (1, 2)] == [Wait(30, 60)] * 2
    third = estimate.of_place(3)
    assert third is not None
    assert third.most > 60


def test_the_range_is_a_quartile_and_a_decile_of_the_waits() -> None:
    # Of Erlang's distribution, in times of one departure; a tenth of 6000 s.
    exact = {1: (0.288, 2.303), 2: (0.961, 3.890), 5: (3.369, 7.994), 20: (16.83, 25.90)}
    for departures, (least, most) in exact.items():
        wait = Estimate(6000, slots=10, free=0).of_place(departures)
        assert wait is not None
        assert least * 600 - step_at(wait.least + 1) - 20 <= wait.least <= least * 600 + 20
        assert most * 600 - 20 <= wait.most <= most * 600 + step_at(wait.most) + 20


def step_at(seconds: int) -> int:
    return int(next(step for up_to, step in estimates.STEPS if seconds <= up_to))


@pytest.mark.database_independent
@given(st.floats(0, 10**6), st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 10_000))
def test_a_wait_is_a_range_in_honest_steps(
    handling: float, slots: int, free: int, place: int
) -> None:
    estimate = Estimate(handling, slots, min(slots, free))
    wait = estimate.of_place(place)
    if slots == 0:
        assert wait is None
        return
    assert wait is not None
    assert 30 <= wait.least < wait.most
    for seconds in (wait.least, wait.most):
        assert seconds % step_at(seconds) == 0
    behind = estimate.of_place(place + 1)
    assert behind is not None
    assert (behind.least, behind.most) >= (wait.least, wait.most)


# --- What is told -------------------------------------------------------------------------


def test_a_wait_that_has_changed_much_is_told_though_the_place_has_not(alice: Agent) -> None:
    bob = make_agent("bob")
    live(alice, 5)
    live(bob, 5)
    handled(*[600] * 10)
    first, second = wait_in_line(2)
    waiting.announce_places()
    before = told(second)[-1]
    assert waiting.announce_places() == 0
    # An agent takes a break: what was two agents' work is one's.
    presence.choose(bob, "break")
    assert waiting.announce_places() == 2
    after = told(second)[-1]
    assert after["position"] == before["position"] == 2
    assert after["estimated_wait_max_seconds"] >= 1.5 * before["estimated_wait_max_seconds"]
    assert waiting.announce_places() == 0
    # Nobody is left who would take any: the place alone.
    presence.choose(alice, "busy")
    assert waiting.announce_places() == 2
    assert told(second)[-1]["estimated_wait_max_seconds"] is None
    assert [payload["position"] for payload in told(first)] == [1, 1, 1]
    for name in (first, second):
        assert told(name)[-1] == states.state(name)["queue"]


def test_a_wait_that_has_changed_a_little_is_not_told(alice: Agent) -> None:
    live(alice, 5)
    handled(*[600] * 10)
    wait_in_line(3)
    waiting.announce_places()
    handled(*[700] * 10)
    assert waiting.announce_places() == 0


def test_who_comes_back_into_the_line_is_told_anew(alice: Agent) -> None:
    live(alice, 5)
    handled(*[600] * 10)
    (name,) = wait_in_line()
    waiting.announce_places()
    handoff.cancel_escalation(name)
    handoff.escalate(name)
    assert waiting.announce_places() == 1


def test_an_urgent_newcomer_moves_everybody_and_all_are_told(alice: Agent) -> None:
    names = wait_in_line(30)
    waiting.announce_places()
    urgent = make_session()
    handoff.escalate(urgent)
    ChatSession.objects.filter(name=urgent).update(priority=4)
    # At once those in front and the newcomer.
    assert waiting.announce_places(everybody=False) == 1 + (waiting.FIRST - 1)
    waiting.announce_places()
    for place, name in enumerate([urgent, *names], start=1):
        assert told(name)[-1]["position"] == place


@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("postgresql")
def test_processes_that_see_the_line_in_different_orders_do_not_wait_for_one_another(
    alice: Agent,
) -> None:
    names = wait_in_line(2)
    sessions = ChatSession.objects.filter(name__in=names).order_by("pk")
    pks = list(sessions.values_list("pk", flat=True))

    def somebody_waits(count: int) -> Callable[[], bool]:
        def asked() -> bool:
            with connection.cursor() as cursor:
                # Else the same is read until the transaction ends.
                cursor.execute("SELECT pg_stat_clear_snapshot()")
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                return cursor.fetchone() == (count,)

        return asked

    def in_a_process(act: Callable[[], Any]) -> Any:
        try:
            return act()
        finally:
            connections.close_all()

    def prefer_the_second() -> None:
        with transaction.atomic():
            handoff.prioritise_locked(handoff.lock(names[1]), Priority.URGENT)

    with ThreadPoolExecutor(3) as processes:
        with transaction.atomic():
            handoff.lock(names[0])
            told = [processes.submit(in_a_process, lambda: waiting._announce(pks))]
            wait_until(somebody_waits(1), what="the first to wait")
            processes.submit(in_a_process, prefer_the_second).result(10)
            told.append(processes.submit(in_a_process, lambda: waiting._announce(pks)))
            wait_until(somebody_waits(2), what="the second to wait")
        assert sum(each.result(10) for each in told) == 2
