"""Transfers: one owner throughout, whoever answers, cancels, is late or takes it by force."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction
from django.utils import timezone
from pytest_django import Settings

from agent_workbench import access, assignment, transfers
from agent_workbench.announcements import Ended
from agent_workbench.exceptions import WorkbenchError
from agent_workbench.models import Agent, Note, Notice, TransferRequest
from ai_chatbot import events
from ai_chatbot.conversation import handoff, rounds
from ai_chatbot.exceptions import ConversationError
from ai_chatbot.models import AuditEntry, ChatSession, HandoffRecord, Reason
from sse.log.targets import CONTROL
from sse.models import Event, Lease
from tests.in_process import Colleague, Json, Visitor, error_of, events_of, make_agent

pytestmark = pytest.mark.django_db

Crowd = Callable[[list[Callable[[], object]]], list[object]]
SECRET = "she has a broken lamp"


def ask(sender: Colleague, name: str, to: Any, note: str = "") -> Json:
    """The request that stands then."""
    body = {"to_agent": to, "note": note}
    answer = sender.post(f"/sessions/{name}/transfer", body)
    assert answer.status_code == 200, answer.content
    request: Json = answer.json()["transfer"]
    return request


def respond(agent: Colleague, request: Json, accept: bool) -> Any:
    return agent.post(f"/transfer-requests/{request['id']}/respond", {"accept": accept})


def pending(agent: Colleague) -> list[int]:
    answer = agent.get("/transfer-requests/pending")
    assert answer.status_code == 200, answer.content
    return [item["id"] for item in answer.json()["items"]]


def told(agent: Colleague, kind: str) -> list[Json]:
    return [e["payload"] for e in events_of(events.agent_target(agent.agent.user_id), kind)]


def owner_of(name: str) -> int | None:
    session = ChatSession.objects.get(name=name)
    return session.agent_id


def age(request: Json) -> None:
    """Its time is over."""
    TransferRequest.objects.filter(pk=request["id"]).update(expires_at=timezone.now())


def stored(request: Json) -> str:
    return TransferRequest.objects.get(pk=request["id"]).state


def revoked() -> list[str]:
    return [e["payload"]["subject"] for e in events_of(CONTROL)]


# --- Asking -----------------------------------------------------------------------------


def test_owner_asks_and_stays_the_owner(
    alice: Colleague, bob: Colleague, live: str, settings: Settings
) -> None:
    settings.TRANSFER_SECONDS = 40
    before = timezone.now()
    request = ask(alice, live, bob.agent.user_id, SECRET)
    expires = request.pop("expires_at")
    assert events.stamp(before + timedelta(seconds=39)) < expires
    assert expires < events.stamp(timezone.now() + timedelta(seconds=41))
    assert request.pop("created_at") >= events.stamp(before)
    assert request == {
        "id": request["id"],
        "session_name": live,
        "from_agent": alice.person,
        "to_agent": bob.person,
        "asked_by": alice.person,
        "note": SECRET,
        "status": "pending",
        "answered_at": None,
    }
    assert owner_of(live) == alice.agent.user_id
    [event] = told(bob, "transfer_request")
    assert event == {**request, "created_at": event["created_at"], "expires_at": expires}
    assert pending(alice) == pending(bob) == [request["id"]]
    assert bob.get(f"/sessions/{live}").json()["transfer"]["id"] == request["id"]
    assert not Note.objects.exists()


@pytest.mark.parametrize("key", ["id", "username", "digits"])
def test_agent_is_named_by_id_or_username(
    key: str, alice: Colleague, bob: Colleague, live: str
) -> None:
    user = bob.agent.user_id
    to = {"id": user, "username": "bob", "digits": str(user)}[key]
    assert ask(alice, live, to)["to_agent"] == bob.person


def test_text_that_means_two_agents_is_refused(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    make_agent(str(bob.agent.user_id))
    body = {"to_agent": str(bob.agent.user_id)}
    error_of(alice.post(f"/sessions/{live}/transfer", body), 422, "AMBIGUOUS_AGENT")
    assert ask(alice, live, bob.agent.user_id)["to_agent"] == bob.person


@pytest.mark.parametrize("to", [True, 1.5, -1, 0, "", [], {}, 2**70, "x" * 151, "a\x00"])
def test_what_names_no_agent_is_refused(to: Any, alice: Colleague, live: str) -> None:
    error_of(alice.post(f"/sessions/{live}/transfer", {"to_agent": to}), 422)
    error_of(alice.post(f"/sessions/{live}/transfer", {}), 422, "VALIDATION_ERROR")
    assert not TransferRequest.objects.exists()


@pytest.mark.parametrize("to", [987654, "nobody", "987654", "9" * 100])
def test_unknown_agent(to: Any, alice: Colleague, live: str) -> None:
    body = {"to_agent": to}
    error_of(alice.post(f"/sessions/{live}/transfer", body), 404, "AGENT_NOT_FOUND")


def refuse(sender: Colleague, name: str, to: Any, status: int, code: str) -> Json:
    answer = sender.post(f"/sessions/{name}/transfer", {"to_agent": to})
    return error_of(answer, status, code)


def test_refusals(alice: Colleague, bob: Colleague, carol: Colleague, live: str) -> None:
    mine = alice.agent.user_id
    refuse(alice, live, mine, 422, "TRANSFER_TO_OWNER")
    refuse(bob, live, carol.agent.user_id, 403, "NOT_ASSIGNED")
    refuse(bob, live, None, 403, "NOT_ASSIGNED")
    refuse(alice, "cs_nobody", bob.agent.user_id, 404, "SESSION_NOT_FOUND")
    free = Visitor().session
    refuse(alice, free, bob.agent.user_id, 409, "NOT_LIVE")
    refuse(alice, free, None, 409, "NOT_LIVE")
    assert not TransferRequest.objects.exists()
    assert not events_of(events.agent_target(bob.agent.user_id))


@pytest.mark.parametrize("why", ["offline", "break", "gone", "full", "inactive"])
def test_only_who_can_take_it_is_asked(
    why: str, alice: Colleague, bob: Colleague, live: str
) -> None:
    row = Agent.objects.filter(pk=bob.agent.pk)
    if why == "gone":
        row.update(seen_at=timezone.now() - timedelta(seconds=61))
    elif why == "full":
        row.update(max_sessions=1)
        handoff.take_over(Visitor().session, bob.agent.person)
    elif why == "inactive":
        bob.agent.user.is_active = False
        bob.agent.user.save()
    else:
        row.update(status=why)
    details = refuse(alice, live, bob.agent.user_id, 409, "AGENT_UNAVAILABLE")["details"]
    assert details["why"] == ("offline" if why == "gone" else why)


def test_who_could_not_be_seen_while_nobody_looked_may_be_asked(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    """As after an outage of the database, which renewed nobody's presence."""
    now = timezone.now()
    Lease.objects.create(
        name=rounds.WATCH, holder="somebody", until=now, round_at=now, since=now
    )
    Agent.objects.filter(pk=bob.agent.pk).update(seen_at=now - timedelta(seconds=70))
    assert ask(alice, live, "bob")["status"] == "pending"


