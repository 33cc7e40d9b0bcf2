"""What agents do among themselves, in their browsers: hand on, ask, note, answer by email."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.harness.browser import Pages
from tests.harness.client import Agent, Clients
from tests.harness.databases import Databases
from tests.harness.services import Service, Services
from tests.test_pages import bubble, in_list, open_chat, open_console, session_of, write

pytestmark = pytest.mark.database_independent


@pytest.fixture(scope="module")
def shop(module_services: Services) -> Service:
    return module_services.start(AI_BACKEND="scripted")


@pytest.fixture(scope="module")
def hasty_services(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    with (
        databases.demo() as database,
        Services(database, tmp_path_factory.mktemp("hasty")) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def hasty(hasty_services: Services) -> Service:
    """Nobody is waited for here: a request is over after seconds, and so is an absence."""
    return hasty_services.start(
        AI_BACKEND="scripted", TRANSFER_SECONDS="5", AGENT_ABSENCE_SECONDS="5"
    )


def talking(pages: Pages, service: Service, console: Page) -> Page:
    """A customer's page, whose conversation the agent of this console has."""
    customer = open_chat(pages, service, "/chat/")
    customer.get_by_role("button", name="Talk to a person").click()
    in_list(console, session_of(customer)).click()
    console.get_by_role("button", name="Take over").click()
    expect(console.get_by_test_id("session-status")).to_have_text("With you")
    return customer


def hand_on(console: Page, to: str, note: str = "") -> None:
    console.get_by_role("button", name="Hand on…").click()
    dialog = console.get_by_role("dialog", name="Hand this conversation on")
    dialog.get_by_role("radio", name=to).check()
    if note:
        dialog.get_by_label("Note for your colleague").fill(note)
    dialog.get_by_role("button", name="Hand on").click()
    expect(dialog).to_be_hidden()


@pytest.fixture(autouse=True)
def rights_end_while_it_is_read(pages: Pages) -> None:
    """A read that is under way while the right to it ends is refused: which of the two comes
    first, nobody can know."""
    pages.allow("status of 403")


def request_for(console: Page) -> Locator:
    return console.get_by_test_id("transfer-request")


def news(console: Page, text: str) -> Locator:
    return console.get_by_test_id("agent-notice").filter(has_text=text)


def talking_with(customer: Page, name: str) -> None:
    expect(customer.get_by_test_id("status")).to_have_text(f"You are talking with {name}")


def test_conversation_is_handed_on_when_the_colleague_accepts(
    pages: Pages, shop: Service
) -> None:
    alice, bob = open_console(pages, shop, "alice"), open_console(pages, shop, "bob")
    customer = talking(pages, shop, alice)
    write(customer, "The lamp is broken")
    expect(bubble(alice, "The lamp is broken")).to_be_visible()

    hand_on(alice, "Bob")
    expect(alice.get_by_test_id("transfer-pending")).to_contain_text("Bob is asked")
    expect(request_for(bob)).to_contain_text("Alice asks you to take over")
    # It is there after a reload, and can be looked at before it is decided.
    bob.reload()
    request_for(bob).get_by_role("link", name="Look at it").click()
    expect(bubble(bob, "The lamp is broken")).to_be_visible()
    write(customer, "It flickers")
    expect(bubble(bob, "It flickers")).to_be_visible()
    request_for(bob).get_by_role("button", name="Decline").click()
    expect(request_for(bob)).to_have_count(0)
    expect(news(alice, "Bob declined.")).to_be_visible()
    expect(alice.get_by_test_id("transfer-pending")).to_be_hidden()
    expect(alice.get_by_test_id("session-status")).to_have_text("With you")
    expect(bob.get_by_test_id("notice")).to_contain_text("Alice has this conversation.")
    expect(bob.get_by_test_id("message")).to_have_count(0)
    talking_with(customer, "Alice")

    hand_on(alice, "Bob", note="You know about lamps.")
    expect(request_for(bob)).to_contain_text("You know about lamps.")
    request_for(bob).get_by_role("button", name="Accept").click()
    expect(bob.get_by_test_id("session-status")).to_have_text("With you")
    talking_with(customer, "Bob")
    expect(bob.get_by_test_id("note")).to_contain_text("You know about lamps.")
    expect(alice.get_by_test_id("notice")).to_contain_text("Bob has this conversation.")
    expect(alice.get_by_label("Write to the customer")).to_be_hidden()
    write(bob, "Hello, I am Bob")
    expect(bubble(customer, "Hello, I am Bob")).to_be_visible()
    customer.reload()
    talking_with(customer, "Bob")
    expect(customer.get_by_text("You know about lamps.")).to_have_count(0)


def test_owner_sees_what_a_supervisor_asks_a_colleague(
    pages: Pages, shop: Service, clients: Clients
) -> None:
    alice, bob = open_console(pages, shop, "alice"), open_console(pages, shop, "bob")
    session = session_of(talking(pages, shop, alice))
    carol = clients.agent(shop, "carol")
    carol.call("POST", f"/sessions/{session}/transfer", {"to_agent": "bob"})
    expect(alice.get_by_test_id("transfer-pending")).to_contain_text("Bob is asked")
    alice.get_by_test_id("transfer-pending").get_by_role("button", name="Cancel").click()
    expect(alice.get_by_test_id("transfer-pending")).to_be_hidden()
    expect(request_for(bob)).to_have_count(0)


