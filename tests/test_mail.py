"""Mail that is owed is sent: once if all goes well, never less, whatever the server does."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.message import EmailMessage
from itertools import pairwise
from threading import Barrier
from typing import Any
from urllib.parse import quote

import pytest
from django.core import mail as django_mail
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from ai_chatbot import letters, links, outbox
from ai_chatbot.conversation import handoff, presence
from ai_chatbot.models import ChatSession, HandoffRecord, Mail, Message
from config.health import Health, health
from sse.models import OpenStream, Process
from tests.harness.mail import MailServer, text_of
from tests.harness.ports import free_port
from tests.hubs import serving_hub, until_stored
from tests.in_process import Colleague, Visitor, browser, error_of, events_of, make_agent

pytestmark = pytest.mark.django_db

ADDRESS = {"email": "zoe@example.com", "note": "Where is my lamp?"}


@pytest.fixture
def staffed(settings: Settings) -> None:
    settings.STAFF_EMAIL = ["Team <team@example.com>"]
    settings.DEFAULT_FROM_EMAIL = "Our Shop <support@shop.example>"
    settings.PUBLIC_URL = "https://support.example.com"
    settings.WORKBENCH_URL = "https://desk.example.com"


@pytest.fixture
def mail_server(settings: Settings, staffed: None) -> Iterator[MailServer]:
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_TIMEOUT = 5.0
        yield server


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes its time does so in hundredths of seconds."""
    monkeypatch.setattr(outbox, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(outbox, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(outbox, "PAUSE_GROWS", 1)
    monkeypatch.setattr(outbox, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(letters, "SETTLES", timedelta(0))


def after_hours(*, contact: bool = True, **fields: Any) -> Visitor:
    """A customer whom nobody was there for."""
    visitor = Visitor(**{"nickname": "Zoe", **fields})
    visitor.send("Where is order 7?")
    visitor.post(visitor.at("/escalate"), {"reason": "my lamp is broken"})
    if contact:
        answer = visitor.post(visitor.at("/contact"), ADDRESS)
        assert answer.json()["status"] == "after_hours_email"
    return visitor


def reply(visitor: Visitor, content: str = "It is on its way.") -> dict[str, Any]:
    agent = Colleague(make_agent(f"alice{Message.objects.count()}", status="offline"))
    answer = agent.post(visitor.at("/messages"), {"content": content, "client_id": "1"})
    assert answer.status_code == 201, answer.content
    return answer.json()


def keep_sending_until(holds: Callable[[], Any], wanted: Any = True) -> None:
    """As a process that serves does. Whoever sent before is dead for longer than a lease."""
    Mail.objects.update(lease_until=None)

    async def scene() -> None:
        async with serving_hub():
            work = asyncio.create_task(outbox.keep_sending(lambda well=True: None))
            try:
                await until_stored(holds, wanted)
            finally:
                work.cancel()
                await asyncio.wait({work})

    asyncio.run(scene())


def states(kind: str = "staff") -> list[str]:
    return list(Mail.objects.filter(kind=kind).order_by("pk").values_list("state", flat=True))


def composed(kind: str) -> Any:
    return letters.write(Mail.objects.filter(kind=kind).select_related("session").latest("pk"))


# --- What is owed -----------------------------------------------------------------------


def test_staff_are_owed_one_mail_for_each_session(staffed: None) -> None:
    visitor = after_hours(contact=False)
    assert not Mail.objects.exists()
    for note in ("first", "second"):
        visitor.post(visitor.at("/contact"), {**ADDRESS, "note": note})
    assert states() == ["waiting"]
    after_hours()
    assert states() == ["waiting", "waiting"]


def test_without_a_staff_address_there_is_no_staff_mail(settings: Settings) -> None:
    settings.STAFF_EMAIL = []
    visitor = after_hours()
    assert not Mail.objects.exists()
    reply(visitor)
    assert states("reply") == ["waiting"]


def test_a_refused_contact_owes_nothing(staffed: None) -> None:
    visitor = after_hours(contact=False)
    error_of(visitor.post(visitor.at("/contact"), {"email": "zoe"}), 422)
    assert not Mail.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_twenty_contacts_at_once_owe_one_mail(staffed: None) -> None:
    visitor = after_hours(contact=False)
    barrier = Barrier(20)

    def leave(number: int) -> int:
        try:
            barrier.wait(20)
            body = {**ADDRESS, "note": f"note {number}"}
            return visitor.post(visitor.at("/contact"), body).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(leave, range(20))) == [200] * 20
    assert states() == ["waiting"]


# --- What stands in them ----------------------------------------------------------------


def test_staff_mail_says_who_why_and_where(staffed: None) -> None:
    visitor = after_hours()
    record = HandoffRecord.objects.get()
    record.code, record.text, record.summary = "angry", "wants a refund", "Asked for order 7."
    record.save()
    mail = composed("staff")
    assert mail.subject == "Zoe would like an answer by email"
    assert mail.to == ["Team <team@example.com>"]
    assert mail.reply_to == ["zoe@example.com"]
    for part in (
        "zoe@example.com",
        "Where is my lamp?",
        "angry",
        "wants a refund",
        "Asked for order 7.",
        "Where is order 7?",
        f"https://desk.example.com/workbench/#{visitor.session}",
    ):
        assert part in mail.body
    headers = mail.message()
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["From"] == "Our Shop <support@shop.example>"


def test_transcript_has_the_last_hundred_messages(staffed: None) -> None:
    visitor = after_hours()
    session = ChatSession.objects.get()
    for number in range(101):
        Message.objects.create(session=session, role="user", content=f"line {number};")
    body = composed("staff").body
    assert "line 0;" not in body
    assert body.index("line 1;") < body.index("line 100;")
    Message.objects.create(session=session, role="user", content="x" * 4000)
    assert "x" * 2001 not in composed("staff").body
    assert visitor.state()["messages"][-1]["content"] == "x" * 4000


def test_what_is_said_in_a_live_conversation_is_not_mailed_to_staff(staffed: None) -> None:
    visitor = after_hours()
    alice = make_agent("alice")
    handoff.take_over(visitor.session, alice.person)
    body = composed("staff").body
    assert "order 7" not in body
    assert "my lamp is broken" not in body
    assert "Alice is talking with the customer now." in body
    assert visitor.session in body


@pytest.mark.parametrize(
    "nickname",
    ["Zoe\nBcc: eve@example.com", "Zoe\r\nBcc: eve@example.com", "Zoe\u2028Bcc: e@example.com"],
    ids=ascii,
)
def test_nickname_adds_no_header(staffed: None, nickname: str) -> None:
    after_hours(nickname=nickname)
    mail = composed("staff")
    message = mail.message()
    assert mail.recipients() == ["Team <team@example.com>"]
    assert message["Bcc"] is None
    assert len(mail.subject.splitlines()) == 1
    assert mail.subject.startswith("Zoe Bcc: e")


def test_reply_is_in_the_customers_language_with_a_link_back(staffed: None) -> None:
    visitor = after_hours(language="zh-hans")
    reply(visitor, 'Unterwegs: <b>7</b> & "8"')
    mail = composed("reply")
    assert mail.to == ["zoe@example.com"]
    assert mail.reply_to == ["Team <team@example.com>"]
    assert 'Unterwegs: <b>7</b> & "8"' in mail.body
    [link] = [line for line in mail.body.splitlines() if line.startswith("https://")]
    assert link.startswith("https://support.example.com/chat/?resume=")
    [(page, kind)] = mail.alternatives
    assert kind == "text/html"
    assert '<html lang="zh-hans">' in page
    assert "&lt;b&gt;7&lt;/b&gt;" in page
    assert f'href="{link}"' in page
    opened = visitor.call("POST", "/sessions/resume", {"link": link}).json()
    assert opened["session_name"] == visitor.session


def test_mails_of_a_conversation_hang_together(staffed: None) -> None:
    visitor = after_hours()
    first = reply(visitor)
    Mail.objects.filter(message_id=first["id"]).update(state="sent")
    one = Mail.objects.get(message_id=first["id"])
    second = reply(visitor, "And here it is.")
    two = Mail.objects.get(message_id=second["id"])
    staff, one, two = (
        letters.write(mail).message()  # type: ignore[union-attr]
        for mail in (Mail.objects.get(kind="staff"), one, two)
    )
    assert one["In-Reply-To"] == one["References"] == staff["Message-ID"]
    assert two["In-Reply-To"] == one["Message-ID"]
    assert two["References"].split() == [staff["Message-ID"], one["Message-ID"]]
    assert two["Subject"] == one["Subject"]
    assert len({each["Message-ID"] for each in (staff, one, two)}) == 3
    assert staff["Message-ID"].endswith("@shop.example>")
    assert visitor.session not in staff["Message-ID"]
    other = after_hours()
    assert other.session != visitor.session
    assert composed("staff").message()["Message-ID"] != staff["Message-ID"]


# --- Live, or by mail -------------------------------------------------------------------


def page_of(visitor: Visitor, *, seen: timedelta, opened: timedelta) -> None:
    """A stream, as the process that has it says so, so long after now."""
    now = timezone.now()
    process = Process.objects.create(
        name=visitor.session, started_at=now, seen_at=now + seen, unheard=False,
        listens=True, streams=1,
    )  # fmt: skip
    OpenStream.objects.create(
        process=process,
        name=visitor.session,
        target=visitor.session,
        subject=f"customer:{visitor.session}",
        address="127.0.0.1",
        opened_at=now + opened,
    )


def test_reply_to_who_is_not_here_goes_by_mail(staffed: None) -> None:
    visitor = after_hours()
    sent = reply(visitor)
    assert sent["delivery"] == "mail"
    assert sent["content"] == visitor.state()["messages"][-1]["content"]
    assert visitor.state()["status"] == "after_hours_email"
    assert composed("reply") is not None


def test_reply_without_an_address_waits_for_the_customer(staffed: None) -> None:
    sent = reply(after_hours(contact=False))
    assert sent["delivery"] == "none"
    assert not Mail.objects.exists()


def test_reply_to_an_open_page_is_live_and_mailed_only_if_the_page_does_not_stay(
    staffed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page whose network is gone looks open for a while."""
    visitor = after_hours()
    page_of(visitor, seen=timedelta(0), opened=-timedelta(hours=1))
    sent = reply(visitor)
    assert sent["delivery"] == "live"
    mail = Mail.objects.get(kind="reply")
    assert mail.message is not None
    with pytest.raises(letters.TooEarly) as early:
        letters.write(mail)
    certain_at = mail.message.created_at + presence.silence() + letters.SETTLES
    assert early.value.until == certain_at
    # Its process has not said since that it is there.
    monkeypatch.setattr("ai_chatbot.letters.timezone.now", lambda: certain_at)
    assert letters.write(mail) is not None
    # It has.
    seen_at = mail.message.created_at + presence.silence() + timedelta(seconds=1)
    Process.objects.update(seen_at=seen_at)
    assert letters.write(mail) is None


def test_who_came_back_since_gets_no_mail(staffed: None) -> None:
    came, wrote, seen, nobody = (after_hours() for _ in range(4))
    for each in (came, wrote, seen, nobody):
        reply(each)
    page_of(came, seen=timedelta(seconds=1), opened=timedelta(seconds=1))
    wrote.send("Thank you")
    ChatSession.objects.filter(name=seen.session).update(
        customer_seen_at=timezone.now() + timedelta(minutes=5)
    )
    fates = {
        mail.session.name: letters.write(mail) is None
        for mail in Mail.objects.filter(kind="reply")
    }
    assert fates == {
        came.session: True, wrote.session: True, seen.session: True, nobody.session: False,
    }  # fmt: skip


def test_in_a_live_conversation_who_is_away_is_written_to_as_well(staffed: None) -> None:
    here, away, unknown = after_hours(), after_hours(), after_hours(contact=False)
    page_of(here, seen=timedelta(0), opened=-timedelta(hours=1))
    alice = Colleague(make_agent("alice"))
    said = {"content": "Are you there?", "client_id": "1"}
    for visitor, delivery in ((here, None), (away, "mail"), (unknown, None)):
        handoff.take_over(visitor.session, alice.agent.person)
        sent = alice.post(visitor.at("/messages"), said).json()
        assert sent.get("delivery") == delivery
    assert [mail.session.name for mail in Mail.objects.filter(kind="reply")] == [away.session]
    again = alice.post(away.at("/messages"), said)
    assert (again.status_code, again.json()["delivery"]) == (200, "mail")
    assert Mail.objects.filter(kind="reply").count() == 1


def test_any_agent_may_answer_and_agents_hear_of_it(staffed: None) -> None:
    visitor = after_hours()
    before = len(events_of("workbench:agents", "queue_update"))
    reply(visitor, "one")
    reply(visitor, "two")
    told = events_of("workbench:agents", "queue_update")[before:]
    assert [each["payload"]["change"] for each in told] == ["updated", "updated"]
    assert told[0]["payload"]["session"]["unanswered_since"] is None
    assert [m["content"] for m in visitor.state()["messages"][-2:]] == ["one", "two"]
    said = [each["payload"]["content"] for each in events_of(visitor.session, "message")]
    assert said[-2:] == ["one", "two"]


# --- On the way -------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_both_mails_arrive(mail_server: MailServer, hurried: None) -> None:
    visitor = after_hours()
    reply(visitor)
    keep_sending_until(lambda: states() + states("reply"), ["sent", "sent"])
    staff, customer = mail_server.received
    assert staff["X-Recipients"] == "team@example.com"
    assert customer["X-Recipients"] == "zoe@example.com"
    assert "It is on its way." in text_of(customer)
    assert customer["In-Reply-To"] == staff["Message-ID"]
    assert Mail.objects.filter(sent_at__isnull=False, tries=1, error="").count() == 2
    assert outbox.standing() == {"waiting": 0, "failed": 0}
    assert Health(health)(browser().get("/api/livez").wsgi_request).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_address_of_another_script_arrives(mail_server: MailServer, hurried: None) -> None:
    visitor = after_hours(contact=False)
    visitor.post(visitor.at("/contact"), {"email": "zoe@bücher.example"})
    reply(visitor)
    keep_sending_until(lambda: states("reply"), ["sent"])
    assert mail_server.received[-1]["X-Recipients"] == "zoe@xn--bcher-kva.example"


@pytest.mark.django_db(transaction=True)
def test_mail_waits_for_a_server_that_is_away(
    mail_server: MailServer, hurried: None, caplog: pytest.LogCaptureFixture
) -> None:
    mail_server.stop()
    after_hours()
    with caplog.at_level(logging.WARNING, "ai_chatbot.outbox"):
        keep_sending_until(lambda: Mail.objects.get().tries >= 2)
    assert "ConnectionRefusedError" in caplog.text
    assert "zoe" not in caplog.text
    assert states() == ["waiting"]
    assert "ConnectionRefusedError" in Mail.objects.get().error
    mail_server.start()
    keep_sending_until(states, ["sent"])
    assert len(mail_server.received) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["to_recipients", "to_mails"])
def test_mail_that_is_put_off_is_tried_again(
    mail_server: MailServer, hurried: None, where: str
) -> None:
    getattr(mail_server, where).extend(["451 try later"] * 2)
    after_hours()
    keep_sending_until(states, ["sent"])
    assert Mail.objects.get().tries == 3
    assert len(mail_server.received) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["to_recipients", "to_mails"])
def test_mail_that_is_refused_fails_for_good_until_it_is_sent_again_by_hand(
    mail_server: MailServer, hurried: None, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    getattr(mail_server, where).append("550 no <team@example.com> here")
    after_hours()
    with caplog.at_level(logging.ERROR, "ai_chatbot.outbox"):
        keep_sending_until(states, ["failed"])
    failed = Mail.objects.get()
    assert failed.tries == 1
    assert "550" in failed.error
    [record] = [r for r in caplog.records if r.name == "ai_chatbot.outbox"]
    assert "550" in record.getMessage()
    assert "team@example.com" not in record.getMessage()
    keep_sending_until(outbox.standing, {"waiting": 0, "failed": 1})
    admin = browser()
    admin.force_login(make_agent("admin", role="admin").user)
    page = admin.post(
        "/admin/ai_chatbot/mail/",
        {"action": "send_again", "_selected_action": [failed.pk]},
        follow=True,
    )
    assert "1 email will be sent again." in page.content.decode()
    keep_sending_until(states, ["sent"])
    assert len(mail_server.received) == 1
    page = admin.get(f"/admin/ai_chatbot/mail/{failed.pk}/change/")
    assert page.status_code == 200


@pytest.mark.django_db(transaction=True)
def test_mail_fails_for_good_after_so_many_tries(
    mail_server: MailServer, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_TRIES", 3)
    mail_server.to_mails.extend(["451 try later"] * 4)
    after_hours()
    keep_sending_until(states, ["failed"])
    assert Mail.objects.get().tries == 3
    assert mail_server.to_mails == ["451 try later"]


@pytest.mark.parametrize("step", ["greeting", "data"])
@pytest.mark.django_db(transaction=True)
def test_server_that_hangs_is_given_up(
    mail_server: MailServer,
    hurried: None,
    settings: Settings,
    step: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.EMAIL_TIMEOUT = 0.2
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        if step == "greeting":
            settings.EMAIL_PORT = silent.getsockname()[1]
        else:
            mail_server.hang = 1000
        after_hours()
        keep_sending_until(lambda: Mail.objects.get().tries >= 2)
    assert "timed out" in caplog.text
    mail_server.hang = 0
    settings.EMAIL_PORT = mail_server.port
    settings.EMAIL_TIMEOUT = 5.0
    keep_sending_until(states, ["sent"])
    # Whether it had been taken before the silence, nobody knows; then it comes twice, as one.
    assert len({mail["Message-ID"] for mail in mail_server.received}) == 1


@pytest.mark.django_db(transaction=True)
def test_server_that_is_slow_at_every_step_is_given_up_in_the_end(
    mail_server: MailServer, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SEND_SECONDS", 0.3)
    mail_server.hang = 1
    after_hours()
    keep_sending_until(lambda: "not taken within" in Mail.objects.get().error)
    keep_sending_until(states, ["sent"])


@pytest.mark.django_db(transaction=True)
def test_threads_that_a_server_holds_are_bounded(
    mail_server: MailServer, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "MOST_THREADS", 2)
    monkeypatch.setattr(outbox, "_hang_up", lambda _backend: None)
    mail_server.hang = 10
    for _ in range(4):
        after_hours()
    ailing = []

    async def scene() -> None:
        async with serving_hub():
            work = asyncio.create_task(
                outbox.keep_sending(lambda well=True: ailing.append(well))
            )
            await until_stored(lambda: False in ailing, True)
            work.cancel()
            await asyncio.wait({work})

    asyncio.run(scene())
    assert mail_server.begun == 2
    mail_server.stop()


@pytest.mark.django_db(transaction=True)
def test_two_processes_send_a_mail_once(mail_server: MailServer, staffed: None) -> None:
    for _ in range(4):
        after_hours()
    barrier = Barrier(2)

    def claim(_: int) -> list[tuple[int, int]]:
        try:
            barrier.wait(10)
            found = []
            for _try in range(6):
                claimed = outbox.claim()
                if claimed is not None:
                    found.append(claimed)
            return found
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(claim, range(2))
    assert sorted(one + two) == [
        (pk, 1) for pk in sorted(Mail.objects.values_list("pk", flat=True))
    ]
    assert outbox.claim() is None


def test_mail_whose_process_died_is_anyones_after_the_lease(staffed: None) -> None:
    after_hours()
    pk, tries = outbox.claim() or (0, 0)
    assert outbox.claim() is None
    Mail.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert outbox.claim() == (pk, 2)
    # What the first one says now, which was not dead but slow, is not heard.
    outbox.failed(pk, tries, ValueError("slow"))
    assert (Mail.objects.get().error, Mail.objects.get().lease_until is None) == ("", False)
    outbox.sent(pk, 2)
    assert states() == ["sent"]


def test_mail_that_kills_its_process_is_not_tried_for_ever(staffed: None) -> None:
    after_hours()
    Mail.objects.update(tries=outbox.MOST_TRIES, lease_until=timezone.now())
    assert outbox.claim() is None
    assert states() == ["failed"]


def test_pauses_grow_to_hours_and_last_a_day(staffed: None) -> None:
    after_hours()
    pauses = []
    for tries in range(1, outbox.MOST_TRIES):
        Mail.objects.update(tries=tries)
        outbox.failed(Mail.objects.get().pk, tries, ConnectionRefusedError())
        pauses.append((Mail.objects.get().due_at - timezone.now()).total_seconds())
    assert all(one < two + 1 for one, two in pairwise(pauses))
    assert pauses[0] < 6
    assert 20 < sum(pauses) / 3600 < 30


def test_backend_of_another_kind_is_used_as_well(staffed: None, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    after_hours()
    mail = composed("staff")
    mail.send()
    [sent] = django_mail.outbox
    assert isinstance(sent.message(), EmailMessage) or sent.message()["To"]


def test_link_needs_no_escaping_in_a_mail(staffed: None) -> None:
    after_hours()
    link = links.to(ChatSession.objects.get())
    assert quote(link, safe="/:?=&%-_") == link
    assert len(link) < 300


# --- What agents work off ---------------------------------------------------------------


def test_sessions_by_email_are_listed_as_they_are_worked_off(staffed: None) -> None:
    answered, first, second, again = (after_hours() for _ in range(4))
    for visitor in (answered, again):
        reply(visitor)
    again.send("And where is order 8?")
    alice = Colleague(make_agent("alice", status="offline"))
    wanted = [visitor.session for visitor in (first, second, again, answered)]
    page = alice.get("/sessions", status="after_hours_email").json()
    assert [each["session_name"] for each in page["items"]] == wanted
    assert [each["unanswered_since"] is None for each in page["items"]] == [False] * 3 + [True]
    found, cursor = [], None
    for _ in range(4):
        query = {} if cursor is None else {"cursor": cursor}
        page = alice.get("/sessions", status="after_hours_email", limit=1, **query).json()
        found += [each["session_name"] for each in page["items"]]
        cursor = page["next"]
    assert (found, cursor) == (wanted, None)
