"""What the day came to, from the database's own history and from what people said and saw."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg

from tests.day.people import Said, Visit, World
from tests.harness.databases import Database

# A word to the system counts from the moment it has been answered. Whoever is gone without one
# is found out after the absence, and what it takes to see that a stream has ended.
FOUND_OUT_SECONDS = 4.0
SHORTEST_TOLD = 60
SETTLED = ("closed", "bot_active")


@dataclass(frozen=True)
class Held:
    """An agent had a session. Unix seconds; None: has it still."""

    session: str
    agent: str
    begun: float
    ended: float | None
    by: str


@dataclass(frozen=True)
class Change:
    at: float
    what: str  # a session's name, or an agent's
    status: str


@dataclass
class Day:
    world: World
    absence: float
    most: dict[str, int]
    statuses: dict[str, str] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    sessions: list[Change] = field(default_factory=list)
    presence: list[Change] = field(default_factory=list)
    mailed: int = 0

    # --- What must not be -----------------------------------------------------------------

    def violations(self) -> list[str]:
        return [
            *self.world.troubles,
            *self._stranded(),
            *self._given_to_whoever_could_not(),
            *self._beyond_capacity(),
        ]

    def _stranded(self) -> Iterator[str]:
        for session, status in self.statuses.items():
            if status not in SETTLED:
                yield f"{session} was left {status}"

    def _given_to_whoever_could_not(self) -> Iterator[str]:
        words: dict[str, list[Said]] = defaultdict(list)
        for said in self.world.said:
            words[said.agent].append(said)
        for held in self.held:
            if held.by != "assigned":
                continue
            heard = [said for said in words[held.agent] if said.at < held.begun]
            last = heard[-1] if heard else None
            if last is None or last.status in ("break", "offline"):
                yield f"{held.session} was assigned to {held.agent}, {last and last.status}"
            elif last.status == "gone":
                late = held.begun - last.at
                if late > self.absence + FOUND_OUT_SECONDS:
                    yield f"{held.session} was assigned to {held.agent}, gone for {late:.1f} s"

    def _beyond_capacity(self) -> Iterator[str]:
        by_agent: dict[str, list[Held]] = defaultdict(list)
        for held in self.held:
            by_agent[held.agent].append(held)
        for agent, all_held in by_agent.items():
            steps = sorted(
                [(held.begun, 1, 1) for held in all_held]
                + [(held.ended, 0, -1) for held in all_held if held.ended is not None]
            )
            has = most = 0
            for _at, _order, step in steps:
                has += step
                most = max(most, has)
            if most > self.most[agent]:
                yield f"{agent} had {most} conversations at once, of {self.most[agent]}"

    # --- How it went ----------------------------------------------------------------------

    def drains(self) -> list[float]:
        """Of each assignment, how long the slot that it took had been free while its customer
        was in line, in seconds of the wall."""
        steps: list[tuple[float, int, str, str]] = []
        steps += [(change.at, 0, change.what, change.status) for change in self.presence]
        steps += [(change.at, 1, change.what, change.status) for change in self.sessions]
        for held in self.held:
            steps.append((held.begun, 3, held.agent, held.session))
            if held.ended is not None:
                steps.append((held.ended, 2, held.agent, ""))
        assigned = {(held.session, held.begun) for held in self.held if held.by == "assigned"}
        waiting: dict[str, float] = {}
        online: dict[str, float] = {}
        # Since when each free slot has been, the longest first.
        free = {agent: [0.0] * most for agent, most in self.most.items()}
        found = []
        for at, kind, what, other in sorted(steps):
            if kind == 0 and other == "online":
                online.setdefault(what, at)
            elif kind == 0:
                online.pop(what, None)
            elif kind == 1 and other == "pending_manual":
                waiting.setdefault(what, at)
            elif kind == 1:
                waiting.pop(what, None)
            elif kind == 2:
                free[what].append(at)
            else:
                since = free[what].pop(0) if free[what] else at
                if (other, at) in assigned:
                    begun = (since, online.get(what, at), waiting.get(other, at))
                    found.append(max(0.0, at - max(begun)))
        return found

    def estimates(self) -> list[tuple[Visit, float]]:
        """Of those who were told a wait and served without a word to the contrary: how long
        they did wait."""
        speed = self.world.clock.speed
        return [
            (visit, (visit.served_at - visit.asked_at) * speed)
            for visit in self.world.visits
            if visit.told and visit.asked_at and visit.served_at and not visit.by_email
        ]

    def table(self) -> list[tuple[str, str]]:
        visits = self.world.visits
        ends = Counter(visit.left or "nothing" for visit in visits)
        asked = [visit for visit in visits if visit.asked_at]
        served = {held.session for held in self.held}
        drains = self.drains()
        told = self.estimates()
        queued = [(visit, waited) for visit, waited in told if _longest(visit) > SHORTEST_TOLD]
        within = [_told(visit)[0] <= waited <= _told(visit)[1] for visit, waited in queued]
        below = [waited <= _longest(visit) for visit, waited in queued]
        errors = [
            abs(sum(_told(visit)) / 2 - waited) / max(waited, SHORTEST_TOLD)
            for visit, waited in queued
        ]
        reasons = Counter(held.by for held in self.held)
        return [
            ("sessions", str(len(visits))),
            ("asked for a person", str(len(asked))),
            ("handled by an agent", str(len(served))),
            ("by email, answered", str(self.mailed)),
            ("abandoned", str(ends["left the line"] + ends["closed the page"])),
            ("taken or given", ", ".join(f"{by} {n}" for by, n in sorted(reasons.items()))),
            ("waited, median", _minutes(waited for _, waited in told)),
            ("told to wait for more than a minute", str(len(queued))),
            (
                "... its median relative error",
                _share(errors, statistics.median),
            ),
            (
                "... true wait within the range",
                _share(within),
            ),
            ("... waited no longer than its end", _share(below)),
            ("slot free to assigned, p50", _seconds(drains, 50)),
            ("slot free to assigned, p99", _seconds(drains, 99)),
        ]


def _told(visit: Visit) -> tuple[int, int]:
    assert visit.told is not None
    return visit.told


def _longest(visit: Visit) -> int:
    return _told(visit)[1]


def _minutes(seconds: Iterator[float]) -> str:
    found = list(seconds)
    return f"{statistics.median(found) / 60:.1f} min" if found else "-"


def _share(
    found: Sequence[float], of: Callable[[Sequence[float]], float] = statistics.fmean
) -> str:
    return f"{of(found):.0%}" if found else "-"


def _seconds(found: list[float], percent: int) -> str:
    if len(found) < 2:
        return "-"
    return f"{statistics.quantiles(found, n=100, method='inclusive')[percent - 1]:.2f} s"


def read(database: Database, day: Day) -> None:
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name, status FROM ai_chatbot_chatsession")
        day.statuses = dict(cursor.fetchall())
        cursor.execute(
            "SELECT a.display_name, u.username FROM agent_workbench_agent a "
            "JOIN auth_user u ON u.id = a.user_id"
        )
        usernames = dict(cursor.fetchall())
        cursor.execute(
            "SELECT s.name, u.username, h.taken_at, h.ended_at, s.id "
            "FROM ai_chatbot_handoffrecord h "
            "JOIN ai_chatbot_chatsession s ON s.id = h.session_id "
            "JOIN auth_user u ON u.id = h.agent_id WHERE h.taken_at IS NOT NULL"
        )
        rows = cursor.fetchall()
        cursor.execute(
            "SELECT e.data FROM sse_event e JOIN sse_target t ON t.id = e.target_id "
            "WHERE t.name = 'workbench:agents' ORDER BY e.seq"
        )
        events = [json.loads(data) for (data,) in cursor.fetchall()]
    # By session, the reasons of its take-overs in order, as the records are.
    reasons: dict[str, list[str]] = defaultdict(list)
    for event in events:
        at, payload = event["timestamp"], event["payload"]
        if event["type"] == "status_change":
            day.sessions.append(Change(at, payload["session_name"], payload["status"]))
            if payload["status"] == "manual_live":
                reasons[payload["session_name"]].append(payload["reason"])
        elif event["type"] == "presence":
            name = usernames[payload["agent"]["name"]]
            day.presence.append(Change(at, name, payload["status"]))
    for session, agent, taken_at, ended_at, _pk in sorted(rows, key=lambda row: row[2]):
        by = reasons[session].pop(0) if reasons[session] else "unknown"
        ended = _unix(ended_at) if ended_at else None
        day.held.append(Held(session, agent, _unix(taken_at), ended, by))


def _unix(moment: datetime) -> float:
    return moment.timestamp()