def test_busy_agent_may_be_asked(alice: Colleague, bob: Colleague, live: str) -> None:
    Agent.objects.filter(pk=bob.agent.pk).update(status="busy")
    assert ask(alice, live, "bob")["status"] == "pending"


def test_one_request_of_a_session_waits(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str
) -> None:
    first = ask(alice, live, "bob", "x")
    # A client that has not heard the answer asks again.
    assert ask(alice, live, "bob", "x") == first
    assert len(told(bob, "transfer_request")) == 1
    details = refuse(alice, live, "carol", 409, "TRANSFER_PENDING")["details"]
    assert details["transfer"]["id"] == first["id"]
    refuse(alice, live, "bob", 409, "TRANSFER_PENDING")
    with pytest.raises(IntegrityError), transaction.atomic():
        TransferRequest.objects.create(
            session=ChatSession.objects.get(name=live),
            from_agent=alice.agent,
            to_agent=carol.agent,
            expires_at=timezone.now(),
        )
    # Once its time is over another may be asked, also before anybody has tidied up.
    age(first)
    assert ask(alice, live, "carol")["to_agent"] == carol.person
    assert stored(first) == "expired"
    assert [answer["status"] for answer in told(alice, "transfer_answer")] == ["expired"]


def test_supervisor_asks_for_the_owner(
    alice: Colleague, bob: Colleague, chief: Colleague, live: str
) -> None:
    request = ask(chief, live, "bob", "please")
    assert (request["from_agent"], request["asked_by"]) == (alice.person, chief.person)
    assert pending(chief) == pending(alice) == pending(bob) == [request["id"]]
    for party in (alice, bob):
        [event] = told(party, "transfer_request")
        assert event["id"] == request["id"]
    assert respond(bob, request, True).status_code == 200
    for party in (alice, bob, chief):
        assert [answer["status"] for answer in told(party, "transfer_answer")] == ["accepted"]
    assert Note.objects.get().author_id == chief.agent.user_id
    # The owner learns of it also on return, since it was somebody else's doing.
    notice = Notice.objects.get()
    assert (notice.agent, notice.kind) == (alice.agent, "session_moved")
    assert notice.details == {"by": "Chief", "owner": bob.person}
    entry = AuditEntry.objects.get(action="transfer")
    assert (entry.actor_id, entry.details["former"]) == (
        chief.agent.user_id,
        alice.agent.user_id,
    )