def test_former_owner_reads_whose_conversation_was_taken(
    pages: Pages, shop: Service, clients: Clients
) -> None:
    alice = open_console(pages, shop, "alice")
    open_console(pages, shop, "bob")
    customer = clients.customer(shop, nickname="Ming")
    customer.escalate()
    in_list(alice, customer.session).click()
    alice.get_by_role("button", name="Take over").click()
    hand_on(alice, "Bob")
    bob = clients.agent(shop, "bob")
    [request] = bob.call("GET", "/transfer-requests/pending")["items"]
    bob.call("POST", f"/transfer-requests/{request['id']}/respond", {"accept": True})
    expect(alice.get_by_test_id("notice")).to_contain_text("Bob has this conversation.")
    expect(news(alice, "Bob has taken over Ming.")).to_be_visible()


def test_unanswered_request_expires_and_the_owner_stays(pages: Pages, hasty: Service) -> None:
    alice, bob = open_console(pages, hasty, "alice"), open_console(pages, hasty, "bob")
    customer = talking(pages, hasty, alice)
    hand_on(alice, "Bob")
    expect(request_for(bob)).to_contain_text("left")
    expect(news(alice, "Bob did not answer in time.")).to_be_visible()
    expect(request_for(bob)).to_have_count(0)
    expect(alice.get_by_test_id("transfer-pending")).to_be_hidden()
    talking_with(customer, "Alice")
    write(alice, "Still with you")
    expect(bubble(customer, "Still with you")).to_be_visible()


def test_supervisor_takes_over_beyond_the_limit_and_from_another_agent(
    pages: Pages, shop: Service, clients: Clients
) -> None:
    agents = {name: clients.agent(shop, name) for name in ("bob", "carol")}
    for agent in agents.values():
        fill_up(agent, shop, clients)
    pages.allow("status of 409")
    bob, carol = open_console(pages, shop, "bob"), open_console(pages, shop, "carol")
    customer = open_chat(pages, shop, "/chat/")
    customer.get_by_role("button", name="Talk to a person").click()
    session = session_of(customer)
    for console in (bob, carol):
        in_list(console, session).click()
        console.get_by_role("button", name="Take over").click()
        expect(console.get_by_role("alert")).to_contain_text("You have 5 of 5 conversations.")
    expect(bob.get_by_role("button", name="Take over anyway")).to_be_hidden()
    carol.get_by_role("button", name="Take over anyway").click()
    expect(carol.get_by_test_id("session-status")).to_have_text("With you")
    talking_with(customer, "Carol")
    carol.get_by_role("button", name="Release to AI").click()
    expect(customer.get_by_test_id("status")).to_have_text("AI assistant")

    agents["bob"].close(agents["bob"].sessions(agent="mine")["items"][0]["session_name"])
    bob.get_by_role("button", name="Take over").click()
    talking_with(customer, "Bob")
    write(bob, "I am Bob")
    expect(bubble(customer, "I am Bob")).to_be_visible()
    expect(bubble(bob, "I am Bob").locator("time")).to_be_visible()
    carol.get_by_role("button", name="Take over from Bob").click()
    talking_with(customer, "Carol")
    expect(bob.get_by_test_id("notice")).to_contain_text("Carol has this conversation.")
    for agent in agents.values():
        for item in agent.sessions(agent="mine", status="manual_live")["items"]:
            agent.close(item["session_name"])


def fill_up(agent: Agent, service: Service, clients: Clients) -> None:
    for _ in range(5 - len(agent.sessions(agent="mine", status="manual_live")["items"])):
        agent.take_over(clients.customer(service).session)


def test_note_is_seen_by_agents_alone(pages: Pages, shop: Service) -> None:
    alice, carol = open_console(pages, shop, "alice"), open_console(pages, shop, "carol")
    customer = talking(pages, shop, alice)
    carol.get_by_role("tab", name="All").click()
    in_list(carol, session_of(customer)).click()
    alice.get_by_role("button", name="Note", exact=True).click()
    expect(alice.get_by_text("Only agents see this.")).to_be_visible()
    write(alice, "Be careful: secret")
    note = alice.get_by_test_id("note")
    expect(note).to_contain_text("Be careful: secret")
    expect(carol.get_by_test_id("note")).to_contain_text("Be careful: secret")
    expect(carol.get_by_role("button", name="Edit")).to_have_count(0)

    note.get_by_role("button", name="Edit").click()
    field = alice.get_by_label("Write a note for agents")
    expect(field).to_have_value("Be careful: secret")
    field.fill("Be kind: secret")
    field.press("Enter")
    expect(carol.get_by_test_id("note")).to_contain_text("Be kind: secret")

    alice.get_by_role("button", name="Reply").click()
    write(alice, "Hello, said aloud")
    expect(bubble(customer, "Hello, said aloud")).to_be_visible()
    customer.reload()
    expect(bubble(customer, "Hello, said aloud")).to_be_visible()
    assert "secret" not in customer.content()
    note.get_by_role("button", name="Delete").click()
    expect(alice.get_by_test_id("note")).to_have_count(0)
    expect(carol.get_by_test_id("note")).to_have_count(0)


