"""Nobody is there: from the wish for a person to the mail, the answer and the way back."""

import re
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest

from tests.harness.client import Client, Clients
from tests.harness.mail import MailServer, text_of
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.database_independent

# What takes its time, in seconds.
CONSTANTS = {
    "ai_chatbot.letters.SETTLES": 1.0,
    "ai_chatbot.outbox.SWEEP_SECONDS": 0.2,
    "ai_chatbot.outbox.FIRST_PAUSE_SECONDS": 0.5,
    "sse.live.upkeep.HEARTBEAT_SECONDS": 0.5,
}


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def mail_settings(server: MailServer, **more: str) -> dict[str, str]:
    return {
        "EMAIL_URL": server.url,
        "STAFF_EMAIL": "team@example.com",
        "DEFAULT_FROM_EMAIL": "support@shop.example",
        "SSE_HEARTBEAT_SECONDS": "0.5",
        **more,
    }


def link_in(mail: EmailMessage) -> str:
    found = re.search(r"^https?://\S+resume=\S+$", text_of(mail), re.MULTILINE)
    assert found is not None, text_of(mail)
    return found.group()


def mail_health(service: Service) -> Any:
    return service.health()["mail"]


def test_from_nobody_there_to_the_mail_the_answer_and_back(
    services: Services, clients: Clients, redis_server: RedisServer, mail_server: MailServer
) -> None:
    chatbot, workbench = services.pair(
        redis_server,
        constants=CONSTANTS,
        **mail_settings(mail_server, WORKBENCH_URL="https://desk.example.com"),
    )
    customer = clients.customer(chatbot, nickname="Zoe")
    customer.send("Where is order 7?")
    assert customer.escalate("my lamp is broken")["status"] == "after_hours_email"
    assert customer.leave_contact("zoe@example.com", "Please hurry")["contact"] == {
        "email": "zoe@example.com",
        "note": "Please hurry",
    }
    customer.leave_contact("zoe@example.com", "Please do hurry")
    [staff] = mail_server.wait_for(1)
    assert staff["X-Recipients"] == "team@example.com"
    assert f"https://desk.example.com/workbench/#{customer.session}" in text_of(staff)
    assert "my lamp is broken" in text_of(staff)

    alice = clients.agent(workbench, "alice", status=None)
    [listed] = alice.sessions(status="after_hours_email")["items"]
    assert (listed["session_name"], listed["has_contact"]) == (customer.session, True)
    assert alice.state(customer.session)["contact"]["note"] == "Please do hurry"
    sent = alice.send(customer.session, "It is on its way.")
    assert sent["delivery"] == "mail"
    answer = mail_server.wait_for(2)[-1]
    assert answer["X-Recipients"] == "zoe@example.com"
    assert answer["Reply-To"] == "team@example.com"
    assert answer["In-Reply-To"] == staff["Message-ID"]
    assert "It is on its way." in text_of(answer)

    with Client(chatbot.api_url) as back:
        opened = back.call("POST", "/sessions/resume", {"link": link_in(answer)})
        assert opened["session_name"] == customer.session
        back.token = opened["token"]
        state = back.call("GET", customer.path())
        assert sent["id"] in [message["id"] for message in state["messages"]]
        returned = back.open_stream(customer.path("/events"), after=state["cursor"])
        # The page of before, if it is still open somewhere.
        stayed = customer.stream()
        for stream in (returned, stayed):
            stream.wait_for("connected")
        thanks = {"content": "Thanks", "client_id": "1"}
        said = back.call("POST", customer.path("/messages"), thanks)
        for stream in (returned, stayed):
            stream.wait_for(lambda e: e.type == "message" and e.payload["id"] == said["id"])

    wait_until(
        lambda: mail_health(chatbot) == mail_health(workbench) == {"waiting": 0, "failed": 0},
        what="health to know that all mail is sent",
    )
    assert len(mail_server.received) == 2
    for service in (chatbot, workbench):
        for secret in (link_in(answer).partition("resume=")[2], opened["token"], "zoe@"):
            assert secret not in service.log_text()


