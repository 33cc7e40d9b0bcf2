"""The verdict on a simulated day (`python -m tests.day`) finds what must not be."""

import asyncio

import httpx
import pytest

from tests.day.clock import Clock
from tests.day.people import Said, Visit, World
from tests.day.verdict import FOUND_OUT_SECONDS, Change, Day, Held


@pytest.fixture
def day() -> Day:
    world = World(
        clock=Clock(100, began=0),
        chatbot="",
        workbench="",
        http=httpx.AsyncClient(),
        by_hand=False,
        ends=0,
    )
    world.said = [Said("ann", "online", 1), Said("ben", "online", 1)]
    return Day(world, absence=5, most={"ann": 1, "ben": 2})


def test_a_day_on_which_nothing_went_wrong(day: Day) -> None:
    day.statuses = {"a": "closed", "b": "bot_active"}
    day.held = [
        Held("a", "ann", 2, 3, "assigned"),
        # The moment the slot is free.
        Held("b", "ann", 3, None, "assigned"),
        Held("c", "ben", 2, None, "assigned"),
        Held("d", "ben", 2, None, "taken_over"),
    ]
    assert day.violations() == []


def test_a_session_that_nobody_will_change_is_stranded(day: Day) -> None:
    day.statuses = {"a": "pending_manual", "b": "manual_live", "c": "after_hours_email"}
    assert len(day.violations()) == 3


@pytest.mark.parametrize("word", ["break", "offline"])
def test_whoever_said_so_is_given_nothing(day: Day, word: str) -> None:
    day.world.said += [Said("ann", word, 10), Said("ann", "online", 20)]
    for at, wrong in ((9, 0), (11, 1), (21, 0)):
        day.held = [Held("a", "ann", at, at + 0.5, "assigned")]
        assert len(day.violations()) == wrong
    # What one takes oneself is one's own affair.
    day.held = [Held("a", "ann", 11, 12, "taken_over")]
    assert day.violations() == []


def test_whoever_is_gone_is_found_out_in_time(day: Day) -> None:
    day.world.said.append(Said("ann", "gone", 10))
    late = 10 + day.absence + FOUND_OUT_SECONDS
    for at, wrong in ((late - 0.1, 0), (late + 0.1, 1)):
        day.held = [Held("a", "ann", at, None, "assigned")]
        assert len(day.violations()) == wrong


def test_more_at_once_than_agreed_is_found(day: Day) -> None:
    day.held = [
        Held("a", "ben", 2, 9, "assigned"),
        Held("b", "ben", 3, None, "assigned"),
        Held("c", "ben", 8, None, "taken_over"),
    ]
    assert day.violations() == ["ben had 3 conversations at once, of 2"]


def test_a_drain_counts_from_when_both_were_there(day: Day) -> None:
    day.presence = [Change(1, "ann", "online"), Change(5, "ben", "online")]
    day.sessions = [
        *(Change(at, name, "pending_manual") for at, name in ((2, "a"), (3, "b"), (3.5, "c"))),
        Change(2.51, "a", "manual_live"),
        Change(4.26, "b", "manual_live"),
        Change(5.13, "c", "manual_live"),
    ]
    day.held = [
        Held("a", "ann", 2.5, 4, "assigned"),
        Held("b", "ann", 4.25, 9, "assigned"),
        Held("c", "ben", 5.125, 9, "assigned"),
    ]
    assert day.drains() == [0.5, 0.25, 0.125]


def test_an_error_is_that_of_who_was_served(day: Day) -> None:
    day.world.visits = [
        Visit("a", asked_at=1, told=(120, 240), served_at=3),
        Visit("b", asked_at=1, told=(120, 240)),
        Visit("c", asked_at=1, told=(120, 240), served_at=99, by_email=True),
    ]
    assert [waited for _, waited in day.estimates()] == [200]
    assert dict(day.table())["told to wait for more than a minute"] == "1"


def test_the_error_of_one_life_is_a_violation_and_stops_no_other(day: Day) -> None:
    async def fail() -> None:
        raise ValueError("no such lamp")

    asyncio.run(day.world.careful("c1", fail()))
    assert day.violations() == ["c1: ValueError: no such lamp"]
