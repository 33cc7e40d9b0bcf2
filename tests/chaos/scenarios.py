"""What goes wrong while the traffic flows."""

import time
from dataclasses import dataclass, field, replace
from functools import partial

import redis

from tests.chaos import answers, databases, roads
from tests.chaos.run import Act
from tests.chaos.world import Stage, World


@dataclass(frozen=True)
class Scenario:
    act: Act
    stage: Stage = field(default_factory=Stage)


def redis_killed(seconds: float, world: World) -> None:
    world.redis.kill()
    time.sleep(seconds)
    world.redis.start()
    world.note_recovery()


def redis_frozen(seconds: float, world: World) -> None:
    world.redis.freeze()
    time.sleep(seconds)
    world.redis.thaw()
    world.note_recovery()


def connections_killed(times: int, world: World) -> None:
    """Every client of Redis is thrown out, again and again."""
    with world.redis.client() as client:
        for _ in range(times):
            for kind in ("normal", "pubsub"):
                try:
                    client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                except redis.ConnectionError:
                    continue
            time.sleep(world.chance.uniform(0.05, 0.8))
    world.note_recovery()


def redis_emptied(times: int, world: World) -> None:
    """Stopped and at once back on its port, with nothing in memory."""
    for _ in range(times):
        world.redis.restart()
        time.sleep(world.chance.uniform(0.2, 2))
    world.note_recovery()


def process_killed(seconds: float, world: World) -> None:
    """SIGKILL, and a new one on the same port a while later; each of the processes once."""
    for service in world.chance.sample(world.services, len(world.services)):
        service.kill()
        time.sleep(seconds)
        service.start()
        time.sleep(world.chance.uniform(0.5, 1.5))


def process_stopped(seconds: float, world: World) -> None:
    """SIGTERM, as a deploy does it."""
    for service in world.chance.sample(world.services, len(world.services)):
        service.terminate()
        time.sleep(seconds)
        service.start()
        time.sleep(world.chance.uniform(0.5, 1.5))


def streams_cut(seconds: float, world: World) -> None:
    world.traffic.cut_streams(every=0.05)
    time.sleep(seconds)
    world.traffic.leave_streams_alone()


def everything(world: World) -> None:
    """One upon the other: the streams are cut while Redis and then a process die."""
    world.traffic.cut_streams(every=0.1)
    redis_killed(2, world)
    world.redis.freeze()
    world.services[0].kill()
    time.sleep(2)
    world.services[0].start()
    world.redis.thaw()
    connections_killed(3, world)
    world.traffic.leave_streams_alone()
    world.note_recovery()


_DIES = Stage(refuses=True)
_DATABASE = Stage(refuses=True, troubled=True)
_FAR = Stage(
    refuses=True,
    troubled=True,
    far_database=True,
    vendors=("postgresql",),
    why_not="SQLite is a file, with no road to it",
)
# A handful of turns that hang fill the AI of a process.
_TURNS = {"ai_chatbot.replies.TURNS_AT_ONCE": 6}
_BACKEND = {"AI_BACKEND": "tests.chaos.backend.FaultyBackend", "AI_ANSWER_SECONDS": "4"}

SCENARIOS: dict[str, Scenario] = {
    "redis-killed-0.5s": Scenario(partial(redis_killed, 0.5)),
    "redis-killed-5s": Scenario(partial(redis_killed, 5)),
    "redis-killed-40s": Scenario(partial(redis_killed, 40)),
    "redis-frozen-7s": Scenario(partial(redis_frozen, 7)),
    "connections-killed": Scenario(partial(connections_killed, 15)),
    "redis-emptied": Scenario(partial(redis_emptied, 5)),
    "process-killed": Scenario(partial(process_killed, 2), _DIES),
    "process-stopped": Scenario(partial(process_stopped, 1), _DIES),
    "streams-cut": Scenario(partial(streams_cut, 15)),
    "everything": Scenario(everything, _DIES),
    "tls": Scenario(roads.over_tls, replace(_DIES, tls=True)),
    "split-brain": Scenario(partial(roads.split, 10), Stage(redis="apart")),
    "memory-expiry": Scenario(
        partial(roads.membership_expired, 8),
        Stage(
            processes=1,
            redis="none",
            settings={"DJANGO_SETTINGS_MODULE": "tests.chaos.settings"},
        ),
    ),
    "nginx-deployed": Scenario(partial(roads.deployed, 2), Stage(nginx=True)),
    "nginx-crashed": Scenario(partial(roads.crashed, 1), Stage(nginx=True)),
    "rows-locked": Scenario(
        partial(databases.rows_locked, 8),
        replace(
            _DATABASE,
            settings=_BACKEND,
            vendors=("postgresql",),
            why_not="SQLite has one lock, of the whole database",
        ),
    ),
    "database-blocked": Scenario(partial(databases.blocked, 12), _FAR),
    "database-away": Scenario(partial(databases.away, 15), _FAR),
    "database-unwritable": Scenario(partial(databases.unwritable, 8), _DATABASE),
    "database-older": Scenario(partial(databases.older, 8), replace(_DATABASE, goes_back=True)),
    "database-restored": Scenario(
        partial(databases.restored, 2), replace(_DATABASE, goes_back=True)
    ),
    "poisoned-turn": Scenario(
        partial(answers.poisoned, 14), Stage(settings=_BACKEND, constants=_TURNS, troubled=True)
    ),
    "silent-backends": Scenario(
        partial(answers.silent, 10), Stage(settings=_BACKEND, constants=_TURNS, troubled=True)
    ),
}
