"""How a customer is reached who has left, and comes back: the address and the link."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core import signing
from django.utils import timezone
from pytest_django import Settings

from ai_chatbot import links, tokens
from ai_chatbot.conversation import handoff
from ai_chatbot.models import ChatSession, Reason, SessionToken
from tests.in_process import Api, Colleague, Visitor, error_of, events_of, make_agent

pytestmark = pytest.mark.django_db

ADDRESS = {"email": "zoe@example.com", "note": "Where is my lamp?"}


@pytest.fixture
def visitor() -> Visitor:
    return Visitor(nickname="Zoe")


def stored(visitor: Visitor) -> ChatSession:
    return ChatSession.objects.get(name=visitor.session)


def link_of(visitor: Visitor) -> str:
    return links.to(stored(visitor))


def resume(link: str, **client: Any) -> Any:
    return Api("/api", **client).post("/sessions/resume", {"link": link})


# --- Leaving an address -----------------------------------------------------------------


def test_contact_is_stored_and_answered_with_the_state(visitor: Visitor) -> None:
    assert visitor.state()["contact"] is None
    answer = visitor.post(visitor.at("/contact"), ADDRESS)
    assert answer.status_code == 200
    assert answer.json()["contact"] == visitor.state()["contact"] == ADDRESS
    session = stored(visitor)
    assert session.contact_left_at is not None
    assert session.email == "zoe@example.com"


def test_contact_may_be_changed_and_leaves_the_first_address_alone(visitor: Visitor) -> None:
    visitor.post(visitor.at("/contact"), ADDRESS)
    other = {"email": "zoe@example.org", "note": ""}
    assert (
        visitor.post(visitor.at("/contact"), {"email": "zoe@example.org"}).json()["contact"]
        == other
    )
    assert stored(visitor).email == "zoe@example.com"


def test_contact_can_be_left_in_every_status_but_closed(visitor: Visitor) -> None:
    def leave(note: str) -> Any:
        return visitor.post(visitor.at("/contact"), {**ADDRESS, "note": note})

    assert leave("with the AI").json()["status"] == "bot_active"
    visitor.post(visitor.at("/escalate"))
    assert leave("by email").json()["status"] == "after_hours_email"
    alice = make_agent("alice")
    visitor.post(visitor.at("/escalate"))
    assert leave("in line").json()["status"] == "pending_manual"
    handoff.take_over(visitor.session, alice.person)
    assert leave("live").json()["status"] == "manual_live"
    handoff.close(visitor.session, None, reason=Reason.CLOSED_BY_CUSTOMER)
    error_of(leave("closed"), 409, "SESSION_CLOSED")
    assert stored(visitor).contact_note == "live"


@pytest.mark.parametrize(
    "email",
    [
        "",
        "zoe",
        "zoe@",
        "@example.com",
        "zoe@localhost",
        "zoe@example",
        "zoe@[127.0.0.1]",
        "zoe@example.com, eve@example.com",
        "zoe@example.com\nBcc: eve@example.com",
        "zoe@example.com\r\nBcc: eve@example.com",
        "zoe\n@example.com",
        "zoe@exa\nmple.com",
        '"zoe\x0b"@example.com',
        '"zoe smith"@example.com',
        "Zoe <zoe@example.com>",
        "zoe@example.com\x00",
        "zo\u212a@example.com",
        "\u0131nfo@example.com",
        "zoë@example.com",
        "z" * 65 + "@example.com",
        "z@" + "a" * 250 + ".com",
        "z@" + ".".join(["a" * 60] * 5) + ".com",
        "z@" + ".".join(["ü" * 20] * 12) + ".com",
        None,
        5,
        [],
    ],
    ids=ascii,
)
def test_what_is_no_address_is_refused(visitor: Visitor, email: Any) -> None:
    error_of(visitor.post(visitor.at("/contact"), {"email": email}), 422, "VALIDATION_ERROR")
    assert stored(visitor).contact_email == ""


@pytest.mark.parametrize(
    "email",
    ["zoe@example.com", "z.o-e+shop@mail.example.co.uk", "zoe@bücher.example", "z@例子.公司"],
)
def test_addresses_of_any_country_are_taken(visitor: Visitor, email: str) -> None:
    answer = visitor.post(visitor.at("/contact"), {"email": f" {email} "})
    assert answer.json()["contact"] == {"email": email, "note": ""}


def test_note_has_a_bound(visitor: Visitor) -> None:
    longest = {**ADDRESS, "note": "名" * 2000}
    assert visitor.post(visitor.at("/contact"), longest).status_code == 200
    longer = {**ADDRESS, "note": "名" * 2001}
    error_of(visitor.post(visitor.at("/contact"), longer), 422)
    assert len(stored(visitor).contact_note) == 2000


def test_agents_hear_of_it_once_and_who_may_follow_reads_it(visitor: Visitor) -> None:
    visitor.post(visitor.at("/escalate"))
    visitor.post(visitor.at("/contact"), ADDRESS)
    visitor.post(visitor.at("/contact"), ADDRESS)
    told = [event["payload"] for event in events_of("workbench:agents", "queue_update")]
    assert [each["change"] for each in told if each["session"]["has_contact"]] == ["updated"]
    assert "zoe@example.com" not in str(told)
    alice, bob = Colleague(make_agent("alice")), Colleague(make_agent("bob"))
    assert bob.get(visitor.at()).json()["contact"] == ADDRESS
    handoff.take_over(visitor.session, alice.agent.person)
    assert alice.get(visitor.at()).json()["contact"] == ADDRESS
    error_of(bob.get(visitor.at()), 403)
    shown = {
        each["session_name"]: each["has_contact"]
        for each in bob.get("/sessions", status="manual_live").json()["items"]
    }
    assert shown == {visitor.session: False}


def test_in_a_live_conversation_only_its_agent_hears_of_it(visitor: Visitor) -> None:
    alice = make_agent("alice")
    handoff.take_over(visitor.session, alice.person)
    before = len(events_of("workbench:agents"))
    visitor.post(visitor.at("/contact"), ADDRESS)
    assert len(events_of("workbench:agents")) == before
    [told] = events_of(f"agent:{alice.user_id}", "queue_update")
    assert told["payload"]["session"]["has_contact"] is True


def test_contact_needs_the_sessions_token(visitor: Visitor) -> None:
    error_of(Api("/api").post(visitor.at("/contact"), ADDRESS), 401)
    error_of(Visitor().post(visitor.at("/contact"), ADDRESS), 403)


def test_contact_is_counted_before_it_is_read(visitor: Visitor, rate_limits: None) -> None:
    answers = [visitor.post(visitor.at("/contact"), {"email": "no"}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [422] * 10 + [429]
    assert int(answers[-1]["Retry-After"]) >= 1


# --- The way back -----------------------------------------------------------------------


def test_link_opens_its_session_with_a_new_token_and_the_old_one_stays(
    visitor: Visitor, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://support.example.com"
    visitor.post(visitor.at("/contact"), ADDRESS)
    link = link_of(visitor)
    assert link.startswith("https://support.example.com/chat/?resume=")
    [value] = parse_qs(urlsplit(link).query)["resume"]
    old = visitor.token
    for given in (link, value, f"  {link}\n"):
        answer = resume(given)
        assert answer.status_code == 200
        came = answer.json()
        assert set(came) == {"session_name", "token"}
        assert came["session_name"] == visitor.session
        visitor.token = came["token"]
        assert visitor.state()["contact"] == ADDRESS
    visitor.token = old
    assert visitor.state()["session_name"] == visitor.session
    other = Visitor()
    other.token = came["token"]
    error_of(other.get(other.at()), 403, "FORBIDDEN")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1] + ("A" if value[-1] != "A" else "B"),
        lambda value: "x" + value,
        lambda value: value.replace(":", ""),
        lambda _: "nothing",
        lambda _: "https://[",
        lambda _: "https://support.example.com/chat/",
        lambda _: "::",
        lambda _: "é:名:\ud7ff",
        lambda _: "x" * 2000,
    ],
)
def test_forged_link_opens_nothing(visitor: Visitor, change: Any) -> None:
    visitor.post(visitor.at("/contact"), ADDRESS)
    [value] = parse_qs(urlsplit(link_of(visitor)).query)["resume"]
    error_of(resume(change(value)), 403, "BAD_LINK")
    assert not SessionToken.objects.exists()


def test_link_signed_for_something_else_opens_nothing(visitor: Visitor) -> None:
    visitor.post(visitor.at("/contact"), ADDRESS)
    error_of(resume(signing.dumps([visitor.session, ""])), 403, "BAD_LINK")
    error_of(resume(visitor.session), 403, "BAD_LINK")


def test_expired_link_says_so(
    visitor: Visitor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.post(visitor.at("/contact"), ADDRESS)
    link = link_of(visitor)
    later = (timezone.now() + timedelta(days=13, hours=23)).timestamp()
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    assert resume(link).status_code == 200
    monkeypatch.setattr("django.core.signing.time.time", lambda: later + 7200)
    error_of(resume(link), 410, "LINK_EXPIRED")
    settings.CONTACT_LINK_DAYS = 15
    assert resume(link).status_code == 200


def test_link_to_an_address_that_was_corrected_since_opens_nothing(visitor: Visitor) -> None:
    visitor.post(visitor.at("/contact"), {"email": "eve@example.com"})
    mistyped = link_of(visitor)
    visitor.post(visitor.at("/contact"), ADDRESS)
    error_of(resume(mistyped), 410, "LINK_EXPIRED")
    assert resume(link_of(visitor)).status_code == 200


def test_link_of_a_deleted_session(visitor: Visitor) -> None:
    visitor.post(visitor.at("/contact"), ADDRESS)
    link = link_of(visitor)
    assert resume(link).status_code == 200
    stored(visitor).delete()
    error_of(resume(link), 404, "SESSION_NOT_FOUND")


def test_tokens_of_a_session_are_bounded_and_its_first_one_stays(visitor: Visitor) -> None:
    visitor.post(visitor.at("/contact"), ADDRESS)
    link = link_of(visitor)
    given = [resume(link).json()["token"] for _ in range(tokens.MOST_TOKENS + 1)]
    assert SessionToken.objects.count() == tokens.MOST_TOKENS
    first = visitor.token
    visitor.token = given[0]
    error_of(visitor.get(visitor.at()), 401, "INVALID_TOKEN")
    for token in (*given[1:], first):
        visitor.token = token
        assert visitor.get(visitor.at()).status_code == 200


def test_coming_back_is_limited_by_address(visitor: Visitor, rate_limits: None) -> None:
    codes = [resume("nothing").status_code for _ in range(31)]
    assert codes == [403] * 30 + [429]
    assert resume("nothing", REMOTE_ADDR="10.1.2.3").status_code == 403


def test_link_that_is_no_text_is_refused() -> None:
    for link in (None, 5, "", " ", "x" * 2001, ["x"], "x\x00"):
        error_of(Api("/api").post("/sessions/resume", {"link": link}), 422)
    error_of(Api("/api").get("/sessions/resume"), 405)
