"""What goes wrong in and before the database."""

import statistics
import time
from contextlib import suppress

import httpx
import psycopg

from tests.chaos.answers import wait_done
from tests.chaos.backup import backup
from tests.chaos.world import NOTICED_SECONDS, World
from tests.harness.streams import EventStream, StreamRefused
from tests.harness.waiting import wait_until

# Under way when its rows are locked (tests.chaos.backend).
SLOW_QUESTION = "slow"


def blocked(seconds: float, world: World) -> None:
    """Connections stay, and nothing comes through them any more."""
    assert world.database_road
    world.database_road.swallow()
    world.stay_ill(seconds)
    world.database_road.open()
    _note_the_end(world)


def away(seconds: float, world: World) -> None:
    """Every connection breaks, and none can be made for a while."""
    assert world.database_road
    world.database_road.refuse()
    world.stay_ill(seconds)
    world.database_road.open()
    _note_the_end(world)


def unwritable(seconds: float, world: World) -> None:
    with world.unwritable():
        world.stay_ill(seconds)
    _note_the_end(world)


def _note_the_end(world: World) -> None:
    world.note_acceptance()
    world.note_recovery()


def older(seconds: float, world: World) -> None:
    """Back by some seconds, as a backup restored or a replica promoted that lagged behind."""
    _go_back(seconds, world)
    _wait_reset(world)
    world.note_recovery()


def restored(seconds: float, world: World) -> None:
    """The same with what docs/operations.md says is to be done after it: by then the log may be
    further than it ever was."""
    _go_back(seconds, world)
    time.sleep(3 * seconds)
    world.database.manage("renew_epochs")
    _wait_reset(world)
    world.note_recovery()


def _go_back(seconds: float, world: World) -> None:
    taken = time.time()
    kept = backup(world.database, world.directory)
    time.sleep(seconds)
    kept.restore()
    world.went_back = (taken, time.time())


def _wait_reset(world: World) -> None:
    """Until streams are told, and the other process has looked too."""
    resets = world.traffic.tally.resets
    wait_until(lambda: resets, timeout=NOTICED_SECONDS, what="a reset")
    time.sleep(5)


def rows_locked(seconds: float, world: World) -> None:
    """A session of people and three of the AI in each process are locked by somebody else,
    while streams come and go."""
    asked = 3 * len(world.services)
    questions = [world.traffic.ask(SLOW_QUESTION, answerable=False) for _ in range(asked)]
    wait_until(lambda: all(each.begun for each in questions), what="the AI to answer")
    locked = {world.traffic.conversations[0].name, *(each.session for each in questions)}
    with psycopg.connect(world.database.url) as connection:
        for rows in (
            "ai_chatbot_chatsession WHERE name = ANY(%s)",
            "sse_target WHERE name = ANY(%s)",
            "ai_chatbot_replyturn WHERE session_id IN "
            "(SELECT id FROM ai_chatbot_chatsession WHERE name = ANY(%s))",
        ):
            connection.execute(f"SELECT 1 FROM {rows} FOR UPDATE", [list(locked)])  # noqa: S608
        began = time.time()
        # Until all that is going to wait for the rows does.
        time.sleep(seconds / 4)
        opened = _open_others(world, until=began + seconds)
        time.sleep(max(0.0, began + seconds - time.time()))
        ended = time.time()
    world.notes.append(f"{opened} streams opened during it")
    if opened < len(world.services):
        world.troubles.append("streams of other sessions waited for the rows to be free")
    wait_done(world)
    world.note_recovery()
    _compare_lateness(world, locked, began, ended)


def _open_others(world: World, *, until: float) -> int:
    """Streams of a session whose rows are free; how many were connected in time."""
    talk = world.traffic.conversations[1]
    opened = 0
    for service in world.services:
        url = f"{service.api_url}/sessions/{talk.name}/events"
        left = until - time.time()
        with (
            suppress(TimeoutError, httpx.HTTPError, StreamRefused),
            EventStream(
                url, params={"token": talk.visitor_token}, timeout=max(left, 0.1)
            ) as stream,
        ):
            stream.wait_for("connected", timeout=max(until - time.time(), 0.1))
            opened += 1
    return opened


def _compare_lateness(world: World, locked: set[str], began: float, ended: float) -> None:
    """Whether messages of the other sessions waited for the lock's end."""
    late: dict[bool, list[float]] = {True: [], False: []}
    for sent in list(world.traffic.sent.values()):
        if began <= sent.began < ended:
            late[sent.session in locked].append(sent.accepted - sent.began)
    for is_locked, name in ((True, "of the locked"), (False, "of the others")):
        if len(late[is_locked]) > 1:
            p99 = statistics.quantiles(late[is_locked], n=100, method="inclusive")[98]
            world.notes.append(f"accepted within {p99:.2f} s (p99) {name}")
            if not is_locked and p99 > (ended - began) / 2:
                world.troubles.append("sessions whose rows are free waited for those locked")
