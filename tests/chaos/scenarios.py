"""What goes wrong while the traffic flows."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from tests.chaos.run import World

Scenario = Callable[["World"], None]


def redis_killed(seconds: float, world: "World") -> None:
    world.redis.kill()
    time.sleep(seconds)
    world.redis.start()
    world.note_recovery()


def redis_frozen(seconds: float, world: "World") -> None:
    world.redis.freeze()
    time.sleep(seconds)
    world.redis.thaw()
    world.note_recovery()


def connections_killed(times: int, world: "World") -> None:
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


def redis_emptied(times: int, world: "World") -> None:
    """Stopped and at once back on its port, with nothing in memory."""
    for _ in range(times):
        world.redis.restart()
        time.sleep(world.chance.uniform(0.2, 2))
    world.note_recovery()


def process_killed(seconds: float, world: "World") -> None:
    """SIGKILL, and a new one on the same port a while later; each of the processes once."""
    for service in world.chance.sample(world.services, len(world.services)):
        service.kill()
        time.sleep(seconds)
        service.start()
        time.sleep(world.chance.uniform(0.5, 1.5))


def process_stopped(seconds: float, world: "World") -> None:
    """SIGTERM, as a deploy does it."""
    for service in world.chance.sample(world.services, len(world.services)):
        service.terminate()
        time.sleep(seconds)
        service.start()
        time.sleep(world.chance.uniform(0.5, 1.5))


def streams_cut(seconds: float, world: "World") -> None:
    world.traffic.cut_streams(every=0.05)
    time.sleep(seconds)
    world.traffic.leave_streams_alone()


def everything(world: "World") -> None:
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


SCENARIOS: dict[str, Scenario] = {
    "redis-killed-0.5s": partial(redis_killed, 0.5),
    "redis-killed-5s": partial(redis_killed, 5),
    "redis-killed-40s": partial(redis_killed, 40),
    "redis-frozen-7s": partial(redis_frozen, 7),
    "connections-killed": partial(connections_killed, 15),
    "redis-emptied": partial(redis_emptied, 5),
    "process-killed": partial(process_killed, 2),
    "process-stopped": partial(process_stopped, 1),
    "streams-cut": partial(streams_cut, 15),
    "everything": everything,
}
