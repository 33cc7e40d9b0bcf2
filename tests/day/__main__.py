"""`python -m tests.day [--seed N] [--speed 100] [--assignment least_busy] [--agents 5]`

A day of eight hours: six of work with a rush in the middle, one in which it is closed, and one
of the next morning. Ends with 0 only if nobody was left stranded, nobody was given to an agent
who could not take it, and no agent had more than agreed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.bench.peers import databases
from tests.day.clock import HOUR, MINUTE, Clock
from tests.day.people import Agent, Customer, Turn, World
from tests.day.verdict import SETTLED, Day, read
from tests.harness.databases import Database
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services, TroubleInLog

# Who comes in each hour.
ARRIVALS = (30, 45, 65, 70, 50, 30, 12, 40)
CLOSES, REOPENS, ENDS = 6 * HOUR, 7 * HOUR, 8 * HOUR
# The death of a process.
KILLED = 3.4 * HOUR
MOST = 2
PASSWORD = "a-day-of-work-7"
# The system's own rounds, beats and leases are of the wall's seconds and do not shrink: what is
# measured by them is not divided further than to this.
LEAST = {
    "AGENT_ABSENCE_SECONDS": 5.0,
    "CUSTOMER_GONE_SECONDS": 4.0,
    "CUSTOMER_ABANDON_SECONDS": 3.0,
    "CUSTOMER_RETURN_SECONDS": 15.0,
    "AGENT_SILENT_REQUEUE_SECONDS": 8.0,
}
DURATIONS = {
    "AGENT_ABSENCE_SECONDS": 60.0,
    "AGENT_SILENT_WARN_SECONDS": 120.0,
    "AGENT_SILENT_ALERT_SECONDS": 240.0,
    "AGENT_SILENT_REQUEUE_SECONDS": 480.0,
    "CUSTOMER_GONE_SECONDS": 120.0,
    "CUSTOMER_ABANDON_SECONDS": 300.0,
    "CUSTOMER_RETURN_SECONDS": 1800.0,
    "TRANSFER_SECONDS": 60.0,
}
CONSTANTS = {
    "sse.live.upkeep.HEARTBEAT_SECONDS": 1,
    "sse.process.registry.FAINT": 4,
    "sse.process.registry.SILENCE": 8,
}
# Until everything is settled after the day, by the wall.
SETTLING_SECONDS = 60.0

# One row of the admin's page, so that the hours end and begin at any second.
HOURS = """
from datetime import datetime
from ai_chatbot.models import OpeningSpan, Schedule
schedule = Schedule.objects.create(time_zone="UTC")
for opens, closes in {spans}:
    opens, closes = map(datetime.fromisoformat, (opens, closes))
    OpeningSpan.objects.create(
        schedule=schedule, weekday=opens.weekday(), opens=opens.time(), closes=closes.time()
    )
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.day")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument(
        "--assignment", choices=("off", "round_robin", "least_busy"), default="least_busy"
    )
    parser.add_argument("--agents", type=int, default=5)
    parser.add_argument(
        "--kill", choices=("ai_chatbot", "agent_workbench"), default="agent_workbench"
    )
    parser.add_argument("--logs", type=Path, help="a folder to keep the services' logs in")
    options = parser.parse_args()
    say(
        f"seed {options.seed}, {options.speed:g} times as fast, {options.assignment}, "
        f"{options.agents} agents with {MOST} conversations at most"
    )
    with (
        tempfile.TemporaryDirectory(prefix="tests-day-") as directory,
        databases("postgresql") as source,
        RedisServer() as redis,
        source.fresh() as database,
    ):
        names = [f"agent{number}" for number in range(1, options.agents + 1)]
        for name in names:
            database.create_agent(name, PASSWORD, "--max-sessions", str(MOST))
        settings = {
            name: f"{max(seconds / options.speed, LEAST.get(name, 0.0)):.3f}"
            for name, seconds in DURATIONS.items()
        }
        logs = options.logs or Path(directory)
        logs.mkdir(parents=True, exist_ok=True)
        with Services(database, logs) as services:
            pair = services.pair(
                redis,
                constants={
                    **CONSTANTS,
                    "ai_chatbot.conversation.estimates.PACE": options.speed,
                },
                **settings,
                ASSIGNMENT=options.assignment,
                RATE_LIMITS="off",
                SSE_MAX_STREAMS_PER_ADDRESS="0",
                SSE_MAX_STREAMS_PER_TARGET="0",
                SSE_HEARTBEAT_SECONDS="5",
                SSE_RETENTION_EVENTS="1000000",
                LOG_LEVEL="WARNING",
            )
            day = asyncio.run(
                live(options, database, pair, names, float(settings["AGENT_ABSENCE_SECONDS"]))
            )
            read(database, day)
            troubles = day.violations()
            for service in pair:
                service.terminate()
                try:
                    service.check_log()
                except TroubleInLog as trouble:
                    troubles.append(str(trouble)[:2000])
    width = max(len(name) for name, _ in day.table())
    for name, value in day.table():
        say(f"{name.ljust(width)}  {value}")
    for trouble in troubles:
        say(f"VIOLATION: {trouble}")
    say(f"{len(troubles)} violations")
    return int(bool(troubles))


