"""What customers are promised, from the first press to the last, as they and agents see it: two
services over Redis, their pages in a browser, and a mail server."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.harness.browser import Pages
from tests.harness.client import Clients
from tests.harness.databases import DEMO_AGENTS, Databases
from tests.harness.mail import MailServer, text_of
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services
from tests.test_after_hours import CONSTANTS, link_in, mail_settings
from tests.test_pages import bubble, in_list, open_console, session_of, tab_to, write

pytestmark = pytest.mark.database_independent

ABSENCE = 5
# The promise is 15 seconds after the absence; and what this machine may be late.
TOLD_MS = (ABSENCE + 15 + 5) * 1000

Pair = tuple[Service, Service]


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture(scope="module")
def by_hand(
    module_services: Services, module_redis_server: RedisServer, mail_server: MailServer
) -> Pair:
    """Agents take conversations themselves."""
    return module_services.pair(
        module_redis_server,
        constants=CONSTANTS,
        **mail_settings(mail_server, AGENT_ABSENCE_SECONDS=str(ABSENCE)),
    )


@pytest.fixture
def deserted(by_hand: Pair, clients: Clients) -> Pair:
    """With nobody on duty, and no conversation left over."""
    for name in DEMO_AGENTS:
        clients.agent(by_hand[1], name, status="offline")
    supervisor = clients.agent(by_hand[1], "carol", status="offline")
    for session in supervisor.sessions()["items"]:
        supervisor.close(session["session_name"])
    return by_hand


@pytest.fixture(scope="module")
def assigning_services(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    with (
        databases.demo() as database,
        Services(database, tmp_path_factory.mktemp("assigning")) as started,
    ):
        database.manage(
            "shell",
            "-v0",
            "-c",
            "from agent_workbench.models import Agent; Agent.objects.update(max_sessions=1)",
        )
        yield started


@pytest.fixture(scope="module")
def assigning(assigning_services: Services, module_redis_server: RedisServer) -> Pair:
    """Agents are given one conversation each."""
    return assigning_services.pair(
        module_redis_server, ASSIGNMENT="least_busy", REDIS_PREFIX="assigning"
    )


def ask_for_a_person(pages: Pages, service: Service) -> Page:
    page = pages.open(f"{service.base_url}/chat/")
    page.get_by_role("button", name="Talk to a person").click()
    return page


def place(page: Page, says: str) -> None:
    expect(page.get_by_test_id("queue")).to_contain_text(says)


def status(page: Page, says: str | re.Pattern[str]) -> None:
    expect(page.get_by_test_id("status")).to_have_text(says)


def log_in(console: Page, service: Service, username: str) -> None:
    console.get_by_label("Username").fill(username)
    console.get_by_label("Password").fill(service.database.demo_password())
    console.get_by_role("button", name="Log in").click()
    # Its scripts have run; and agents are as they chose to be when they left.
    expect(console.get_by_role("tab", name="Queue")).to_be_visible()
    presence = console.get_by_label("My presence")
    expect(presence).to_have_value("offline")
    with console.expect_response("**/agent/status"):
        presence.select_option("online")


def test_customer_whom_nobody_could_serve_is_written_to_and_comes_back(
    pages: Pages, deserted: Pair, mail_server: MailServer
) -> None:
    _, workbench = deserted
    had = len(mail_server.received)
    customer = pages.open(f"{deserted[0].base_url}/chat/")
    write(customer, "How long does delivery take?")
    expect(bubble(customer, "working days")).to_be_visible()
    customer.get_by_role("button", name="Talk to a person").click()
    status(customer, "Our team is away")
    customer.get_by_label("Email address").fill("mia@example.com")
    customer.get_by_label("What is it about?").fill("Order 4711 never came")
    customer.get_by_role("button", name="Send", exact=True).first.click()
    expect(customer.get_by_test_id("contact")).to_have_text("We will write to mia@example.com.")
    session = session_of(customer)
    to_staff = mail_server.wait_for(had + 1)[-1]
    assert to_staff["X-Recipients"] == "team@example.com"
    assert "Order 4711 never came" in text_of(to_staff)
    customer.context.close()

    link = re.search(r"http\S+/workbench/\S+", text_of(to_staff))
    assert link is not None, text_of(to_staff)
    console = pages.open(link.group())
    log_in(console, workbench, "alice")
    expect(console.get_by_test_id("session-status")).to_have_text("By email")
    expect(bubble(console, "working days")).to_be_visible()
    expect(console.get_by_text("Order 4711 never came").first).to_be_visible()
    expect(console.get_by_text("your reply goes to mia@example.com")).to_be_visible()
    write(console, "It is on its way.")
    expect(bubble(console, "It is on its way.")).to_contain_text("by email to mia@example.com")
    reply = mail_server.wait_for(had + 2)[-1]
    assert reply["X-Recipients"] == "mia@example.com"
    assert "It is on its way." in text_of(reply)

    # On another device, with somebody on duty by now.
    back = pages.open(link_in(reply))
    expect(bubble(back, "working days")).to_be_visible()
    expect(bubble(back, "It is on its way.")).to_have_attribute("data-role", "agent")
    assert session_of(back) == session
    status(back, "Our team answers by email")
    expect(back.get_by_test_id("after-hours")).not_to_contain_text("Nobody is here")
    # What has been answered waits for nobody, until the customer goes on.
    write(back, "It is the wrong lamp")
    place(back, "You are next in line.")
    expect(bubble(back, "Our team is back, and you are in line")).to_be_visible()
    console.get_by_role("tab", name="Queue").click()
    in_list(console, session).click()
    console.get_by_role("button", name="Take over").click()
    status(back, "You are talking with Alice")
    write(console, "I am sorry, Mia")
    expect(bubble(back, "I am sorry, Mia")).to_be_visible()
    assert len(mail_server.received) == had + 2


def test_customer_of_an_agent_whose_browser_dies_is_first_in_line_for_a_colleague(
    pages: Pages, deserted: Pair, clients: Clients, tmp_path: Path
) -> None:
    chatbot, workbench = deserted
    bob = pages.open(f"{workbench.base_url}/workbench/")
    log_in(bob, workbench, "bob")
    alice, kill = pages.launch(tmp_path / "profile")
    alice.goto(f"{workbench.base_url}/workbench/")
    log_in(alice, workbench, "alice")
    waits_longer = clients.customer(chatbot)
    waits_longer.escalate()
    customer = ask_for_a_person(pages, chatbot)
    session = session_of(customer)
    place(customer, "You are number 2 in line.")
    in_list(alice, session).click()
    alice.get_by_role("button", name="Take over").click()
    status(customer, "You are talking with Alice")
    write(customer, "The lamp is broken")
    expect(bubble(alice, "The lamp is broken")).to_be_visible()

    kill()
    waiting = expect(customer.get_by_test_id("status"))
    waiting.to_have_text("Waiting for a person", timeout=TOLD_MS)
    place(customer, "You are next in line.")
    expect(bubble(customer, "The connection to Alice was lost.")).to_be_visible()
    rows = bob.locator("[data-session]")
    expect(rows).to_have_count(2)
    expect(rows.first).to_have_attribute("data-session", session)
    expect(rows.first).to_contain_text("Was with an agent")
    expect(rows.last).not_to_contain_text("Was with an agent")
    rows.first.click()
    expect(bubble(bob, "The lamp is broken")).to_be_visible()
    customer.reload()
    place(customer, "You are next in line.")

    returned = open_console(pages, workbench, "alice")
    expect(returned.get_by_test_id("agent-notice")).to_contain_text("You were away")
    bob.get_by_role("button", name="Take over").click()
    status(customer, "You are talking with Bob")


def test_three_customers_are_given_to_two_agents_with_room_for_one_each_in_order(
    pages: Pages, assigning: Pair
) -> None:
    chatbot, workbench = assigning
    consoles = {name.title(): open_console(pages, workbench, name) for name in DEMO_AGENTS}
    served = [ask_for_a_person(pages, chatbot) for _ in consoles]
    agents: list[str] = []
    for page in served:
        status(page, re.compile("You are talking with (Alice|Bob)"))
        agents.append(page.get_by_test_id("status").inner_text().rpartition(" ")[2])
    assert sorted(agents) == sorted(consoles)
    third = ask_for_a_person(pages, chatbot)
    place(third, "You are next in line.")
    fourth = ask_for_a_person(pages, chatbot)
    place(fourth, "You are number 2 in line.")

    def end(page: Page, agent: str, press: str) -> None:
        console = consoles[agent]
        console.get_by_role("tab", name="Mine").click()
        in_list(console, session_of(page)).click()
        console.get_by_role("button", name=press, exact=True).click()
        if press == "Close":
            console.get_by_role("button", name="Close conversation").click()

    end(served[1], agents[1], "Release to AI")
    status(served[1], "AI assistant")
    status(third, f"You are talking with {agents[1]}")
    place(fourth, "You are next in line.")
    # Nobody has said a word in it yet, and it is not overlooked.
    given = in_list(consoles[agents[1]], session_of(third))
    expect(given.get_by_role("img", name="New")).to_be_visible()
    end(served[0], agents[0], "Close")
    status(served[0], "Conversation ended")
    status(fourth, f"You are talking with {agents[0]}")


def test_nobody_there_is_got_through_by_keyboard_alone(pages: Pages, deserted: Pair) -> None:
    page = pages.open(f"{deserted[0].base_url}/")
    tab_to(page, "Open the chat")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Write a message")).to_be_focused()
    tab_to(page, "Talk to a person")
    page.keyboard.press("Enter")
    status(page, "Our team is away")
    tab_to(page, "Email address")
    page.keyboard.type("mia@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type("My lamp broke")
    tab_to(page, "Send")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("contact")).to_have_text("We will write to mia@example.com.")
    tab_to(page, "Talk to the AI instead")
    page.keyboard.press("Enter")
    status(page, "AI assistant")
    expect(page.get_by_label("Write a message")).to_be_focused()
    page.keyboard.type("How long does delivery take?")
    page.keyboard.press("Enter")
    expect(bubble(page, "working days")).to_be_visible()
