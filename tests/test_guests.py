"""Who may follow a live session: its owner, supervisors, administrators, and whoever was asked
to help or to take it, for as long as that is open; over HTTP as over a stream."""

from collections.abc import Set
from datetime import timedelta

import pytest
from django.utils import timezone

from agent_workbench import access, assignment, presence, streams, tokens
from agent_workbench.models import AssistRequest, TransferRequest
from ai_chatbot.conversation import handoff
from ai_chatbot.models import ChatSession
from sse.exceptions import Refused
from sse.live.revocations import Revocation
from sse.log.targets import CONTROL
from tests.in_process import Colleague, Visitor, asking, error_of, events_of, make_agent

pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor() -> Visitor:
    visitor = Visitor(nickname="Zoe")
    assert visitor.send("my parcel is lost").status_code == 201
    return visitor


@pytest.fixture
def taken(visitor: Visitor, alice: Colleague) -> ChatSession:
    return assignment.take_over(visitor.session, alice.agent)


def asks_for_help(session: ChatSession, alice: Colleague, bob: Colleague) -> AssistRequest:
    return AssistRequest.objects.create(
        session=session, from_agent=alice.agent, to_agent=bob.agent, question="?"
    )


def asks_to_take(session: ChatSession, alice: Colleague, bob: Colleague) -> TransferRequest:
    return TransferRequest.objects.create(
        session=session,
        from_agent=alice.agent,
        to_agent=bob.agent,
        ownership_epoch=session.ownership_epoch,
        expires_at=timezone.now() + timedelta(minutes=1),
    )


def end(request: AssistRequest | TransferRequest) -> None:
    request.state = "answered" if isinstance(request, AssistRequest) else "declined"
    request.save()
    access.end_streams_of_guest(request.session, request.to_agent)


def stream_of(colleague: Colleague, session: ChatSession) -> Set[str]:
    """What the stream that the agent opens now can be ended by. Raises Refused.

    The agent's own stream, which watches the session, has the same.
    """
    grant = streams.of_session(asking(colleague.token), session_name=session.name)
    own = streams.of_agent(asking(colleague.token, watch=session.name))
    assert own.subjects == grant.subjects
    assert set(grant.channels) < set(own.channels)
    return grant.subjects


def ended_since(count: int, subjects: Set[str]) -> bool:
    """Whether what was revoked after the first `count` ends a stream."""
    return any(
        Revocation(0, **event["payload"]).concerns(subjects)
        for event in events_of(CONTROL)[count:]
    )


def reads(colleague: Colleague, session: ChatSession) -> bool:
    """Whether the agent reads the session, everywhere alike."""
    path = f"/sessions/{session.name}"
    answers = [colleague.get(path), colleague.get(f"{path}/messages")]
    try:
        stream_of(colleague, session)
        followed = True
    except Refused as refusal:
        followed = False
        if (refusal.status, refusal.code) != (403, "NOT_ASSIGNED"):
            raise
    for answer in answers:
        if followed:
            assert answer.status_code == 200
        else:
            error_of(answer, 403, "NOT_ASSIGNED")
    listed = colleague.get("/sessions").json()["items"]
    assert [row["last_message"] is not None for row in listed] == [followed]
    assert len(colleague.get("/sessions", q="parcel").json()["items"]) == followed
    return followed


@pytest.mark.parametrize(
    ("role", "may"), [("agent", False), ("supervisor", True), ("admin", True)]
)
def test_role_decides_who_reads_what_others_have(
    taken: ChatSession, alice: Colleague, role: str, may: bool
) -> None:
    other = Colleague(make_agent("other", role=role))
    assert reads(other, taken) is may
    assert reads(alice, taken)


@pytest.mark.parametrize("ask", [asks_for_help, asks_to_take])
def test_who_is_asked_reads_until_the_request_has_ended(
    taken: ChatSession, alice: Colleague, bob: Colleague, ask: type
) -> None:
    assert not reads(bob, taken)
    request = ask(taken, alice, bob)
    assert reads(bob, taken)
    assert not reads(Colleague(make_agent("third")), taken)
    stream, known = stream_of(bob, taken), len(events_of(CONTROL))
    end(request)
    assert not reads(bob, taken)
    assert ended_since(known, stream)
    # The owner's go on.
    assert not ended_since(known, stream_of(alice, taken))


def test_end_of_one_request_of_two_ends_no_streams(
    taken: ChatSession, alice: Colleague, bob: Colleague
) -> None:
    first, second = asks_for_help(taken, alice, bob), asks_to_take(taken, alice, bob)
    stream, known = stream_of(bob, taken), len(events_of(CONTROL))
    end(first)
    assert reads(bob, taken)
    assert not ended_since(known, stream)
    end(second)
    assert ended_since(known, stream)


def test_change_of_hands_ends_only_the_streams_of_who_may_not_follow(
    taken: ChatSession, alice: Colleague, bob: Colleague
) -> None:
    boss = Colleague(make_agent("boss", role="supervisor"))
    chief = Colleague(make_agent("chief", role="admin"))
    helper, gone = Colleague(make_agent("helper")), Colleague(make_agent("gone"))
    asks_for_help(taken, alice, helper)
    request = asks_for_help(taken, alice, gone)
    open_streams = {
        colleague: stream_of(colleague, taken)
        for colleague in (alice, boss, chief, helper, gone)
    }
    end(request)
    known = len(events_of(CONTROL))
    session = handoff.take_over_locked(handoff.lock(taken.name), bob.agent.person, force=True)
    access.end_streams_of_others(session)
    ended = {colleague for colleague, s in open_streams.items() if ended_since(known, s)}
    assert ended == {alice, gone}
    assert not ended_since(known, stream_of(bob, taken))


def test_guest_who_became_the_owner_is_shut_out_like_any_other(
    taken: ChatSession, alice: Colleague, bob: Colleague
) -> None:
    """The stream that the guest had opened stays open, and is ended by the next change."""
    request = asks_to_take(taken, alice, bob)
    stream = stream_of(bob, taken)
    request.state = TransferRequest.State.ACCEPTED
    request.save()
    known = len(events_of(CONTROL))
    session = handoff.take_over_locked(handoff.lock(taken.name), bob.agent.person, force=True)
    access.end_streams_of_others(session)
    assert not ended_since(known, stream)
    session = handoff.take_over_locked(handoff.lock(taken.name), alice.agent.person, force=True)
    access.end_streams_of_others(session)
    assert ended_since(known, stream)


def test_onlooker_of_a_session_that_nobody_has_is_shut_out_by_a_takeover(
    visitor: Visitor, alice: Colleague, bob: Colleague
) -> None:
    session = ChatSession.objects.get(name=visitor.session)
    assert reads(bob, session)
    stream, known = stream_of(bob, session), len(events_of(CONTROL))
    assignment.take_over(session.name, alice.agent)
    assert ended_since(known, stream)
    assert tokens.stream_subject(alice.agent) in stream_of(alice, session)


def test_an_agent_with_a_sessions_stream_alone_is_there(
    alice: Colleague, taken: ChatSession
) -> None:
    """An API client may follow one conversation, and nothing else."""
    grant = streams.of_session(asking(alice.token), session_name=taken.name)
    assert grant.presence == presence.subject(alice.agent)