async def live(
    options: argparse.Namespace,
    database: Database,
    pair: tuple[Service, Service],
    names: list[str],
    absence: float,
) -> Day:
    chatbot, workbench = pair
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=15, limits=limits, trust_env=False) as http:
        clock = Clock(options.speed, began=time.time() + 8)
        world = World(
            clock=clock,
            chatbot=chatbot.api_url,
            workbench=workbench.workbench_url,
            http=http,
            by_hand=options.assignment == "off",
            ends=ENDS,
        )
        day = Day(world, absence, dict.fromkeys(names, MOST))
        spans = [
            [_utc(clock.wall(begins)), _utc(clock.wall(ends))]
            for begins, ends in ((-HOUR, CLOSES), (REOPENS, REOPENS + 20 * HOUR))
        ]
        await asyncio.to_thread(
            database.manage, "shell", "-v", "0", "-c", HOURS.format(spans=spans)
        )
        chance = random.Random(options.seed)
        agents = [Agent(world, name, PASSWORD, MOST, _chance(chance)) for name in names]
        for agent in agents:
            await agent.begin()
        await clock.until(0)
        at_work = [
            asyncio.create_task(
                world.careful(agent.name, agent.live(turns(number, len(agents), chance)))
            )
            for number, agent in enumerate(agents)
        ]
        killing = asyncio.create_task(
            kill(clock, chatbot if options.kill == chatbot.product else workbench)
        )
        customers = []
        for number, at in enumerate(arrivals(chance)):
            await clock.until(at)
            customer = Customer(world, f"c{number}", _chance(chance))
            customers.append(asyncio.create_task(world.careful(customer.name, customer.live())))
            if number % 50 == 0:
                say(f"{at / HOUR:.1f} h: {number} customers have come")
        await clock.until(ENDS)
        await killing
        await settle(day, database, agents)
        for task in customers + at_work:
            task.cancel()
        for agent in agents:
            if agent.stream is not None:
                await agent.stream.drop()
        await asyncio.gather(*customers, *at_work, return_exceptions=True)
    return day


async def settle(day: Day, database: Database, agents: list[Agent]) -> None:
    """The next morning's work: until all have been served, and mail has been answered."""
    deadline = time.monotonic() + SETTLING_SECONDS
    # Those whose page is open are back in line by then.
    await asyncio.sleep(5)
    while time.monotonic() < deadline:
        day.mailed += await agents[0].work_off_mail()
        probe = Day(day.world, day.absence, day.most)
        await asyncio.to_thread(read, database, probe)
        if all(status in SETTLED for status in probe.statuses.values()):
            return
        await asyncio.sleep(2)


async def kill(clock: Clock, service: Service) -> None:
    await clock.until(KILLED)
    say(f"{KILLED / HOUR:.1f} h: {service.product} is killed")
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    say(f"{clock.now() / HOUR:.1f} h: and serves again")


def arrivals(chance: random.Random) -> list[float]:
    """Poisson's, hour by hour."""
    found = []
    for hour, each in enumerate(ARRIVALS):
        at = hour * HOUR + chance.expovariate(each / HOUR)
        while at < (hour + 1) * HOUR:
            found.append(at)
            at += chance.expovariate(each / HOUR)
    return found


def turns(number: int, of: int, chance: random.Random) -> list[Turn]:
    """A break of about a quarter of an hour every two hours, home after work, back the next
    morning; two machines die, one of them for good."""
    found = []
    at = (0.8 + 1.5 * number / of) * HOUR
    while at < CLOSES - 0.5 * HOUR:
        found.append(Turn(at, "break"))
        found.append(Turn(at + chance.uniform(10, 20) * MINUTE, "online"))
        at += chance.uniform(1.8, 2.4) * HOUR
    if number == 1:
        found = [turn for turn in found if not 2.2 * HOUR < turn.at < 3.4 * HOUR]
        found += [Turn(2.5 * HOUR, "gone"), Turn(3.1 * HOUR, "back")]
    if number == 2:
        found = [turn for turn in found if turn.at < 4.4 * HOUR] + [Turn(4.5 * HOUR, "gone")]
        return [*found, Turn(REOPENS + 6 * MINUTE, "back")]
    found.append(Turn(CLOSES + chance.uniform(5, 25) * MINUTE, "offline"))
    found.append(Turn(REOPENS + chance.uniform(-5, 5) * MINUTE, "online"))
    return found


def _chance(chance: random.Random) -> random.Random:
    return random.Random(chance.random())


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None, microsecond=0).isoformat()


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a command has to say


if __name__ == "__main__":
    sys.exit(main())