def test_colleague_who_is_asked_reads_along_and_answers_in_a_note(
    pages: Pages, shop: Service
) -> None:
    alice, bob = open_console(pages, shop, "alice"), open_console(pages, shop, "bob")
    customer = talking(pages, shop, alice)
    write(customer, "Does Ember fit outdoors?")
    alice.locator("summary").filter(has_text="More").click()
    alice.get_by_role("button", name="Ask a colleague…").click()
    dialog = alice.get_by_role("dialog", name="Ask a colleague")
    dialog.get_by_role("radio", name="Bob").check()
    dialog.get_by_label("Your question").fill("Is Ember waterproof?")
    dialog.get_by_role("button", name="Ask", exact=True).click()
    expect(alice.get_by_text("Bob is asked: Is Ember waterproof?")).to_be_visible()

    asked = bob.get_by_test_id("assist-request")
    expect(asked).to_contain_text("Is Ember waterproof?")
    asked.get_by_role("link", name="Look at it").click()
    expect(bubble(bob, "Does Ember fit outdoors?")).to_be_visible()
    write(customer, "And in the rain?")
    expect(bubble(bob, "And in the rain?")).to_be_visible()
    expect(bob.get_by_label("Write to the customer")).to_be_hidden()
    bob.get_by_label("Answer your colleague").fill("No, only indoors")
    bob.get_by_label("Answer your colleague").press("Enter")
    expect(alice.get_by_test_id("note")).to_contain_text("No, only indoors")
    expect(news(alice, "Bob has answered your question")).to_be_visible()
    # With the answer, Bob's looking on is over.
    expect(bob.get_by_test_id("notice")).to_be_visible()
    expect(bob.get_by_test_id("message")).to_have_count(0)
    expect(customer.get_by_text("only indoors")).to_have_count(0)


def test_reply_after_hours_says_how_it_reaches_the_customer(
    pages: Pages, shop: Service, clients: Clients
) -> None:
    agent = clients.agent(shop)
    for name in ("alice", "bob", "carol"):
        clients.agent(shop, name).set_status("break")
    customer = open_chat(pages, shop, "/chat/")
    customer.get_by_role("button", name="Talk to a person").click()
    session = session_of(customer)
    away = clients.customer(shop, nickname="Ming")
    away.escalate()
    away.leave_contact("ming@example.com", "Order 4711 never came")
    console = pages.open(f"{shop.base_url}/workbench/?session={away.session}")
    console.get_by_label("Username").fill("alice")
    console.get_by_label("Password").fill(shop.database.demo_password())
    console.get_by_role("button", name="Log in").click()
    # The address of a mail leads to its conversation, also when it asks for a login first.
    expect(console.get_by_role("heading", name="Ming")).to_be_visible()
    expect(console.get_by_text("Order 4711 never came").first).to_be_visible()
    expect(console.get_by_text("your reply goes to ming@example.com")).to_be_visible()
    write(console, "It is on its way")
    expect(bubble(console, "It is on its way")).to_contain_text(
        "Goes by email to ming@example.com"
    )

    console.get_by_role("tab", name="By email").click()
    rows = console.locator("[data-session]")
    expect(rows.first).to_contain_text("Not answered")
    expect(in_list(console, away.session)).to_contain_text("Answered")
    in_list(console, session).click()
    expect(console.get_by_text("No address was left")).to_be_visible()
    write(console, "Here I am")
    expect(bubble(customer, "Here I am")).to_be_visible()
    expect(bubble(console, "Here I am")).to_contain_text("Shown on the customer's page")
    expect(console.get_by_test_id("session-status")).to_have_text("By email")
    agent.set_status("online")


def test_agent_who_was_away_reads_what_has_become_of_the_conversation(
    pages: Pages, hasty: Service
) -> None:
    alice = open_console(pages, hasty, "alice")
    bob = open_console(pages, hasty, "bob")
    customer = talking(pages, hasty, alice)
    alice.context.close()
    expect(customer.get_by_test_id("queue")).to_be_visible(timeout=25_000)
    row = in_list(bob, session_of(customer))
    expect(row).to_contain_text("Was with an agent")

    back = open_console(pages, hasty, "alice")
    notice = news(back, f"You were away, and Guest {session_of(customer)[-4:]} went back")
    notice.get_by_role("link").click()
    expect(back.get_by_test_id("session-status")).to_have_text("Waiting")
    expect(notice).to_have_count(0)
    back.reload()
    expect(back.get_by_test_id("session-status")).to_have_text("Waiting")
    expect(notice).to_have_count(0)