def test_session_of_one_who_is_no_agent_any_more_is_not_asked_for(
    alice: Colleague, bob: Colleague, chief: Colleague, live: str
) -> None:
    alice.agent.delete()
    refuse(chief, live, "bob", 409, "OWNER_HAS_LEFT")
    assert chief.post(f"/sessions/{live}/transfer", {"to_agent": None}).status_code == 200


# --- Answers ----------------------------------------------------------------------------


def test_accepted_transfer_changes_the_owner(
    alice: Colleague, bob: Colleague, visitor: Visitor, live: str
) -> None:
    request = ask(alice, live, "bob", SECRET)
    answer = respond(bob, request, True)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["id"], body["status"]) == (request["id"], "accepted")
    assert body["session"]["agent"] == bob.person
    assert body["session"]["transfer"] is None
    [note] = body["session"]["notes"]
    assert (note["content"], note["author"]) == (SECRET, alice.person)
    assert owner_of(live) == bob.agent.user_id
    change = events_of(live, "status_change")[-1]["payload"]
    assert change == {
        "session_name": live,
        "status": "manual_live",
        "previous": "manual_live",
        "reason": "transferred",
        "agent": bob.person,
    }
    assert visitor.state()["messages"][-1]["content"] == "Bob has taken over from Alice."
    for party in (alice, bob):
        assert [each["status"] for each in told(party, "transfer_answer")] == ["accepted"]
        assert pending(party) == []
    assert [each["session"]["session_name"] for each in told(bob, "session_assigned")] == [live]
    error_of(alice.get(f"/sessions/{live}"), 403, "NOT_ASSIGNED")
    assert access.follow_subject(live) in revoked()
    assert not Notice.objects.exists()
    records = list(HandoffRecord.objects.order_by("pk").values_list("outcome", flat=True))
    assert records == ["transferred", "live"]
    entry = AuditEntry.objects.get(action="transfer")
    assert entry.actor_id == alice.agent.user_id
    assert entry.details == {"agent": bob.agent.user_id, "former": alice.agent.user_id}


def test_accepting_twice_is_accepting_once(alice: Colleague, bob: Colleague, live: str) -> None:
    request = ask(alice, live, "bob", "x")
    first = respond(bob, request, True).json()
    log = Event.objects.count()
    again = respond(bob, request, True)
    assert again.status_code == 200
    assert again.json() == first | {"session": again.json()["session"]}
    assert again.json()["session"]["agent"] == bob.person
    assert (Event.objects.count(), Note.objects.count()) == (log, 1)
    error_of(respond(bob, request, False), 409, "TRANSFER_ENDED")
    # Given away since: the answer was given, and the conversation is somebody else's.
    back = ask(bob, live, "alice")
    respond(alice, back, True)
    late = respond(bob, request, True)
    assert (late.status_code, late.json()["session"]) == (200, None)
    assert owner_of(live) == alice.agent.user_id


