"""A short form of `python -m tests.chaos`: faults while messages flow, counted exactly."""

from dataclasses import replace

import pytest

from tests.chaos import answers, databases, scenarios
from tests.chaos.run import Act, Load, run
from tests.chaos.world import Stage, World
from tests.harness.databases import Database
from tests.harness.services import Server

LOAD = Load(streams=20, rate=20, calm=1)
# While questions are asked as well, and for longer.
LESS = replace(LOAD, rate=8)


def redis_comes_and_goes(world: World) -> None:
    scenarios.redis_killed(0.5, world)
    scenarios.redis_frozen(2.5, world)
    scenarios.connections_killed(3, world)


def streams_are_cut_and_a_process_killed(world: World) -> None:
    world.traffic.cut_streams(every=0.1)
    killed = world.services[0]
    killed.kill()
    killed.start()
    world.traffic.leave_streams_alone()


def answers_and_the_database_fail(world: World) -> None:
    answers.poisoned(0.5, world)
    databases.unwritable(0.5, world)
    databases.older(4, world)


DIES = Stage(refuses=True)
GOES_BACK = Stage(
    refuses=True,
    troubled=True,
    goes_back=True,
    settings={"AI_BACKEND": "tests.chaos.backend.FaultyBackend"},
    constants={"sse.live.upkeep.CHECK_SECONDS": 1, "sse.live.upkeep.HEARTBEAT_SECONDS": 1},
)


@pytest.mark.parametrize(
    ("act", "server", "stage"),
    [
        pytest.param(
            *(redis_comes_and_goes, "daphne", Stage()), marks=pytest.mark.database_independent
        ),
        (streams_are_cut_and_a_process_killed, "uvicorn", DIES),
        (answers_and_the_database_fail, "daphne", GOES_BACK),
    ],
)
def test_every_stream_gets_every_message_once_and_in_order(
    act: Act, server: Server, stage: Stage, demo_database: Database
) -> None:
    outcome = run(
        act.__name__,
        act,
        demo_database,
        load=LESS if act is answers_and_the_database_fail else LOAD,
        seed=1,
        server=server,
        stage=stage,
    )

    assert outcome.failures == []
    assert outcome.accepted >= 40
    assert outcome.expected >= LOAD.streams
