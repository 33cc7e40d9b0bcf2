"""Notes: whoever may follow a conversation reads and writes them, its customer never."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections

from agent_workbench import access, notes
from agent_workbench.models import Note, Role
from ai_chatbot import events
from ai_chatbot.conversation import handoff
from sse.models import Event
from tests.in_process import Api, Colleague, Json, Visitor, error_of, events_of, make_agent

pytestmark = pytest.mark.django_db

SECRET = "he was rude to bob before"


def write(author: Colleague, name: str, content: str = SECRET, **more: Any) -> Json:
    answer = author.post(f"/sessions/{name}/notes", {"content": content, **more})
    assert answer.status_code == 201, answer.content
    note: Json = answer.json()
    return note


def thread(agent: Colleague, name: str, **query: Any) -> list[str]:
    answer = agent.get(f"/sessions/{name}/notes", **query)
    assert answer.status_code == 200, answer.content
    return [note["content"] for note in answer.json()["items"]]


def announced(name: str) -> list[tuple[str, Json]]:
    told = events_of(access.internal_target(name), "note")
    return [(payload.pop("change"), payload) for payload in (e["payload"] for e in told)]


def mentions(agent: Colleague) -> list[Json]:
    told = events_of(events.agent_target(agent.agent.user_id), "mention")
    return [event["payload"] for event in told]


def test_life_of_a_note(alice: Colleague, visitor: Visitor, live: str) -> None:
    note = write(alice, live, "  a  ")
    assert note == {
        "id": note["id"],
        "session_name": live,
        "author": alice.person,
        "content": "a",
        "client_id": None,
        "created_at": note["created_at"],
        "edited_at": None,
        "mentions": [],
    }
    at = f"/sessions/{live}/notes/{note['id']}"
    edited = alice.put(at, {"content": "b"}).json()
    assert edited == {**note, "content": "b", "edited_at": edited["edited_at"]}
    assert edited["edited_at"] >= note["created_at"]
    # Nothing new, nothing said.
    assert alice.put(at, {"content": "b"}).json() == edited
    assert alice.get(f"/sessions/{live}").json()["notes"] == [edited]
    assert alice.delete(at).status_code == 204
    assert announced(live) == [("added", note), ("updated", edited), ("removed", edited)]
    assert thread(alice, live) == alice.get(f"/sessions/{live}").json()["notes"] == []
    error_of(alice.delete(at), 404, "NOTE_NOT_FOUND")
    error_of(alice.put(at, {"content": "c"}), 404, "NOTE_NOT_FOUND")


def test_note_is_nowhere_on_the_customers_wire(
    alice: Colleague, bob: Colleague, visitor: Visitor, live: str
) -> None:
    before, state = events_of(live), visitor.state()
    note = write(alice, live, f"{SECRET} @bob")
    at = f"/sessions/{live}/notes/{note['id']}"
    alice.put(at, {"content": f"{SECRET}!"})
    assert visitor.state() == state
    alice.delete(at)
    assert events_of(live) == before
    # Whatever reads the session's own target is the customer's; all agents are not told either.
    rows = Event.objects.filter(data__contains=SECRET)
    assert set(rows.values_list("target__name", flat=True)) == {access.internal_target(live)}
    for path in ("", "/notes", f"/notes/{note['id']}"):
        answer = visitor.call("GET", visitor.at(path))
        assert SECRET not in answer.content.decode()
        assert (answer.status_code == 200) == (path == "")
    for caller in (visitor, Api("/workbench-api", visitor.token)):
        error_of(caller.post(f"/sessions/{live}/notes", {"content": "me too"}))


def test_who_may_follow_may_write(alice: Colleague, bob: Colleague, live: str) -> None:
    chief = Colleague(make_agent("chief", role=Role.SUPERVISOR))
    note = write(alice, live)
    at = f"/sessions/{live}/notes/{note['id']}"
    for refused in (
        bob.get(f"/sessions/{live}/notes"),
        bob.post(f"/sessions/{live}/notes", {"content": "x"}),
        bob.put(at, {"content": "x"}),
        bob.delete(at),
    ):
        error_of(refused, 403, "NOT_ASSIGNED")
    write(chief, live, "seen")
    assert thread(chief, live) == [SECRET, "seen"]
    # Nobody's conversation is everybody's.
    handoff.release(live, alice.agent.person)
    write(bob, live, "mine")
    assert thread(bob, live) == [SECRET, "seen", "mine"]
    handoff.close(live, None, reason=handoff.Reason.CLOSED_BY_CUSTOMER)
    write(bob, live, "closed")
    assert thread(bob, live)[-1] == "closed"


def test_notes_are_their_authors(alice: Colleague, bob: Colleague, visitor: Visitor) -> None:
    name = visitor.session
    chief = Colleague(make_agent("chief", role=Role.SUPERVISOR))
    admin = Colleague(make_agent("root", role=Role.ADMIN))
    note = write(alice, name)
    at = f"/sessions/{name}/notes/{note['id']}"
    for other in (bob, chief, admin):
        error_of(other.put(at, {"content": "x"}), 403, "NOT_THE_AUTHOR")
    for other in (bob, chief):
        error_of(other.delete(at), 403, "NOT_THE_AUTHOR")
    assert thread(alice, name) == [SECRET]
    elsewhere = f"/sessions/{Visitor().session}/notes/{note['id']}"
    for answer in (alice.put(elsewhere, {"content": "x"}), alice.delete(elsewhere)):
        error_of(answer, 404, "NOTE_NOT_FOUND")
    error_of(alice.delete(f"/sessions/cs_nobody/notes/{note['id']}"), 404, "SESSION_NOT_FOUND")
    assert admin.delete(at).status_code == 204


@pytest.mark.parametrize("content", ["", " \n", "x" * 4001, None, 1, [], "a\x00"])
def test_what_is_no_note_is_refused(content: Any, alice: Colleague, visitor: Visitor) -> None:
    at = f"/sessions/{visitor.session}/notes"
    error_of(alice.post(at, {"content": content}), 422, "VALIDATION_ERROR")
    note = write(alice, visitor.session, "x" * 4000)
    error_of(alice.put(f"{at}/{note['id']}", {"content": content}), 422, "VALIDATION_ERROR")


def test_repeated_note_is_stored_once(
    alice: Colleague, bob: Colleague, visitor: Visitor
) -> None:
    note = write(alice, visitor.session, client_id="1")
    again = alice.post(
        f"/sessions/{visitor.session}/notes", {"content": "other", "client_id": "1"}
    )
    assert (again.status_code, again.json()) == (200, note)
    assert len(announced(visitor.session)) == 1
    # Another author's, and another session's, is another note.
    write(bob, visitor.session, client_id="1")
    write(alice, Visitor().session, client_id="1")
    assert Note.objects.count() == 3


def test_pages_go_back_from_the_latest(alice: Colleague, visitor: Visitor) -> None:
    name = visitor.session
    for number in range(notes.SHOWN + 2):
        write(alice, name, str(number))
    page = alice.get(f"/sessions/{name}/notes", limit=3).json()
    assert [note["content"] for note in page["items"]] == ["49", "50", "51"]
    assert thread(alice, name, limit=200, cursor=page["next"]) == [str(n) for n in range(49)]
    assert alice.get(f"/sessions/{name}/notes", limit=200).json()["next"] is None
    shown = alice.get(f"/sessions/{name}").json()["notes"]
    assert [note["content"] for note in shown] == [str(n) for n in range(2, notes.SHOWN + 2)]


# --- Mentions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("@bob", ["Bob"]),
        ("ask @bob, please", ["Bob"]),
        ("ask @bob.", ["Bob"]),
        ("(@bob)", ["Bob"]),
        ("@bob @bob. @bob", ["Bob"]),
        ("@bob.b and @bob", ["Bob B.", "Bob"]),
        ("问@bob，好吗", ["Bob"]),
        ("请@bob看一下", ["Bob"]),
        ("请@小明", ["小明"]),
        ("请@小明。", ["小明"]),
        ("mail bob@example.com, x@bob", []),
        ("@nobody @ @@bob @Bob", []),
        ("@left", []),
        ("bob", []),
    ],
)
def test_who_is_mentioned(
    content: str, named: list[str], alice: Colleague, visitor: Visitor
) -> None:
    make_agent("bob")
    make_agent("bob.b", display_name="Bob B.")
    make_agent("小明")
    left = make_agent("left").user
    left.is_active = False
    left.save()
    note = write(alice, visitor.session, content)
    assert [person["name"] for person in note["mentions"]] == named


def test_mentioned_agent_hears_of_it(
    alice: Colleague, bob: Colleague, visitor: Visitor
) -> None:
    note = write(alice, visitor.session, "look, @bob and @alice")
    assert mentions(bob) == [{"session_name": visitor.session, "note": note}]
    assert mentions(alice) == []
    at = f"/sessions/{visitor.session}/notes/{note['id']}"
    carol = Colleague(make_agent("carol"))
    edited = alice.put(at, {"content": "@bob @carol"}).json()
    assert len(mentions(bob)) == 1
    assert mentions(carol) == [{"session_name": visitor.session, "note": edited}]


def test_who_may_not_follow_learns_that_there_is_something_and_not_what(
    alice: Colleague, bob: Colleague, live: str
) -> None:
    chief = Colleague(make_agent("chief", role=Role.SUPERVISOR))
    note = write(alice, live, f"{SECRET} @bob @chief")
    assert mentions(bob) == [{"session_name": live, "by": alice.person}]
    assert mentions(chief) == [{"session_name": live, "note": note}]


def test_mentions_of_one_note_are_bounded(alice: Colleague, visitor: Visitor) -> None:
    for number in range(notes.MENTIONS_MOST + 5):
        make_agent(f"a{number}")
    content = " ".join(f"@a{number}" for number in range(notes.MENTIONS_MOST + 5))
    assert len(write(alice, visitor.session, content)["mentions"]) == notes.MENTIONS_MOST


@pytest.mark.django_db(transaction=True)
def test_who_mention_the_same_agents_do_not_wait_for_one_another(
    alice: Colleague, bob: Colleague
) -> None:
    """Several agents' targets are written to in each of many transactions at once."""
    carol, dave = Colleague(make_agent("carol")), Colleague(make_agent("dave"))
    names = [Visitor().session for _ in range(20)]
    barrier = Barrier(len(names))

    def one(number: int, name: str) -> str:
        author = (alice, bob)[number % 2]
        content = ("@carol @dave", "@dave @carol")[number % 2]
        try:
            barrier.wait(20)
            return notes.write(name, author.agent, content=content)[0].content
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(names)) as threads:
        written = list(threads.map(one, range(len(names)), names, timeout=60))
    assert len(written) == 20
    assert (len(mentions(carol)), len(mentions(dave))) == (20, 20)


@pytest.mark.django_db(transaction=True)
def test_note_repeated_at_once_is_stored_once(alice: Colleague, visitor: Visitor) -> None:
    barrier = Barrier(20)

    def one(_: int) -> tuple[int, bool]:
        try:
            barrier.wait(20)
            note, new = notes.write(visitor.session, alice.agent, content="x", client_id="once")
            return note.pk, new
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        written = list(threads.map(one, range(20), timeout=60))
    assert len({key for key, _ in written}) == 1
    assert sum(new for _, new in written) == 1
    assert len(announced(visitor.session)) == 1
