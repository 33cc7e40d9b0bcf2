"""What customers are told and can do when nobody is here, and about the answers they get: in
a browser, with real servers behind it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.harness.browser import Pages
from tests.harness.client import Clients
from tests.harness.services import Service, Services
from tests.test_pages import (
    PHONE,
    assert_no_sideways_scrolling,
    bubble,
    session_of,
    tab_to,
    write,
)

pytestmark = pytest.mark.database_independent

expect.set_options(timeout=15_000)

QUESTION = "How long does delivery take?"


@pytest.fixture(scope="module")
def shop(module_services: Services) -> Service:
    """With the offline AI, and nobody on duty."""
    return module_services.start()


def open_chat(pages: Pages, service: Service, **context: object) -> Page:
    return pages.open(f"{service.base_url}/chat/", **context)


def ask_for_a_person(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Talk to a person|^转人工客服")).click()


def mail_link(service: Service, session: str, email: str = "mia@example.com") -> str:
    """As a mail to this address has it."""
    made = service.database.manage(
        "shell",
        "-v0",
        "-c",
        "from ai_chatbot import links\n"
        "from ai_chatbot.conversation import contact\n"
        f"print(links.to(contact.leave({session!r}, email={email!r}, note='')))",
        PUBLIC_URL=service.base_url,
    )
    return made.strip().splitlines()[-1]


def test_address_is_asked_for_by_keyboard_alone_and_the_ai_goes_on(
    pages: Pages, shop: Service
) -> None:
    pages.allow("status of 422")
    page = open_chat(pages, shop, **PHONE)
    ask_for_a_person(page)
    form = page.get_by_test_id("contact-form")
    expect(form).to_be_visible()
    expect(page.get_by_test_id("after-hours")).to_contain_text("Nobody is here right now.")
    assert_no_sideways_scrolling(page)

    address = page.get_by_label("Email address")
    address.focus()
    page.keyboard.press("Enter")
    expect(form.get_by_role("alert")).to_have_text("Please enter an email address.")
    expect(address).to_be_focused()
    expect(address).to_have_attribute("aria-invalid", "true")
    page.keyboard.type("mia@localhost")
    page.keyboard.press("Enter")
    expect(form.get_by_role("alert")).to_contain_text("We cannot write to this address.")
    address.fill("mia@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type("My lamp <b>broke</b>")
    tab_to(page, "Send")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("contact")).to_have_text("We will write to mia@example.com.")
    expect(page.get_by_role("button", name="Change")).to_be_focused()
    expect(form).to_be_hidden()

    page.reload()
    expect(page.get_by_test_id("contact")).to_have_text("We will write to mia@example.com.")
    write(page, QUESTION)
    expect(bubble(page, "working days")).to_be_visible()
    expect(page.get_by_test_id("status")).to_have_text("Our team is away")

    page.get_by_role("button", name="Change").click()
    expect(page.get_by_label("What is it about?")).to_have_value("My lamp <b>broke</b>")
    page.get_by_label("Email address").fill("mia@example.org")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("contact")).to_have_text("We will write to mia@example.org.")
    assert_no_sideways_scrolling(page)

    page.get_by_role("button", name="Talk to the AI instead").click()
    expect(page.get_by_test_id("status")).to_have_text("AI assistant")
    expect(page.get_by_test_id("contact")).to_be_hidden()
    expect(page.get_by_label("Write a message")).to_be_focused()


def test_form_makes_room_for_an_answer_and_comes_back_when_a_person_is_asked_for_again(
    pages: Pages, shop: Service
) -> None:
    page = open_chat(pages, shop)
    ask_for_a_person(page)
    form = page.get_by_test_id("contact-form")
    expect(form).to_be_visible()
    write(page, QUESTION)
    expect(bubble(page, "working days")).to_be_visible()
    expect(form).to_be_hidden()
    said = bubble(page, "Nobody from our team is here")
    expect(said).to_have_count(1)
    page.get_by_role("button", name="Ask for a person again").click()
    expect(said).to_have_count(2)
    expect(form).to_be_visible()
    expect(page.get_by_label("Email address")).to_be_focused()
    # What was begun stays while something is said beside it.
    page.get_by_label("Email address").fill("mia@exam")
    write(page, "How do I return something?")
    expect(bubble(page, "within 30 days")).to_be_visible()
    expect(page.get_by_label("Email address")).to_have_value("mia@exam")
    page.get_by_role("button", name="Not now").click()
    expect(form).to_be_hidden()
    expect(page.get_by_role("button", name="Leave your email address")).to_be_focused()


@pytest.mark.parametrize(
    ("locale", "says"),
    [
        ("en-US", "Our team will be back on {:%A} at 6:00\\sPM."),
        ("zh-CN", "客服人员将于星期. 18:00 回来。"),
    ],
)
def test_customer_reads_by_the_own_clock_when_people_are_back(
    services: Services, pages: Pages, locale: str, says: str
) -> None:
    day = datetime.now(UTC) + timedelta(days=3)
    service = services.start(OPENING_HOURS=f"{day:%a} 09:00-17:00".lower())
    page = open_chat(pages, service, locale=locale, timezone_id="Asia/Tokyo")
    ask_for_a_person(page)
    expect(page.get_by_test_id("after-hours")).to_contain_text(re.compile(says.format(day)))
    page.reload()
    expect(page.get_by_test_id("after-hours")).to_contain_text(re.compile(says.format(day)))


def test_answers_are_judged_and_two_that_did_not_help_ask_for_a_person(
    services: Services, pages: Pages
) -> None:
    service = services.start()
    page = open_chat(pages, service)
    expect(page.get_by_role("group", name="Did this answer help?")).to_have_count(0)
    write(page, QUESTION)
    group = page.get_by_role("group", name="Did this answer help?")
    up = group.first.get_by_role("button", name="This helped")
    down = group.first.get_by_role("button", name="This did not help")
    expect(up).to_have_attribute("aria-pressed", "false")
    up.focus()
    page.keyboard.press("Enter")
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(group.first.get_by_role("status")).to_have_text("Thank you.")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(down).to_have_attribute("aria-pressed", "true")
    expect(down).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("too <i>short</i>")
    with page.expect_request("**/feedback") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json == {"helpful": False, "comment": "too <i>short</i>"}
    expect(group.first.get_by_role("status")).to_have_text("Thank you.")

    page.reload()
    expect(down).to_have_attribute("aria-pressed", "true")
    expect(up).to_have_attribute("aria-pressed", "false")
    write(page, "How do I return something?")
    expect(group).to_have_count(2)
    group.last.get_by_role("button", name="This did not help").click()
    expect(bubble(page, "I am asking a person from our team")).to_be_visible()
    expect(page.get_by_test_id("contact-form")).to_be_visible()
    # The customer's own words and the system's are not judged.
    expect(page.get_by_test_id("message").filter(has=group)).to_have_count(2)


def test_judgement_that_cannot_be_stored_is_taken_back(pages: Pages, shop: Service) -> None:
    pages.allow("ERR_FAILED")
    page = open_chat(pages, shop)
    write(page, QUESTION)
    page.route("**/feedback", lambda route: route.abort())
    down = page.get_by_role("button", name="This did not help")
    down.click()
    expect(page.get_by_text("No connection. Please try again.")).to_be_visible()
    expect(down).to_have_attribute("aria-pressed", "false")


def test_link_of_a_mail_leads_back_into_the_conversation(pages: Pages, shop: Service) -> None:
    there = open_chat(pages, shop)
    write(there, QUESTION)
    expect(bubble(there, "working days")).to_be_visible()
    session = session_of(there)

    elsewhere = pages.open(mail_link(shop, session), **PHONE)
    expect(bubble(elsewhere, "working days")).to_be_visible()
    assert elsewhere.url == f"{shop.base_url}/chat/"
    assert session_of(elsewhere) == session
    elsewhere.reload()
    expect(bubble(elsewhere, "working days")).to_be_visible()
    write(elsewhere, "Which payment methods do you accept?")
    expect(bubble(elsewhere, "Which payment methods")).to_be_visible()
    # The page that was open goes on as well.
    expect(bubble(there, "Which payment methods")).to_be_visible()
    assert_no_sideways_scrolling(elsewhere)


def test_link_that_has_expired_says_so_and_leads_on(pages: Pages, shop: Service) -> None:
    pages.allow("status of 4(10|03)")
    there = open_chat(pages, shop)
    write(there, QUESTION)
    expect(bubble(there, "working days")).to_be_visible()
    session = session_of(there)
    link = mail_link(shop, session)
    mail_link(shop, session, "another@example.com")

    elsewhere = pages.open(link)
    expect(elsewhere.get_by_role("alert").filter(has_text="expired")).to_have_text(
        "This link has expired."
    )
    assert elsewhere.url == f"{shop.base_url}/chat/"
    expect(elsewhere.get_by_label("Write a message")).to_be_hidden()
    elsewhere.get_by_role("button", name="Start a new conversation").click()
    expect(elsewhere.get_by_label("Write a message")).to_be_focused()
    write(elsewhere, "How do I return something?")
    expect(bubble(elsewhere, "within 30 days")).to_be_visible()
    assert session_of(elsewhere) != session

    # Whoever has a conversation here already may go on with that.
    there.goto(f"{shop.base_url}/chat/?resume=nonsense")
    expect(there.get_by_text("This link does not lead to a conversation.")).to_be_visible()
    there.get_by_role("button", name="Continue my last conversation here").click()
    expect(bubble(there, "working days")).to_be_visible()
    assert session_of(there) == session


def test_header_and_banner_follow_whoever_comes_and_goes(
    services: Services, clients: Clients, pages: Pages
) -> None:
    service = services.start()
    page = open_chat(pages, service, **PHONE)
    ask_for_a_person(page)
    status = page.get_by_test_id("status")
    expect(status).to_have_text("Our team is away")
    page.get_by_label("Email address").fill("mia@example.com")

    alice = clients.agent(service, "alice")
    alice.stream()
    expect(page.get_by_test_id("queue")).to_contain_text("You are next in line.")
    expect(page.get_by_test_id("contact-form")).to_be_hidden()
    session = session_of(page)
    alice.take_over(session)
    expect(status).to_have_text("You are talking with Alice")
    admin = clients.agent(service, "admin")
    admin.call("POST", f"/sessions/{session}/takeover", {"force": True})
    expect(status).to_have_text(f"You are talking with {admin.profile()['name']}")
    expect(page.get_by_test_id("queue")).to_be_hidden()
    page.reload()
    expect(status).to_have_text(f"You are talking with {admin.profile()['name']}")
    admin.call("POST", f"/sessions/{session}/requeue")
    expect(page.get_by_test_id("queue")).to_contain_text("You are next in line.")
    for agent in (admin, alice):
        agent.set_status("offline")
    expect(status).to_have_text("Our team is away")
    expect(page.get_by_test_id("contact-form")).to_be_visible()
    assert_no_sideways_scrolling(page)


RANGES = """async (waits) => {
  const { translator } = await import("/static/ai_chatbot/chat/strings.js");
  return ["en", "zh-hans"].map((language) => {
    const t = translator(language);
    return waits.map(([least, most]) => t.range(least, most));
  });
}"""


def test_a_wait_is_said_as_a_range(pages: Pages, shop: Service) -> None:
    page = open_chat(pages, shop)
    waits = [(30, 60), (30, 240), (120, 600), (300, 330), (1800, 5400), (7200, 43200)]
    english, chinese = page.evaluate(RANGES, waits)
    assert english == [
        "less than a minute",
        "up to 4 minutes",
        "2 to 10 minutes",
        "5 to 6 minutes",
        "30 minutes to 2 hours",
        "2 hours to 12 hours",
    ]
    assert chinese[:3] == ["不到一分钟", "最多约 4 分钟", "2 至 10 分钟"]
    assert chinese[4] == "约 30 分钟至约 2 小时"
