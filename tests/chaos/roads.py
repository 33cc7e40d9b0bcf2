"""What goes wrong between processes, and between them and their clients."""

import time

from tests.chaos.world import World


def over_tls(world: World) -> None:
    """Every way a frame takes, with the server ending TLS: live, resumed, by the log."""
    world.traffic.cut_streams(every=0.1)
    time.sleep(3)
    world.redis.kill()
    time.sleep(1)
    world.redis.start()
    process = world.services[0]
    process.restart()
    world.traffic.leave_streams_alone()
    world.note_recovery()


def split(seconds: float, world: World) -> None:
    """Each process reaches a Redis of its own, then all the same again."""
    for road, redis in zip(world.redis_roads, world.redises, strict=True):
        road.lead_to(redis.port)
    world.stay_ill(seconds)
    for road in world.redis_roads:
        road.lead_to(world.redis.port)
    world.note_recovery()


def membership_expired(seconds: float, world: World) -> None:
    """The in-memory layer forgets its members after a while (tests.chaos.settings)."""
    (process,) = world.services
    time.sleep(seconds / 3)
    names = ("sse_gaps_filled_total", "sse_published_total")
    before = [process.metric(name) for name in names]
    time.sleep(seconds)
    filled, published = (
        process.metric(name) - earlier for name, earlier in zip(names, before, strict=True)
    )
    world.notes.append(f"{filled:.0f} of {published:.0f} events came late, from the log")
    if filled > published / 5:
        world.troubles.append("the process no longer hears itself")
    world.note_recovery()


def deployed(rounds: int, world: World) -> None:
    """Each process in turn is told to stop, and started again."""
    for _ in range(rounds):
        for process in world.services:
            process.terminate()
            process.start()
            time.sleep(world.chance.uniform(0.5, 1.5))
    world.note_recovery()


def crashed(rounds: int, world: World) -> None:
    """The same without a word."""
    for _ in range(rounds):
        for process in world.services:
            process.kill()
            time.sleep(1)
            process.start()
            time.sleep(world.chance.uniform(0.5, 1.5))
    world.note_recovery()