def test_declined_transfer_changes_nothing_but_the_request(
    alice: Colleague, bob: Colleague, visitor: Visitor, live: str
) -> None:
    before = visitor.state()
    request = ask(alice, live, "bob", SECRET)
    for _ in range(2):
        answer = respond(bob, request, False)
        assert (answer.status_code, answer.json()["status"]) == (200, "declined")
        assert answer.json()["session"] is None
    for party in (alice, bob):
        assert [each["status"] for each in told(party, "transfer_answer")] == ["declined"]
    assert owner_of(live) == alice.agent.user_id
    assert visitor.state() == before
    assert not Note.objects.exists()
    error_of(respond(bob, request, True), 409, "TRANSFER_ENDED")
    error_of(bob.get(f"/sessions/{live}"), 403, "NOT_ASSIGNED")
    assert access.guest_subject(live, bob.agent) in revoked()
    assert ask(alice, live, "bob")["id"] != request["id"]


def test_request_is_its_parties_alone(
    alice: Colleague, bob: Colleague, carol: Colleague, chief: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    cancel = f"/transfer-requests/{request['id']}"
    for foreign in (carol.delete(cancel), respond(carol, request, True)):
        error_of(foreign, 404, "TRANSFER_NOT_FOUND")
    for missing in (0, 10**9, 2**63 - 1):
        error_of(respond(bob, {"id": missing}, True), 404, "TRANSFER_NOT_FOUND")
    error_of(respond(bob, {"id": 2**63}, True), 422)
    for not_asked in (alice, chief):
        error_of(respond(not_asked, request, True), 403, "NOT_YOUR_REQUEST")
    error_of(bob.delete(cancel), 403, "NOT_YOUR_REQUEST")
    for bad in ({}, {"accept": "yes"}, {"accept": 1}, {"accept": None}):
        answer = bob.post(f"{cancel}/respond", bad)
        error_of(answer, 422, "VALIDATION_ERROR")
    assert pending(carol) == []
    assert stored(request) == "pending"
    assert chief.delete(cancel).json()["status"] == "cancelled"


def test_sender_takes_it_back(alice: Colleague, bob: Colleague, live: str) -> None:
    request = ask(alice, live, "bob")
    for _ in range(2):
        answer = alice.delete(f"/transfer-requests/{request['id']}")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert [each["status"] for each in told(bob, "transfer_answer")] == ["cancelled"]
    error_of(respond(bob, request, True), 409, "TRANSFER_ENDED")
    assert access.guest_subject(live, bob.agent) in revoked()
    other = ask(alice, live, "bob")
    respond(bob, other, True)
    error_of(alice.delete(f"/transfer-requests/{other['id']}"), 409, "TRANSFER_ENDED")


def test_who_is_asked_may_follow_until_it_is_over(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    assert bob.get(f"/sessions/{live}").status_code == 200
    error_of(carol.get(f"/sessions/{live}"), 403)
    # Void from the moment its time is over, whatever its row says.
    age(request)
    error_of(bob.get(f"/sessions/{live}"), 403)


def test_accepting_needs_room(alice: Colleague, bob: Colleague, live: str) -> None:
    request = ask(alice, live, "bob", "x")
    Agent.objects.filter(pk=bob.agent.pk).update(max_sessions=1)
    other = Visitor().session
    handoff.take_over(other, bob.agent.person)
    details = error_of(respond(bob, request, True), 409, "AT_CAPACITY")["details"]
    assert details == {"max_sessions": 1, "sessions": 1}
    assert owner_of(live) == alice.agent.user_id
    assert stored(request) == "pending"
    assert not Note.objects.exists()
    handoff.release(other, bob.agent.person)
    assert respond(bob, request, True).status_code == 200


# --- The end of a request that nobody answers -------------------------------------------


def test_request_expires(alice: Colleague, bob: Colleague, live: str) -> None:
    request = ask(alice, live, "bob")
    transfers.expire()
    assert stored(request) == "pending"
    age(request)
    error_of(respond(bob, request, True), 409, "TRANSFER_ENDED")
    assert pending(alice) == pending(bob) == []
    assert alice.get(f"/sessions/{live}").json()["transfer"] is None
    for _ in range(2):
        transfers.expire()
    assert stored(request) == "expired"
    for party in (alice, bob):
        assert [each["status"] for each in told(party, "transfer_answer")] == ["expired"]
    assert owner_of(live) == alice.agent.user_id
    assert access.guest_subject(live, bob.agent) in revoked()


LEAVES: dict[str, Callable[[str, Colleague, Colleague], object]] = {
    "release": lambda name, alice, _: handoff.release(name, alice.agent.person),
    "close": lambda name, _a, _c: handoff.close(name, None, reason=Reason.CLOSED_BY_CUSTOMER),
    "lost": lambda name, _a, _c: _requeue(name, Reason.AGENT_LOST),
    "silent": lambda name, _a, _c: _requeue(name, Reason.AGENT_SILENT),
    "forced": lambda name, _a, carol: assignment.take_over(name, carol.agent, force=True),
    "to the queue": lambda name, alice, _: transfers.to_queue(name, alice.agent),
}


@transaction.atomic
def _requeue(name: str, reason: Reason) -> None:
    handoff.requeue_locked(handoff.lock(name), reason)


@pytest.mark.parametrize("how", LEAVES)
def test_request_is_void_once_the_session_has_left_its_owner(
    how: str, alice: Colleague, bob: Colleague, chief: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob", SECRET)
    LEAVES[how](live, alice, chief)
    owner = owner_of(live)
    error_of(respond(bob, request, True), 409, "TRANSFER_ENDED")
    assert pending(alice) == pending(bob) == []
    for _ in range(2):
        transfers.expire()
    assert stored(request) == "cancelled"
    assert [each["status"] for each in told(alice, "transfer_answer")] == ["cancelled"]
    assert owner_of(live) == owner
    if how == "forced":
        error_of(bob.get(f"/sessions/{live}"), 403)
    assert not Note.objects.exists()


def test_session_that_came_back_to_its_owner_needs_a_new_request(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    """Also where nobody has tidied up in between."""
    request = ask(alice, live, "bob")
    handoff.release(live, alice.agent.person)
    handoff.take_over(live, alice.agent.person)
    error_of(respond(bob, request, True), 409, "TRANSFER_ENDED")
    assert ask(alice, live, "bob")["id"] != request["id"]


def test_request_to_one_who_was_deactivated_ends(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    bob.agent.user.is_active = False
    bob.agent.user.save()
    assert pending(alice) == []
    transfers.expire()
    assert stored(request) == "cancelled"
    ask(alice, live, "carol")


def test_request_to_one_who_was_deleted_is_gone(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str
) -> None:
    ask(alice, live, "bob")
    bob.agent.user.delete()
    assert alice.get(f"/sessions/{live}").json()["transfer"] is None
    transfers.expire()
    ask(alice, live, "carol")


def test_request_of_one_who_was_deactivated_can_be_accepted(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    request = ask(alice, live, "bob")
    alice.agent.user.is_active = False
    alice.agent.user.save()
    assert respond(bob, request, True).status_code == 200
    assert owner_of(live) == bob.agent.user_id


def test_a_round_is_bounded_and_the_next_goes_on(
    alice: Colleague, bob: Colleague, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "AT_ONCE", 2)
    for _ in range(3):
        name = Visitor().session
        handoff.take_over(name, alice.agent.person)
        age(ask(alice, name, "bob"))
    transfers.expire()
    assert TransferRequest.objects.filter(state="expired").count() == 2
    transfers.expire()
    assert TransferRequest.objects.filter(state="expired").count() == 3


@pytest.mark.parametrize(
    ("trouble", "logged"),
    [(None, 0), (ValueError("a row that cannot be dealt with"), 1)],
    ids=["held", "broken"],
)
def test_session_that_cannot_be_dealt_with_does_not_keep_the_others(
    alice: Colleague,
    bob: Colleague,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: Exception | None,
    logged: int,
) -> None:
    if trouble is None:
        trouble = OperationalError("lock timeout")
        trouble.__cause__ = Exception()
        trouble.__cause__.sqlstate = "55P03"  # type: ignore[attr-defined]
    requests = []
    for _ in range(2):
        name = Visitor().session
        handoff.take_over(name, alice.agent.person)
        requests.append(ask(alice, name, "bob"))
        age(requests[-1])
    bad, end = requests[0]["session_name"], transfers._end_fallen

    def fails(session: ChatSession) -> Ended:
        if session.name == bad:
            raise trouble
        return end(session)

    monkeypatch.setattr(transfers, "_end_fallen", fails)
    transfers.expire()
    assert [stored(request) for request in requests] == ["pending", "expired"]
    assert caplog.text.count("is left out for a while") == logged
    # Not tried again at once, and as soon as it can be.
    monkeypatch.setattr(transfers, "_end_fallen", end)
    if logged:
        transfers.expire()
        assert stored(requests[0]) == "pending"
        monkeypatch.setattr(rounds, "_aside", rounds._Aside())
    transfers.expire()
    assert stored(requests[0]) == "expired"


# --- Back to the queue ------------------------------------------------------------------


@pytest.mark.parametrize("to", [None, "queue"])
def test_back_to_the_queue(to: Any, alice: Colleague, visitor: Visitor, live: str) -> None:
    body = {"to_agent": to, "note": SECRET}
    answer = alice.post(f"/sessions/{live}/transfer", body)
    assert answer.status_code == 200, answer.content
    assert answer.json()["status"] == "pending_manual"
    assert answer.json()["transfer"] is None
    assert [note["content"] for note in answer.json()["notes"]] == [SECRET]
    change = events_of(live, "status_change")[-1]["payload"]
    assert (change["reason"], change["agent"]) == ("requeued", None)
    assert visitor.state()["queue"]["position"] == 1
    log = Event.objects.count()
    # A client that has not heard the answer asks again.
    assert alice.post(f"/sessions/{live}/transfer", body).status_code == 200
    assert (Event.objects.count(), Note.objects.count()) == (log, 1)


def test_supervisor_puts_it_back(alice: Colleague, chief: Colleague, live: str) -> None:
    answer = chief.post(f"/sessions/{live}/transfer", {"to_agent": "queue"})
    assert answer.json()["status"] == "pending_manual"
    entry = AuditEntry.objects.get(action="requeue")
    assert entry.actor_id == chief.agent.user_id


# --- What the customer sees -------------------------------------------------------------


@pytest.mark.parametrize("end", ["accept", "decline", "cancel", "expire", "queue"])
def test_customer_sees_a_change_of_owner_and_nothing_else(
    end: str, alice: Colleague, bob: Colleague, visitor: Visitor, live: str
) -> None:
    def wire() -> list[tuple[str, str]]:
        return [(e["type"], str(e["payload"])) for e in events_of(live)]

    before = wire()
    if end == "queue":
        alice.post(f"/sessions/{live}/transfer", {"to_agent": None, "note": SECRET})
    else:
        request = ask(alice, live, "bob", SECRET)
        assert wire() == before
        if end == "expire":
            age(request)
            transfers.expire()
        elif end == "cancel":
            alice.delete(f"/transfer-requests/{request['id']}")
        else:
            respond(bob, request, end == "accept")
    kinds = [kind for kind, _ in wire()[len(before) :]]
    changed = {"accept": ["message", "status_change"]}
    if end == "queue":
        assert kinds[:2] == ["message", "status_change"]
        assert set(kinds) <= {"message", "status_change", "availability"}
    else:
        assert kinds == changed.get(end, [])
    assert SECRET not in str(wire())
    state = visitor.state()
    assert SECRET not in str(state)
    assert not {"notes", "transfer", "assists"} & set(state)
    # To followers, and to the parties; not to all agents either.
    assert SECRET not in str(events_of(events.AGENTS))


# --- Races ------------------------------------------------------------------------------


@pytest.fixture
def crowd() -> Crowd:
    """Runs all at once, each in a thread with a connection of its own; what came of each."""

    def run(calls: list[Callable[[], object]]) -> list[object]:
        barrier = Barrier(len(calls))

        def one(call: Callable[[], object]) -> object:
            try:
                barrier.wait(20)
                return call()
            except ConversationError as refusal:
                return refusal.code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(calls)) as threads:
            return [each.result(60) for each in [threads.submit(one, c) for c in calls]]

    return run


def owners_told(name: str) -> list[int | None]:
    changes = events_of(name, "status_change")
    return [(event["payload"]["agent"] or {}).get("id") for event in changes]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rival", ["accept", "expire", "cancel", "force", "close", "decline"])
def test_of_twenty_who_answer_at_once_one_has_it(
    rival: str, alice: Colleague, bob: Colleague, chief: Colleague, live: str, crowd: Crowd
) -> None:
    request = TransferRequest.objects.get(pk=ask(alice, live, "bob", "x")["id"])
    key = request.pk
    if rival == "expire":
        # About now: some find it standing.
        soon = timezone.now() + timedelta(milliseconds=30)
        TransferRequest.objects.filter(pk=key).update(expires_at=soon)
    rivals: dict[str, Callable[[], object]] = {
        "accept": lambda: transfers.answer(key, bob.agent, accept=True).state,
        "expire": transfers.expire,
        "cancel": lambda: transfers.cancel(key, alice.agent).state,
        "force": lambda: assignment.take_over(live, chief.agent, force=True).agent_id,
        "close": lambda: handoff.close(live, None, reason=Reason.CLOSED_BY_CUSTOMER).status,
        "decline": lambda: transfers.answer(key, bob.agent, accept=False).state,
    }
    outcomes = crowd([*[rivals["accept"]] * 10, *[rivals[rival]] * 10])
    transfers.expire()
    request.refresh_from_db()
    session = ChatSession.objects.get(name=live)
    assert set(outcomes) <= {
        "accepted", "cancelled", "declined", "closed", None, "TRANSFER_ENDED",
        chief.agent.user_id,
    }  # fmt: skip
    accepted = "accepted" in outcomes
    assert accepted == (request.state == "accepted")
    assert Note.objects.count() == int(accepted)
    assert [each["status"] for each in told(alice, "transfer_answer")] == [request.state]
    # Each owner in a row, none named twice, and the last is the database's.
    expected = {
        "force": [alice, bob, chief] if accepted else [alice, chief],
    }.get(rival, [alice, bob] if accepted else [alice])
    owners = [each.agent.user_id for each in expected]
    if rival == "close":
        assert session.status == "closed"
        owners.append(owners[-1])
    assert owners_told(live) == owners
    assert session.agent_id == owners[-1]


@pytest.mark.django_db(transaction=True)
def test_capacity_holds_when_many_are_accepted_at_once(
    alice: Colleague, bob: Colleague, crowd: Crowd
) -> None:
    Agent.objects.filter(pk=alice.agent.pk).update(max_sessions=20)
    Agent.objects.filter(pk=bob.agent.pk).update(max_sessions=3)
    keys = []
    for _ in range(10):
        name = Visitor().session
        handoff.take_over(name, alice.agent.person)
        keys.append(transfers.ask(name, alice.agent, bob.agent).pk)

    def accept(key: int) -> Callable[[], object]:
        return lambda: transfers.answer(key, bob.agent, accept=True).state

    outcomes = crowd([accept(key) for key in keys])
    assert sorted(map(str, outcomes)) == ["AT_CAPACITY"] * 7 + ["accepted"] * 3
    assert ChatSession.objects.filter(agent_id=bob.agent.user_id).count() == 3


@pytest.mark.django_db(transaction=True)
def test_agents_who_pass_sessions_to_one_another_do_not_wait_for_ever(
    alice: Colleague, bob: Colleague, crowd: Crowd
) -> None:
    """Both write to both agents' targets, in the same order."""
    Agent.objects.update(max_sessions=50)
    calls: list[Callable[[], object]] = []
    for sender, receiver in [(alice.agent, bob.agent), (bob.agent, alice.agent)] * 10:
        name = Visitor().session
        handoff.take_over(name, sender.person)
        key = transfers.ask(name, sender, receiver).pk
        accept = len(calls) % 4 < 2

        def reply(key: int = key, receiver: Agent = receiver, accept: bool = accept) -> object:
            return transfers.answer(key, receiver, accept=accept).state

        calls.append(reply)
    outcomes = crowd(calls)
    assert sorted(map(str, outcomes)) == ["accepted"] * 10 + ["declined"] * 10


@pytest.mark.django_db(transaction=True)
def test_of_many_requests_at_once_one_stands(
    alice: Colleague, bob: Colleague, carol: Colleague, live: str, crowd: Crowd
) -> None:
    def ask_for(agent: Agent) -> Callable[[], object]:
        return lambda: transfers.ask(live, alice.agent, agent).to_agent_id

    outcomes = crowd([ask_for(agent) for agent in [bob.agent, carol.agent] * 10])
    [waiting] = TransferRequest.objects.all()
    assert outcomes.count(waiting.to_agent_id) == 10
    assert outcomes.count("TRANSFER_PENDING") == 10


def test_refusals_are_named() -> None:
    codes = [kind.code for kind in WorkbenchError.__subclasses__()]
    assert len(set(codes)) >= len(codes) - 1  # MayNotFollow says what NotAssigned says
