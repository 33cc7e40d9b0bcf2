"""What tests wait for on a stream, and what must hold of all that came."""

from collections.abc import Callable

from tests.harness.streams import Event, EventStream

Expected = Callable[[Event], bool]


def message(content: str, role: str = "") -> Expected:
    def expected(event: Event) -> bool:
        return (
            event.type == "message"
            and event.payload["content"] == content
            and role in ("", event.payload["role"])
        )

    return expected


def reply(content: str) -> Expected:
    """A finished answer of the AI."""
    return message(content, "assistant")


def status(name: str) -> Expected:
    return lambda event: event.type == "status_change" and event.payload["status"] == name


def queued(session_name: str) -> Expected:
    return lambda event: (
        event.type == "queue_update"
        and event.payload["session"]["session_name"] == session_name
    )


def contents(stream: EventStream) -> list[str]:
    """The messages on a session's stream, in the order of their arrival."""
    return [event.payload["content"] for event in stream.events("message")]


def statuses(stream: EventStream) -> list[str]:
    return [event.payload["status"] for event in stream.events("status_change")]


def assert_each_once(stream: EventStream) -> None:
    ids = [event.id for event in stream.events() if event.id and event.type != "connected"]
    assert len(ids) == len(set(ids))
