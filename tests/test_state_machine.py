"""The conversation driven at random, and what must be true of it after each step.

Customers, agents, supervisors, the clock, presence and the deaths of processes; the watch runs
as it would in a living process. `make fuzz` runs it long.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.test import override_settings
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from agent_workbench import assignment, presence, transfers, watch
from agent_workbench import notes as agent_notes
from agent_workbench.models import Agent, PresenceStatus, Role, TransferRequest
from ai_chatbot import replies, turns
from ai_chatbot.conversation import (
    availability,
    contact,
    handoff,
    rounds,
    states,
    verbs,
    waiting,
)
from ai_chatbot.conversation import presence as customers
from ai_chatbot.conversation.rounds import WATCH
from ai_chatbot.exceptions import ConversationError
from ai_chatbot.models import (
    GOING_ON,
    ChatSession,
    HandoffRecord,
    Outcome,
    Priority,
    Reason,
    ReplyTurn,
    Status,
)
from sse.models import Event, Lease, OpenStream, Process

pytestmark = pytest.mark.django_db

RUNS = int(os.environ.get("FUZZ_RUNS", "5"))
STEPS = int(os.environ.get("FUZZ_STEPS", "25"))

ABSENCE = 60
MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
# Open at no minute of the days that a run lasts.
SHUT = "sat 03:00-03:01"

CUSTOMERS = 5
AGENTS = (
    ("alice", Role.AGENT, 1),
    ("bob", Role.AGENT, 2),
    ("carol", Role.SUPERVISOR, 1),
)
PROCESSES = 2
# One of those that there are.
customer = st.integers(0, 59)
agent = st.integers(0, len(AGENTS) - 1)
process = st.integers(0, PROCESSES - 1)
# Some more often than others.
CUSTOMERS_DO = (
    *2 * ("asks_for_a_person", "writes", "comes"),
    "goes",
    "goes_back_to_the_ai",
    "leaves_an_address",
    "closes",
    "is_back_after_the_end",
)
AGENTS_DO = (
    *3 * ("connects", "takes_over", "is_cut_off"),
    *2 * ("writes", "says_how_it_is"),
    "releases",
    "closes",
    "puts_back_in_line",
    "assigns",
    "sets_priority",
    "asks_to_transfer",
    "answers_a_transfer",
    "has_room_for",
    "leaves_a_note",
)
WORLD_DOES = (
    "assignment_is", "hours_are", "process_dies", "process_starts", "process_starts",
    "database_is_away",
)  # fmt: skip


class Conversations(RuleBasedStateMachine):
    """In one transaction, which is rolled back at its end; bells ring nowhere in it, so the
    watch is called by hand, as often as it would look by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.watched_since = MONDAY_NOON
        self.sessions: dict[int, str] = {}
        self.agents: list[int] = []
        # By whom streams are held open: (kind, number) -> name of the stream.
        self.streams: dict[tuple[str, int], str] = {}
        self.alive: set[int] = set()
        # Owners that were given more than they have room for, by a supervisor's force.
        self.forced: set[str] = set()
        # What the log said last, by target, type and session; and how far it has been read.
        self.last: dict[tuple[str, str, str], Any] = {}
        self.heard = 0
        # When each agent was there last, by key.
        self.seen: dict[int, datetime] = {}
        # The ownership epochs that have been looked at.
        self.known: dict[str, int] = {}
        self.live_before: dict[int, int] = {}
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        transaction.set_rollback(False)
        self.stack.enter_context(mock.patch("django.utils.timezone.now", self._read_clock))
        self.settings = override_settings(
            ASSIGNMENT="off",
            OPENING_HOURS="",
            AGENT_ABSENCE_SECONDS=ABSENCE,
            AGENT_SILENT_WARN_SECONDS=120,
            AGENT_SILENT_ALERT_SECONDS=240,
            AGENT_SILENT_REQUEUE_SECONDS=480,
            CUSTOMER_GONE_SECONDS=120,
            CUSTOMER_ABANDON_SECONDS=300,
            CUSTOMER_RETURN_SECONDS=1800,
            IDLE_FOLLOW_UP_SECONDS=3600,
            IDLE_CLOSE_SECONDS=3600,
            RATE_LIMITS=False,
        )
        self.stack.enter_context(self.settings)
        for number in range(PROCESSES):
            self._start(number)
        for name, role, limit in AGENTS:
            user = get_user_model().objects.create(username=name)
            made = Agent.objects.create(
                user=user, display_name=name.title(), role=role, max_sessions=limit
            )
            self.agents.append(made.pk)
        for number in range(len(AGENTS)):
            self.agent_connects(number, 0)
        for number in range(2):
            self.customer_comes(number, 0, False)

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.stack.close()

    # --- The world ----------------------------------------------------------------------

    def _read_clock(self) -> datetime:
        return self.now

    def _start(self, number: int) -> None:
        Process.objects.update_or_create(
            name=f"process-{number}",
            defaults={"seen_at": self.now, "started_at": self.now},
        )
        self.alive.add(number)

    def _connect(self, holder: tuple[str, int], number: int, subject: str) -> None:
        self._disconnect(holder)
        name = uuid.uuid4().hex
        OpenStream.objects.create(
            process=Process.objects.get(name=f"process-{number}"),
            name=name,
            target=subject,
            subject=subject,
            opened_at=self.now,
        )
        self.streams[holder] = name

    def _disconnect(self, holder: tuple[str, int]) -> None:
        OpenStream.objects.filter(name=self.streams.pop(holder, "")).delete()

    def _tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        Process.objects.filter(name__in=[f"process-{n}" for n in self.alive]).update(
            seen_at=self.now
        )
        for kind, number in self.streams:
            if kind == "agent":
                self.seen[self.agents[number]] = self.now

    def _look(self) -> None:
        """What happens within two seconds while any process lives."""
        if not self.alive:
            return
        # Sessions that a round leaves aside for some seconds, which do not pass here.
        rounds._aside = rounds._Aside()
        self._rounds_went_on()
        for _ in range(3):
            told = Event.objects.aggregate(last=Max("pk"))
            watch.look()
            waiting.announce_places()
            if Event.objects.aggregate(last=Max("pk")) == told:
                break

    def _rounds_went_on(self) -> None:
        """As the lease has it, which goes by the database's clock: the rounds in between found
        nothing to do."""
        Lease.objects.update_or_create(
            name=WATCH,
            defaults={
                "holder": "somebody",
                "until": Now() + timedelta(seconds=3),
                "round_at": Now(),
                "since": Now() - (self.now - self.watched_since),
            },
        )

    def _one(self, number: int) -> str:
        names = list(self.sessions.values())
        return names[number % len(names)]

    def _agent(self, number: int) -> Agent:
        return Agent.objects.select_related("user").get(pk=self.agents[number])

    def _try(self, verb: Callable[[], Any]) -> Any:
        """A verb as an API calls it: refused or done, and nothing in between."""
        self.live_before = self._live_counts()
        try:
            with transaction.atomic():
                return verb()
        except ConversationError:
            return None
        finally:
            self._tick(0.5)
            self._look()

    def _live_counts(self) -> dict[int, int]:
        counts = dict.fromkeys(self.agents, 0)
        live = ChatSession.objects.filter(status=Status.MANUAL_LIVE)
        for user in live.values_list("agent_id", flat=True):
            pk = Agent.objects.filter(user_id=user).values_list("pk", flat=True).first()
            if pk is not None:
                counts[pk] += 1
        return counts

    # --- What happens -------------------------------------------------------------------
    # Few rules with many things in each: of many rules Hypothesis tries only some in a run.

    @rule(data=st.data(), what=st.sampled_from(CUSTOMERS_DO), whose=customer)
    def customer_does(self, data: st.DataObject, what: str, whose: int) -> None:
        if what == "comes":
            who, at = data.draw(st.integers(0, CUSTOMERS - 1)), data.draw(process)
            self.customer_comes(who, at, data.draw(st.booleans()))
        elif what == "goes":
            self.customer_goes(data.draw(st.integers(0, CUSTOMERS - 1)))
        else:
            getattr(self, f"customer_{what}")(whose)

    @rule(data=st.data(), what=st.sampled_from(AGENTS_DO), who=agent, whose=customer)
    def agent_does(self, data: st.DataObject, what: str, who: int, whose: int) -> None:
        draws = {
            "connects": [process],
            "says_how_it_is": [st.sampled_from(PresenceStatus.values)],
            "takes_over": [st.booleans()],
            "assigns": [agent],
            "sets_priority": [st.sampled_from(Priority)],
            "asks_to_transfer": [agent],
            "answers_a_transfer": [st.booleans()],
            "has_room_for": [st.integers(1, 3)],
        }
        rest = [data.draw(each) for each in draws.get(what, [])]
        if what in (
            "connects",
            "is_cut_off",
            "says_how_it_is",
            "answers_a_transfer",
            "has_room_for",
        ):
            getattr(self, f"agent_{what}")(who, *rest)
        else:
            getattr(self, f"agent_{what}")(who, whose, *rest)

    @rule(how=st.sampled_from(["answers", "fails", "dies"]))
    def ai_does(self, how: str) -> None:
        self.ai(how)

    @rule(seconds=st.sampled_from([1, 30, 65, 130, 130, 250, 500, 2000]))
    def clock_goes(self, seconds: int) -> None:
        self.time_passes(seconds)

    @rule(data=st.data(), what=st.sampled_from(WORLD_DOES))
    def world_does(self, data: st.DataObject, what: str) -> None:
        draws = {
            "assignment_is": st.sampled_from(["off", "round_robin", "least_busy"]),
            "hours_are": st.sampled_from(["", SHUT]),
            "process_dies": process,
            "process_starts": process,
            "database_is_away": st.sampled_from([20, 70, 600]),
        }
        getattr(self, what)(data.draw(draws[what]))

    # --- Customers ----------------------------------------------------------------------

    def customer_comes(self, who: int, at: int, vip: bool) -> None:
        if who not in self.sessions:
            session, _ = verbs.begin(
                nickname=f"customer-{who}", email="", language="en", metadata={"vip": vip}
            )
            self.sessions[who] = session.name
        if at in self.alive:
            self._connect(("customer", who), at, f"{customers.SUBJECT}{self.sessions[who]}")
        self._try(lambda: None)

    def customer_goes(self, who: int) -> None:
        self._disconnect(("customer", who))
        self._try(lambda: None)

    def customer_asks_for_a_person(self, who: int) -> None:
        if name := self._one(who):
            self._try(lambda: handoff.escalate(name, text="please"))

    def customer_goes_back_to_the_ai(self, who: int) -> None:
        if name := self._one(who):
            self._try(lambda: handoff.cancel_escalation(name))

    def customer_writes(self, who: int) -> None:
        if name := self._one(who):
            status = ChatSession.objects.get(name=name).status
            said = self._try(
                lambda: verbs.write(name, content="hello?", client_id=uuid.uuid4().hex)
            )
            assert (said is None) == (status == Status.CLOSED)

    def customer_leaves_an_address(self, who: int) -> None:
        if name := self._one(who):
            self._try(lambda: contact.leave(name, email="c@example.com", note="hi"))

    def customer_closes(self, who: int) -> None:
        if name := self._one(who):
            self._try(lambda: handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER))

    def customer_is_back_after_the_end(self, who: int) -> None:
        if name := self._one(who):
            self._try(lambda: handoff.reopen(name))

    # --- The AI -------------------------------------------------------------------------

    def ai(self, how: str) -> None:
        for pk in turns.claim(5):
            if how == "answers":
                self._try(lambda pk=pk: self._answer(pk))
            elif how == "fails":
                self._try(lambda pk=pk: replies._give_up(pk, "failed"))
            else:
                self._tick(turns.LEASE.total_seconds() + 1)
                self._try(replies._sweep)

    def _answer(self, pk: int) -> None:
        try:
            turn = turns.load(pk)
            _, covered = turns.conversation(turn)
            turns.start(turn)
            turns.extend(turn, "An answer.")
            turns.finish(turn, "An answer.", (), covered)
        except turns.TurnLost:
            return

    # --- Agents -------------------------------------------------------------------------

    def agent_connects(self, who: int, at: int) -> None:
        if at in self.alive:
            self._connect(("agent", who), at, presence.subject(self._agent(who)))
            self._try(lambda: presence.arrive(self._agent(who)))

    def agent_is_cut_off(self, who: int) -> None:
        self._disconnect(("agent", who))
        self._try(lambda: None)

    def agent_says_how_it_is(self, who: int, status: str) -> None:
        if ("agent", who) in self.streams:
            self._try(lambda: presence.choose(self._agent(who), status))

    def agent_takes_over(self, who: int, whose: int, force: bool) -> None:
        if whose := self._one(whose):
            taken = self._try(
                lambda: assignment.take_over(whose, self._agent(who), force=force)
            )
            if taken and force:
                self.forced.add(whose)

    def agent_writes(self, who: int, whose: int) -> None:
        if whose := self._one(whose):
            self._try(
                lambda: verbs.write_as_agent(
                    whose,
                    self._agent(who).person,
                    content="Here I am.",
                    client_id=uuid.uuid4().hex,
                )
            )

    def agent_releases(self, who: int, whose: int) -> None:
        if whose := self._one(whose):
            self._try(lambda: handoff.release(whose, self._agent(who).person))

    def agent_closes(self, who: int, whose: int) -> None:
        if whose := self._one(whose):
            self._try(
                lambda: handoff.close(
                    whose,
                    self._agent(who).person,
                    reason=Reason.CLOSED_BY_AGENT,
                )
            )

    def agent_puts_back_in_line(self, who: int, whose: int) -> None:
        if whose := self._one(whose):
            self._try(lambda: assignment.requeue(whose, self._agent(who)))

    def agent_assigns(self, who: int, whose: int, to: int) -> None:
        if whose := self._one(whose):
            self._try(
                lambda: assignment.assign(whose, self._agent(to).user_id, self._agent(who))
            )

    def agent_sets_priority(self, who: int, whose: int, priority: Priority) -> None:
        if whose := self._one(whose):
            self._try(lambda: assignment.prioritise(whose, self._agent(who), priority))

    def agent_asks_to_transfer(self, who: int, whose: int, to: int) -> None:
        if whose := self._one(whose):
            self._try(
                lambda: transfers.ask(whose, self._agent(who), self._agent(to), note="please")
            )

    def agent_answers_a_transfer(self, who: int, accept: bool) -> None:
        asked = TransferRequest.objects.filter(
            to_agent=self.agents[who], state=TransferRequest.State.PENDING
        ).first()
        if asked is not None:
            self._try(lambda: transfers.answer(asked.pk, self._agent(who), accept=accept))

    def agent_has_room_for(self, who: int, limit: int) -> None:
        made = self._agent(who)
        made.max_sessions = limit
        self._try(lambda: made.save(update_fields=["max_sessions"]))

    def agent_leaves_a_note(self, who: int, whose: int) -> None:
        if whose := self._one(whose):
            self._try(lambda: agent_notes.write(whose, self._agent(who), content="INTERNAL"))

    # --- Time, hours, processes, the database -------------------------------------------

    def time_passes(self, seconds: int) -> None:
        while seconds > 0:
            step = min(seconds, 20 if seconds < 70 else 65 if seconds < 600 else 250)
            self._tick(step)
            self._look()
            seconds -= step if self.alive else seconds

    def assignment_is(self, mode: str) -> None:
        self._set(ASSIGNMENT=mode)

    def hours_are(self, hours: str) -> None:
        self._set(OPENING_HOURS=hours)

    def _set(self, **changed: Any) -> None:
        self.stack.enter_context(override_settings(**changed))
        self._try(lambda: None)

    def process_dies(self, number: int) -> None:
        """Its streams are gone with it; nobody says so."""
        self.alive.discard(number)
        for holder, name in list(self.streams.items()):
            stream = OpenStream.objects.filter(name=name)
            if not stream.exclude(process__name=f"process-{number}").exists():
                del self.streams[holder]
        self._try(lambda: None)

    def process_starts(self, number: int) -> None:
        if not self.alive:
            # Nobody has looked since the last one died.
            self.watched_since = self.now
        self._start(number)
        self._try(lambda: None)

    def database_is_away(self, seconds: int) -> None:
        """Nothing is written meanwhile, and nobody loses a conversation for it."""
        owners = dict(
            ChatSession.objects.filter(status=Status.MANUAL_LIVE).values_list("pk", "agent_id")
        )
        kept = {
            pk
            for pk, user in owners.items()
            if any(
                ("agent", n) in self.streams and self._agent(n).user_id == user
                for n in range(len(AGENTS))
            )
        }
        on_duty = availability.now().someone_on_duty
        silent = set(
            ChatSession.objects.filter(silence_noticed__gt=0).values_list("pk", flat=True)
        )
        self.now += timedelta(seconds=seconds)
        if not self.alive:
            return
        # Nobody has looked since, and customers are faster than the first round.
        Lease.objects.update(round_at=Now() - timedelta(seconds=seconds))
        assert availability.now().someone_on_duty == on_duty
        self.watched_since = self.now
        self._rounds_went_on()
        watch.look()
        after = dict(ChatSession.objects.filter(pk__in=kept).values_list("pk", "agent_id"))
        for pk in kept - silent:
            assert after[pk] == owners[pk], "a live chat changed hands for the database's sake"
        self._tick(0.5)
        self._look()

    # --- What must be true --------------------------------------------------------------

    def _all(self) -> list[ChatSession]:
        return list(ChatSession.objects.all())

    def _hear(self) -> None:
        """What the log says since the last time."""
        for row in (
            Event.objects.filter(pk__gt=self.heard)
            .order_by("pk")
            .values_list("pk", "target__name", "data")
        ):
            self.heard, target, data = row
            event = json.loads(data)
            kind, payload = event["type"], event["payload"]
            self.last[target, kind, payload.get("session_name", "")] = payload
            assert "INTERNAL" not in data or not target.startswith("cs_") or ":" in target

    def _last(self, target: str, kind: str, name: str = "") -> Any:
        return self.last.get((target, kind, name))

    @invariant()
    def customers_know_how_it_is(self) -> None:
        """The last that both sides heard of a session is what the database has."""
        self._hear()
        for session in self._all():
            for target in (session.name, "workbench:agents"):
                last = self._last(target, "status_change", session.name)
                if last is None:
                    assert session.status == Status.BOT_ACTIVE
                    continue
                assert last["status"] == session.status
                assert (last["agent"] or {}).get("id") == session.agent_id
            if self.known.get(session.name) != session.ownership_epoch:
                self.known[session.name] = session.ownership_epoch
                self._leave(session)

    def _leave(self, session: ChatSession) -> None:
        """Whatever it has become, the customer can leave it."""
        ways: dict[str, Callable[[], Any]] = {
            Status.BOT_ACTIVE: lambda: handoff.escalate(session.name),
            Status.PENDING_MANUAL: lambda: handoff.cancel_escalation(session.name),
            Status.AFTER_HOURS_EMAIL: lambda: handoff.cancel_escalation(session.name),
            Status.MANUAL_LIVE: lambda: handoff.close(
                session.name, None, reason=Reason.CLOSED_BY_CUSTOMER
            ),
            Status.CLOSED: lambda: handoff.reopen(session.name),
        }
        with transaction.atomic():
            ways[session.status]()
            transaction.set_rollback(True)

    @invariant()
    def nobody_waits_for_nobody(self) -> None:
        if not self.alive:
            return
        now = availability.now()
        for session in self._all():
            if session.status == Status.PENDING_MANUAL:
                assert now.someone_on_duty, "in line though nobody is on duty"
                told = self._last(session.name, "queue_position")
                assert told["position"] == states.state(session.name)["queue"]["position"]
            here = ("customer", self._number(session)) in self.streams
            if session.status in handoff.LEAVABLE and here:
                told_on_duty = session.told_on_duty is None or session.told_on_duty
                assert (told_on_duty, session.told_back_at) == (
                    now.someone_on_duty,
                    now.back_at,
                )
            if (
                session.status == Status.AFTER_HOURS_EMAIL
                and here
                and session.unanswered_since is not None
            ):
                assert not now.someone_on_duty, "somebody could come, and the customer is here"

    def _number(self, session: ChatSession) -> int:
        return next(n for n, name in self.sessions.items() if name == session.name)

    @invariant()
    def one_owner_who_is_there(self) -> None:
        for session in self._all():
            live = session.status == Status.MANUAL_LIVE
            assert live == (session.agent_id is not None) or session.status == Status.CLOSED
            active = session.turns.filter(state__in=turns.ACTIVE)
            assert active.count() <= (1 if session.status in turns.ANSWERED else 0)

    @invariant()
    def nobody_talks_with_an_agent_who_is_gone(self) -> None:
        if not self.alive:
            return
        for session in ChatSession.objects.filter(status=Status.MANUAL_LIVE):
            owner = Agent.objects.get(user_id=session.agent_id)
            signs = (
                self.seen.get(owner.pk, MONDAY_NOON),
                owner.seen_at or MONDAY_NOON,
                session.taken_at or MONDAY_NOON,
                self.watched_since,
            )
            assert self.now - max(signs) <= timedelta(seconds=ABSENCE + 65)

    @invariant()
    def freed_places_are_filled(self) -> None:
        """Whoever is given by itself, and could be, has been."""
        mode = django_settings.ASSIGNMENT
        if not self.alive or mode == "off" or django_settings.OPENING_HOURS:
            return
        live = self._live_counts()
        free = [
            agent
            for agent in Agent.objects.filter(status=PresenceStatus.ONLINE)
            if live[agent.pk] < agent.max_sessions
            and ("agent", self.agents.index(agent.pk)) in self.streams
        ]
        # Whoever put one back, or had it taken away, is spared it for a minute.
        lately = HandoffRecord.objects.filter(ended_at__gt=self.now - timedelta(seconds=61))
        waiting = ChatSession.objects.pending().filter(customer_gone_at__isnull=True)
        for session in waiting.exclude(handoffs__in=lately):
            assert not free, f"{session} waits though {free} could have it"

    @invariant()
    def records_tell_what_is_going_on(self) -> None:
        expected = {
            Status.PENDING_MANUAL: [Outcome.WAITING],
            Status.AFTER_HOURS_EMAIL: [Outcome.BY_EMAIL],
            Status.MANUAL_LIVE: [Outcome.LIVE],
        }
        for session in self._all():
            going_on = HandoffRecord.objects.filter(session=session, outcome__in=GOING_ON)
            found = list(going_on.values_list("outcome", flat=True))
            assert found == expected.get(Status(session.status), [])

    @invariant()
    def nobody_has_more_than_they_can(self) -> None:
        for pk, count in self._live_counts().items():
            limit = Agent.objects.values_list("max_sessions", flat=True).get(pk=pk)
            grew = count > self.live_before.get(pk, 0)
            if grew and count > limit:
                live = ChatSession.objects.filter(
                    status=Status.MANUAL_LIVE, agent__agent_profile=pk
                )
                assert self.forced & set(live.values_list("name", flat=True))

    @invariant()
    def transfers_end_with_what_they_are_about(self) -> None:
        if not self.alive:
            return
        for asked in TransferRequest.objects.filter(state=TransferRequest.State.PENDING):
            assert asked.session.status == Status.MANUAL_LIVE
            assert asked.session.agent_id == asked.from_agent.user_id

    @invariant()
    def somebody_owes_an_answer(self) -> None:
        """With the AI, what a customer said last is answered, or is going to be."""
        for session in ChatSession.objects.filter(status=Status.BOT_ACTIVE):
            last = session.messages.last()
            if last is not None and last.role == "user":
                assert ReplyTurn.objects.filter(
                    session=session, state__in=turns.ACTIVE
                ).exists()


def test_nobody_is_left_waiting_whatever_happens() -> None:
    run_state_machine_as_test(
        Conversations,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