def test_answer_that_is_read_live_is_not_mailed(
    services: Services, clients: Clients, mail_server: MailServer
) -> None:
    service = services.start(constants=CONSTANTS, **mail_settings(mail_server))
    customer, other = (clients.customer(service) for _ in range(2))
    for each in (customer, other):
        each.escalate()
        each.leave_contact("zoe@example.com")
    mail_server.wait_for(2)
    alice = clients.agent(service, "alice", status="offline")
    stream = customer.stream()
    stream.wait_for("connected")
    # Its process tells of streams in the order in which they were opened.
    later = clients.customer(service)
    later.escalate()
    later.stream().wait_for("connected")
    wait_until(
        lambda: alice.send(later.session, "Are you there?")["delivery"] == "live",
        what="the pages to be known to be open",
        interval=0.1,
    )
    sent = alice.send(customer.session, "live")
    assert sent["delivery"] == "live"
    stream.wait_for(lambda e: e.type == "message" and e.payload["content"] == "live")
    # A later one, to somebody else, overtakes it: its time has come then, too.
    assert alice.send(other.session, "by mail")["delivery"] == "mail"
    wait_until(
        lambda: mail_health(service) == {"waiting": 0, "failed": 0},
        what="both to have come to an end",
    )
    assert [text_of(mail).count("by mail") for mail in mail_server.received[2:]] == [1]


@pytest.mark.every_database
def test_mail_whose_process_is_killed_before_it_is_noted_comes_again(
    services: Services, clients: Clients, mail_server: MailServer
) -> None:
    constants = {**CONSTANTS, "ai_chatbot.outbox.LEASE": 3.0}
    service = services.start(constants=constants, **mail_settings(mail_server))
    customer = clients.customer(service, nickname="Zoe")
    customer.escalate()
    killed = threading.Event()

    def kill(_mail: EmailMessage) -> None:
        if not killed.is_set():
            service.kill()
            killed.set()

    mail_server.before_answer = kill
    customer.leave_contact("zoe@example.com")
    assert killed.wait(20)
    service.start()
    one, two = mail_server.wait_for(2)
    assert one["Message-ID"] == two["Message-ID"]
    wait_until(
        lambda: mail_health(service) == {"waiting": 0, "failed": 0}, what="it to be noted"
    )
    assert len(mail_server.received) == 2


def test_the_ai_goes_on_answering_and_leads_back(services: Services, clients: Clients) -> None:
    service = services.start(STAFF_EMAIL="")
    customer = clients.customer(service)
    customer.escalate()
    stream = customer.stream(after=customer.state()["cursor"])
    customer.send("How long does delivery take?")
    answer = stream.wait_for(lambda e: e.type == "message" and e.payload["role"] == "assistant")
    assert answer.payload["status"] == "complete"
    assert customer.state()["status"] == "after_hours_email"
    assert customer.cancel_escalation()["status"] == "bot_active"
    change = stream.wait_for("status_change")
    assert (change.payload["previous"], change.payload["reason"]) == (
        "after_hours_email",
        "cancelled",
    )


def test_what_the_ai_fails_at_or_asks_for_changes_nothing_while_nobody_is_there(
    services: Services, clients: Clients
) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    customer.escalate()
    stream = customer.stream(after=customer.state()["cursor"])

    def says(text: str, answer: str) -> None:
        before = len(stream.received)
        customer.send(text)
        stream.wait_for(
            lambda e: (
                e.type == "message"
                and e.payload["role"] != "user"
                and answer in e.payload["content"]
            ),
            after=before,
        )
        wait_until(lambda: not customer.state()["awaiting_reply"], what="the turn's end")
        assert customer.state()["status"] == "after_hours_email"

    says("say: one two", "one two")
    says("fail: timeout", "I could not answer just now")
    says("fail: timeout", "I could not answer just now")
    says("handoff: refund", "Nobody from our team is here right now")
    says("I want to talk to a human", "Nobody from our team is here right now")
    customer.send("hang")
    stream.wait_for("reply_delta")
    assert customer.stop()["status"] == "after_hours_email"
    says("say: three", "three")
    assert "status_change" not in stream.types()
    assert customer.cancel_escalation()["status"] == "bot_active"


def test_start_says_once_that_nobody_gets_mail(services: Services) -> None:
    service = services.start(DEMO="false", STAFF_EMAIL="", EMAIL_URL="")
    log = service.log_text()
    assert log.count("STAFF_EMAIL is empty") == 1
    assert log.count("EMAIL_URL is empty") == 1
