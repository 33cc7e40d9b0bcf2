"""The pages, as people use them: in a browser, with real servers behind them."""

import ast
import gettext
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.harness.browser import Pages
from tests.harness.client import Clients
from tests.harness.databases import Databases
from tests.harness.environment import ROOT
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.database_independent

expect.set_options(timeout=15_000)

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.fixture(scope="module")
def shop(module_services: Services) -> Service:
    """Both products in one process, with the offline AI."""
    return module_services.start()


@pytest.fixture(scope="module")
def scripted_services(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """With a database of their own: over that of `shop`, its AI would answer as well."""
    with (
        databases.demo() as database,
        Services(database, tmp_path_factory.mktemp("scripted")) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def scripted(scripted_services: Services) -> Service:
    """The AI says what the customer tells it to."""
    return scripted_services.start(AI_BACKEND="scripted")


def open_chat(pages: Pages, service: Service, path: str = "/", **context: object) -> Page:
    page = pages.open(service.base_url + path, **context)
    if path != "/chat/":
        page.get_by_role("button", name="Open the chat").click()
    return page


def open_console(pages: Pages, service: Service, username: str = "alice", **kw: object) -> Page:
    page = pages.open(f"{service.base_url}/workbench/", **kw)
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(service.database.demo_password())
    page.get_by_role("button", name="Log in").click()
    # The agent counts as present, and customers can be put in line.
    expect(page.get_by_label("My presence")).to_have_value("online")
    return page


def write(page: Page, text: str) -> None:
    field = page.get_by_role("textbox", name=re.compile("Write "))
    field.fill(text)
    field.press("Enter")


def bubble(page: Page, text: str) -> Locator:
    return page.get_by_test_id("message").filter(has_text=text)


def session_of(page: Page) -> str:
    """The customer's session, once it has been begun."""
    # Not by wait_for_function: the page's Content-Security-Policy keeps it from looking twice.
    stored = wait_until(
        lambda: page.evaluate(
            "Object.entries(localStorage).find(([key]) => key.includes('-session:'))?.[1]"
        ),
        what="a session in the page's memory",
    )
    name: str = json.loads(stored)["name"]
    return name


def in_list(console: Page, session: str) -> Locator:
    return console.locator(f'[data-session="{session}"]')


def thread(page: Page) -> list[list[str]]:
    """Role, id and text of each message, as it stands on the page."""
    shown: list[list[str]] = page.get_by_test_id("message").evaluate_all(
        "all => all.map(m => [m.dataset.role, m.dataset.messageId, "
        "m.querySelector('.bubble-text').innerText])"
    )
    return shown


def said_by_customer(page: Page) -> list[str]:
    return [text for role, _, text in thread(page) if role == "user"]


def expect_same_threads(customer: Page, console: Page, length: int) -> None:
    """Nothing is being written or on its way, and both show the same."""
    stored = f'[data-testid="message"][data-state="stored"]:nth-child({length})'
    expect(customer.locator(stored)).to_be_visible()
    expect(console.locator(stored)).to_be_visible()
    assert thread(customer) == thread(console)
    assert len(thread(customer)) == length


@pytest.mark.every_database
def test_customer_and_agent_talk_from_first_question_to_end(
    services: Services, redis_server: RedisServer, pages: Pages
) -> None:
    """Over two processes and Redis, as in production."""
    chatbot, workbench = services.pair(redis_server)
    console = open_console(pages, workbench)
    expect(console.get_by_text("Nobody is waiting.")).to_be_visible()

    customer = open_chat(pages, chatbot)
    customer.get_by_role("button", name="How long does delivery take?").click()
    answer = bubble(customer, "working days")
    expect(answer.get_by_role("link", name="Delivery times")).to_have_attribute(
        "href", f"{chatbot.base_url}/help/delivery-times/"
    )

    customer.get_by_role("button", name="Talk to a person").click()
    expect(customer.get_by_test_id("queue")).to_contain_text("You are next in line.")
    waiting = in_list(console, session_of(customer))
    expect(waiting).to_be_visible()
    expect(console).to_have_title("(1) Workbench")
    waiting.click()
    expect(bubble(console, "working days")).to_be_visible()

    console.get_by_role("button", name="Take over").click()
    expect(customer.get_by_test_id("status")).to_have_text("You are talking with Alice")
    expect(customer.get_by_test_id("queue")).to_be_hidden()
    write(console, "Hello, this is Alice.\nHow can I help?")
    expect(bubble(customer, "this is Alice")).to_have_attribute("data-role", "agent")
    write(customer, "你好！ Is <b>Ember</b> in stock?")
    expect(bubble(console, "Is <b>Ember</b> in stock?")).to_be_visible()
    write(console, "It is.")
    expect(bubble(customer, "It is.")).to_be_visible()

    console.get_by_role("button", name="Release to AI").click()
    expect(customer.get_by_test_id("status")).to_have_text("AI assistant")
    write(customer, "How do I return something?")
    expect(bubble(customer, "within 30 days")).to_be_visible()
    expect(bubble(console, "within 30 days")).to_be_visible()

    customer.get_by_role("button", name="End chat").click()
    customer.get_by_role("alertdialog").get_by_role("button", name="End chat").click()
    expect(customer.get_by_role("button", name="Start a new conversation")).to_be_focused()
    expect(console.get_by_test_id("session-status")).to_have_text("Closed")
    # question, answer, in line, joined, 3 messages, released, question, answer, closed
    expect_same_threads(customer, console, 11)

    customer.get_by_role("button", name="Start a new conversation").click()
    expect(customer.get_by_test_id("message")).to_have_count(0)
    write(customer, "Which payment methods do you accept?")
    expect(customer.get_by_test_id("source")).to_be_visible()


def test_both_sides_show_the_same_thread_after_a_reload(pages: Pages, shop: Service) -> None:
    console = open_console(pages, shop)
    customer = open_chat(pages, shop)
    write(customer, "How do I return something?")
    expect(customer.get_by_test_id("source")).to_be_visible()
    customer.get_by_role("button", name="Talk to a person").click()
    in_list(console, session_of(customer)).click()
    console.get_by_role("button", name="Take over").click()
    for number in range(5):
        write(customer, f"from the customer: {number}")
        write(console, f"from Alice: {number}")
    # question, answer, in line, joined and those ten
    expect_same_threads(customer, console, 14)
    before = thread(customer)

    customer.reload()
    console.reload()
    expect_same_threads(customer, console, 14)
    assert thread(customer) == before
    expect(customer.get_by_test_id("status")).to_have_text("You are talking with Alice")
    expect(console.get_by_test_id("session-status")).to_have_text("With you")

    write(customer, "still there?")
    expect(bubble(console, "still there?")).to_be_visible()
    write(console, "still here")
    expect_same_threads(customer, console, 16)


def test_conversation_on_a_phone_by_keyboard_alone(pages: Pages, shop: Service) -> None:
    customer = pages.open(f"{shop.base_url}/", **PHONE)
    expect(customer.get_by_role("button", name="Open the chat")).to_be_visible()
    tab_to(customer, "Open the chat")
    customer.keyboard.press("Enter")
    expect(customer.get_by_label("Write a message")).to_be_focused()
    assert width_of(customer, customer.get_by_role("dialog")) == 390

    customer.keyboard.type("How long does delivery take?")
    customer.keyboard.press("Shift+Enter")
    customer.keyboard.type("Thank you")
    customer.keyboard.press("Enter")
    expect(bubble(customer, "How long does delivery take?\nThank you")).to_be_visible()
    expect(customer.get_by_test_id("source")).to_be_visible()
    # The panel covers the page, so the focus stays in it.
    for _ in range(12):
        customer.keyboard.press("Tab")
        assert customer.evaluate("document.activeElement.dataset.testid") == "support-chat"

    tab_to(customer, "End chat")
    customer.keyboard.press("Enter")
    expect(customer.get_by_role("alertdialog")).to_be_visible()
    customer.keyboard.press("Escape")
    expect(customer.get_by_role("alertdialog")).to_be_hidden()
    expect(customer.get_by_role("button", name="End chat")).to_be_focused()
    customer.keyboard.press("Escape")
    expect(customer.get_by_role("button", name="Open the chat")).to_be_focused()

    customer.keyboard.press("Enter")
    tab_to(customer, "End chat")
    customer.keyboard.press("Enter")
    expect(customer.get_by_role("button", name="End chat").last).to_be_focused()
    customer.keyboard.press("Enter")
    expect(customer.get_by_role("button", name="Start a new conversation")).to_be_focused()
    customer.keyboard.press("Enter")
    expect(customer.get_by_label("Write a message")).to_be_focused()

    open_console(pages, shop)  # an agent to wait for
    tab_to(customer, "Talk to a person")
    # The stream may say it before the answer does, and then the next wish would come too early.
    with customer.expect_response("**/escalate"):
        customer.keyboard.press("Enter")
    expect(customer.get_by_test_id("queue")).to_be_visible()
    expect(customer.get_by_label("Write a message")).to_be_focused()
    tab_to(customer, "Leave the line")
    customer.keyboard.press("Enter")
    expect(customer.get_by_test_id("queue")).to_be_hidden()
    expect(customer.get_by_label("Write a message")).to_be_focused()
    assert_no_sideways_scrolling(customer)


def test_agent_works_on_a_phone_by_keyboard_alone(
    pages: Pages, shop: Service, clients: Clients
) -> None:
    console = open_console(pages, shop, "bob", **PHONE)
    customer = clients.customer(shop, nickname="Ming")
    customer.escalate()
    expect(in_list(console, customer.session)).to_be_visible()
    tab_to(console, "Ming", contains=True)
    console.keyboard.press("Enter")
    expect(console.get_by_role("heading", name="Ming")).to_be_focused()
    expect(in_list(console, customer.session)).to_be_hidden()
    tab_to(console, "Take over")
    console.keyboard.press("Enter")
    expect(console.get_by_label("Write to the customer")).to_be_focused()
    console.keyboard.type("Hello Ming")
    console.keyboard.press("Enter")
    expect(bubble(console, "Hello Ming").locator("time")).to_be_visible()
    assert_no_sideways_scrolling(console)

    tab_to(console, "Close")
    console.keyboard.press("Enter")
    expect(console.get_by_role("button", name="Cancel")).to_be_focused()
    console.keyboard.press("Tab")
    console.keyboard.press("Enter")
    expect(console.get_by_test_id("session-status")).to_have_text("Closed")
    tab_to(console, "Back to the list")
    console.keyboard.press("Enter")
    expect(console.get_by_role("tab", name="Queue")).to_be_visible()


def test_second_agent_learns_who_has_the_conversation(pages: Pages, shop: Service) -> None:
    alice, bob = open_console(pages, shop, "alice"), open_console(pages, shop, "bob")
    customer = open_chat(pages, shop)
    customer.get_by_role("button", name="Talk to a person").click()
    session = session_of(customer)
    in_list(alice, session).click()
    in_list(bob, session).click()
    expect(bob.get_by_role("button", name="Take over")).to_be_visible()
    write(customer, "Anybody there?")
    expect(bubble(bob, "Anybody there?")).to_be_visible()

    # Bob presses in the moment before he could know; what he reads just then is refused.
    pages.allow(r"status of 40[39]")
    held: list[Route] = []
    bob.route("**/takeover", lambda route: held.append(route))
    bob.get_by_role("button", name="Take over").click()
    alice.get_by_role("button", name="Take over").click()
    expect(alice.get_by_test_id("session-status")).to_have_text("With you")
    held[0].continue_()
    expect(bob.get_by_role("alert")).to_have_text("Alice has this conversation.")
    expect(bob.get_by_test_id("notice")).to_contain_text("Alice has this conversation.")
    expect(bob.get_by_label("Write to the customer")).to_be_hidden()

    # He is not shown what they say, nor what was said, until it is nobody's again.
    expect(bob.get_by_test_id("message")).to_have_count(0)
    write(alice, "Only for you")
    expect(bubble(customer, "Only for you")).to_be_visible()
    bob.get_by_role("tab", name="All").click()
    expect(in_list(bob, session)).to_contain_text("Alice has this conversation.")
    expect(in_list(bob, session)).not_to_contain_text("Only for you")
    bob.reload()
    expect(bob.get_by_role("alert")).to_have_text("Alice has this conversation.")
    expect(bob.get_by_text("Only for you")).to_have_count(0)
    bob.get_by_role("link", name="Back to the list").click()
    expect(bob.get_by_text("Choose a conversation on the left.")).to_be_visible()
    bob.get_by_role("tab", name="All").click()
    in_list(bob, session).click()
    expect(bob.get_by_test_id("notice")).to_be_visible()
    alice.get_by_role("button", name="Release to AI").click()
    expect(bob.get_by_role("button", name="Take over")).to_be_visible()
    write(customer, "Hello?")
    # in line, asked, joined, said, released, question, answer
    expect_same_threads(customer, bob, 7)


@pytest.mark.parametrize("name", ["%E0%A4%A", "%", "a%2Fb", "queue", "x" * 70])
def test_address_of_no_conversation_does_not_stop_the_console(
    pages: Pages, shop: Service, name: str
) -> None:
    pages.allow(r"status of 4\d\d")
    console = open_console(pages, shop)
    console.goto(f"{shop.base_url}/workbench/#{name}")
    console.reload()
    expect(console.get_by_text("There is no such conversation.")).to_be_visible()
    with httpx.Client(base_url=shop.api_url) as api:
        created = api.post("/sessions", json={}).json()
        token = {"Authorization": f"Bearer {created['token']}"}
        api.post(f"/sessions/{created['session_name']}/escalate", headers=token)
        expect(in_list(console, created["session_name"])).to_be_visible()
        api.post(f"/sessions/{created['session_name']}/close", headers=token)


def test_message_that_cannot_be_sent_is_kept_and_sent_once(
    pages: Pages, scripted: Service
) -> None:
    customer = open_chat(pages, scripted, "/chat/")
    write(customer, "say: first")
    expect(bubble(customer, "say: first")).to_be_visible()
    expect(customer.get_by_text("first", exact=True)).to_be_visible()

    pages.allow("Failed to load resource")
    sent: list[str] = []

    def lose_the_answer(route: Route) -> None:
        """It arrives, but nobody hears that it did."""
        sent.append(json.loads(route.request.post_data or "{}")["client_id"])
        if len(sent) == 1:
            route.fetch()
        route.abort()

    customer.route("**/messages", lose_the_answer)
    customer.route("**/events*", lambda route: route.abort())
    customer.reload()
    expect(bubble(customer, "say: first")).to_be_visible()
    write(customer, "say: second")
    write(customer, "say: third")
    waiting = customer.get_by_text("Waiting for the connection…")
    expect(waiting).to_have_count(2)
    expect(customer.get_by_test_id("link")).to_have_text("Reconnecting…")
    customer.reload()
    write(customer, "say: never")
    # The second has arrived, as the state that is read says.
    expect(waiting).to_have_count(2)
    bubble(customer, "say: never").get_by_role("button", name="Discard").click()
    expect(waiting).to_have_count(1)
    expect(customer.get_by_label("Write a message")).to_be_focused()
    assert len(set(sent)) == 1

    customer.unroute_all()
    expect(customer.get_by_text("third", exact=True)).to_be_visible()
    expect(waiting).to_have_count(0)
    assert said_by_customer(customer) == ["say: first", "say: second", "say: third"]


def test_refused_message_lets_those_behind_it_go_on(pages: Pages, scripted: Service) -> None:
    customer = open_chat(pages, scripted, "/chat/")
    pages.allow("Failed to load resource")
    away = True

    def refuse(route: Route) -> None:
        if "refused" in (route.request.post_data or ""):
            route.fulfill(status=422, json={})
        elif away:
            route.fulfill(status=503, json={})
        else:
            route.continue_()

    customer.route("**/messages", refuse)
    write(customer, "refused")
    expect(customer.get_by_text("Not sent.")).to_be_visible()
    write(customer, "say: one")
    expect(customer.get_by_text("Waiting for the connection…")).to_be_visible()
    write(customer, "refused too")
    write(customer, "say: two")
    expect(customer.get_by_text("Waiting for the connection…")).to_have_count(3)

    away = False
    expect(customer.get_by_text("two", exact=True)).to_be_visible()
    customer.reload()
    expect(customer.get_by_text("Not sent.")).to_have_count(2)
    expect(bubble(customer, "say: two")).to_be_visible()
    assert said_by_customer(customer) == ["say: one", "say: two", "refused", "refused too"]

    customer.unroute_all()
    customer.get_by_role("button", name="Retry").first.click()
    expect(customer.get_by_text("Not sent.")).to_have_count(0)
    expect(customer.get_by_label("Write a message")).to_be_focused()


def test_pages_find_their_way_back_after_a_crash(
    services: Services, clients: Clients, pages: Pages
) -> None:
    service = services.start(AI_BACKEND="scripted")
    console = open_console(pages, service)
    customer = open_chat(pages, service, "/chat/")
    customer.get_by_role("button", name="Talk to a person").click()
    in_list(console, session_of(customer)).click()
    console.get_by_role("button", name="Take over").click()
    expect(customer.get_by_test_id("status")).to_have_text("You are talking with Alice")
    # The customer hears of it by the stream, maybe before the console has its answer.
    expect(console.get_by_test_id("session-status")).to_have_text("With you")
    expect(in_list(console, session_of(customer))).to_be_visible()

    pages.allow("Failed to load resource|ERR_")
    service.kill()
    expect(customer.get_by_test_id("link")).to_be_visible()
    expect(console.get_by_text("Reconnecting…")).to_be_visible()
    for page in (customer, console):
        write(page, "meanwhile")
        expect(page.get_by_text("Waiting for the connection…")).to_be_visible()
    service.start()
    # Somebody else's conversation is there by the time this page is back.
    other = clients.customer(service)
    other.escalate()
    expect(customer.get_by_test_id("link")).to_be_hidden()
    expect(console.get_by_text("Reconnecting…")).to_be_hidden()
    write(customer, "I am back")
    write(console, "So am I")
    expect(bubble(console, "I am back")).to_be_visible()
    expect(bubble(customer, "So am I")).to_be_visible()
    # in line, joined, and two of each
    expect_same_threads(customer, console, 6)
    assert said_by_customer(customer) == ["meanwhile", "I am back"]
    console.get_by_role("tab", name="Queue").click()
    expect(in_list(console, other.session)).to_be_visible()


def test_stopped_answer_is_marked_on_both_sides(pages: Pages, scripted: Service) -> None:
    console = open_console(pages, scripted)
    customer = open_chat(pages, scripted, "/chat/")
    write(customer, "hang")
    expect(bubble(customer, "hanging")).to_have_attribute("data-state", "writing")
    # An answer that is half written is shown to those who come now.
    console.get_by_role("tab", name="All").click()
    in_list(console, session_of(customer)).click()
    expect(bubble(console, "hanging")).to_have_attribute("data-state", "writing")
    customer.reload()
    expect(bubble(customer, "hanging")).to_have_attribute("data-state", "writing")

    customer.get_by_role("button", name="Stop").click()
    expect(customer.get_by_test_id("interrupted")).to_be_visible()
    expect(console.get_by_test_id("interrupted")).to_be_visible()
    expect(customer.get_by_role("button", name="Stop")).to_be_hidden()
    write(customer, "slow: 20")
    expect(bubble(console, "w1 w2 w3")).to_be_visible()
    expect(bubble(console, "w19 w20")).to_have_attribute("data-state", "stored")
    expect_same_threads(customer, console, 4)


def test_nothing_is_being_written_after_a_stop_and_a_reload(
    pages: Pages, scripted: Service
) -> None:
    customer = open_chat(pages, scripted, "/chat/")
    dots = customer.get_by_role("img", name="is writing…")
    write(customer, "silent")
    expect(dots).to_be_visible()
    customer.reload()
    expect(dots).to_be_visible()
    customer.get_by_role("button", name="Stop").click()
    expect(dots).to_be_hidden()

    with customer.expect_response(lambda answer: "/events" in answer.url):
        customer.reload()
    expect(bubble(customer, "silent")).to_have_attribute("data-state", "stored")
    expect(dots).to_be_hidden()
    write(customer, "say: here I am")
    expect(bubble(customer, "here I am").last).to_be_visible()


def test_question_during_an_answer_survives_its_stop(pages: Pages, scripted: Service) -> None:
    customer = open_chat(pages, scripted, "/chat/")
    write(customer, "hang")
    expect(bubble(customer, "hanging")).to_have_attribute("data-state", "writing")
    write(customer, "say: and this as well")
    asked = bubble(customer, "say: and this as well")
    expect(asked).to_have_attribute("data-state", "stored")
    customer.get_by_role("button", name="Stop").click()
    expect(customer.get_by_test_id("interrupted")).to_be_visible()
    answer = customer.locator('[data-testid="message"][data-role="assistant"]').last
    expect(answer).to_contain_text("and this as well")
    expect(answer).to_have_attribute("data-state", "stored")


def test_hidden_page_gives_its_connection_back(pages: Pages, scripted: Service) -> None:
    customer = pages.open()
    customer.clock.install()
    customer.add_init_script(
        "let hidden = false;"
        "Object.defineProperty(document, 'visibilityState', "
        "  { get: () => (hidden ? 'hidden' : 'visible') });"
        "window.setHidden = (value) => {"
        "  hidden = value; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    customer.goto(f"{scripted.base_url}/chat/")
    write(customer, "say: hello")
    expect(customer.get_by_text("hello", exact=True)).to_be_visible()
    with customer.expect_event("requestfailed", lambda request: "/events" in request.url):
        customer.evaluate("setHidden(true)")
        customer.clock.run_for(31_000)
    with customer.expect_request(lambda request: "/events" in request.url):
        customer.evaluate("setHidden(false)")
    write(customer, "say: back again")
    expect(customer.get_by_text("back again", exact=True)).to_be_visible()


def test_session_that_is_gone_gives_way_to_a_new_one(pages: Pages, scripted: Service) -> None:
    customer = open_chat(pages, scripted, "/chat/")
    write(customer, "say: old")
    expect(customer.get_by_text("old", exact=True)).to_be_visible()
    customer.evaluate(
        """for (const key of Object.keys(localStorage))
             if (key.includes("-session:")) {
               const session = JSON.parse(localStorage[key]);
               localStorage[key] = JSON.stringify({ ...session, token: "forged" });
             }"""
    )
    pages.allow("status of 40[134]")
    customer.reload()
    expect(customer.get_by_role("alert")).to_contain_text("no longer available")
    expect(customer.get_by_test_id("message")).to_have_count(0)
    write(customer, "say: new")
    expect(customer.get_by_text("new", exact=True)).to_be_visible()


def test_tabs_of_one_customer_share_the_conversation(pages: Pages, scripted: Service) -> None:
    first = open_chat(pages, scripted, "/chat/")
    second = first.context.new_page()
    streams: list[str] = []
    first.context.on("request", lambda r: "/events" in r.url and streams.append(r.url))
    second.goto(f"{scripted.base_url}/chat/")
    expect(second.get_by_test_id("greeting")).to_be_visible()
    write(first, "say: hello")
    expect(second.get_by_text("hello", exact=True)).to_be_visible()
    write(second, "say: goodbye")
    expect_same_threads(first, second, 4)
    # And one connection.
    assert len(streams) == 1
    first.close()
    write(second, "say: alone")
    expect(second.get_by_text("alone", exact=True)).to_be_visible()
    assert len(streams) == 2


def test_earlier_messages_are_shown_on_request(
    scripted: Service, clients: Clients, pages: Pages
) -> None:
    alice = clients.agent(scripted)
    visitor = clients.customer(scripted)
    alice.take_over(visitor.session)
    for number in range(70):
        visitor.send(f"line {number}")
    console = open_console(pages, scripted)
    console.get_by_role("tab", name="Mine").click()
    in_list(console, visitor.session).click()
    customer = pages.open()
    customer.add_init_script(
        "localStorage.setItem(`support-chat-session:${location.origin}`, "
        f"'{json.dumps({'name': visitor.session, 'token': visitor.token})}')"
    )
    customer.goto(f"{scripted.base_url}/chat/")
    expect_same_threads(customer, console, 50)
    for page in (customer, console):
        expect(bubble(page, "line 69")).to_be_in_viewport()
        top = page.get_by_test_id("message").first
        earlier = page.get_by_role("button", name="Show earlier messages")
        earlier.scroll_into_view_if_needed()
        known = top.locator(".bubble-text").inner_text()
        earlier.click()
        expect(page.get_by_test_id("message")).to_have_count(71)
        # What was being read has stayed before the reader's eyes.
        expect(page.get_by_test_id("message").filter(has_text=known).last).to_be_in_viewport()
        expect(earlier).to_be_hidden()
    expect_same_threads(customer, console, 71)


def test_too_long_a_message_is_not_sent(pages: Pages, scripted: Service) -> None:
    customer = open_chat(pages, scripted, "/chat/")
    field, send = (
        customer.get_by_label("Write a message"),
        customer.get_by_role("button", name="Send"),
    )
    expect(send).to_be_disabled()
    # Characters, as the server counts them, and not UTF-16 units.
    field.fill("😀" * 3999)
    expect(customer.get_by_text("1 character left")).to_be_visible()
    expect(send).to_be_enabled()
    field.fill("😀" * 4001)
    expect(customer.get_by_text("1 character too many")).to_be_visible()
    expect(send).to_be_disabled()
    field.press("Enter")
    expect(field).to_have_value("😀" * 4001)
    expect(customer.get_by_test_id("message")).to_have_count(0)


def test_enter_belongs_to_the_input_method_while_it_composes(
    pages: Pages, scripted: Service
) -> None:
    customer = open_chat(pages, scripted, "/chat/")
    field = customer.get_by_label("Write a message")
    field.fill("nihao")
    field.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    field.dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    expect(field).to_have_value("nihao")
    field.press("Enter")
    expect(field).to_have_value("")


class _ShopServer(ThreadingHTTPServer):
    """Somebody's shop: one page, which stands in `html`."""

    html = ""
    policy = ""

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.server_port}"


class _ShopPage(BaseHTTPRequestHandler):
    server: _ShopServer

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 204)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", self.server.policy)
        self.end_headers()
        if self.path == "/":
            self.wfile.write(self.server.html.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def foreign_shop() -> Iterator[_ShopServer]:
    with _ShopServer(("127.0.0.1", 0), _ShopPage) as server:
        worker = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        worker.start()
        yield server
        server.shutdown()
        worker.join()


def test_widget_works_on_another_origin(
    services: Services, foreign_shop: _ShopServer, pages: Pages
) -> None:
    service = services.start(AI_BACKEND="scripted", CORS_ALLOWED_ORIGINS=foreign_shop.origin)
    foreign_shop.html = (
        "<!doctype html><html lang=zh-CN><body><h1>Shop</h1>"
        # What shops do to elements of theirs is not to reach ours.
        "<style>div, button, textarea { display: none; color: transparent }</style>"
        f"<script async src={service.base_url}/widget.js data-nickname=Mia data-vip=true>"
        "</script>"
    )
    # As docs/operations.md says, and no more.
    foreign_shop.policy = (
        f"default-src 'none'; style-src 'unsafe-inline' {service.base_url}; "
        f"script-src {service.base_url}; connect-src {service.base_url}; img-src 'self'"
    )
    page = pages.open(foreign_shop.origin)
    page.get_by_role("button", name="打开在线咨询").click()
    page.get_by_label("输入消息").fill("source: 答案")
    with page.expect_request("**/api/sessions") as begun:
        page.get_by_label("输入消息").press("Enter")
    assert begun.value.post_data_json == {
        "language": "zh-hans", "nickname": "Mia", "email": "", "metadata": {"vip": True},
    }  # fmt: skip
    source = page.get_by_role("link", name="Scripted")
    expect(source).to_have_attribute("href", f"{service.base_url}/help/scripted/")
    page.reload()
    expect(source).to_be_visible()


def test_language_is_switched_on_every_page(pages: Pages, shop: Service) -> None:
    page = pages.open(f"{shop.base_url}/")
    page.get_by_role("button", name="简体中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("入夜有灯，日日见绿")
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    page.get_by_role("button", name="打开在线咨询").click()
    page.get_by_role("button", name="配送需要多长时间？").click()
    expect(page.get_by_role("link", name="配送时间")).to_be_visible()
    page.goto(f"{shop.base_url}/workbench/")
    page.get_by_label("用户名").fill("alice")
    page.get_by_label("密码").fill("wrong")
    page.get_by_role("button", name="登录").click()
    expect(page.get_by_role("alert")).to_contain_text("请输入一个正确的")
    page.get_by_label("密码").fill(shop.database.demo_password())
    page.get_by_role("button", name="登录").click()
    expect(page.get_by_role("tab", name="排队")).to_be_visible()
    page.get_by_text("菜单").click()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("tab", name="Queue")).to_be_visible()


def test_wrong_turns_lead_to_pages_and_not_to_bare_text(shop: Service) -> None:
    with httpx.Client(base_url=shop.base_url, trust_env=False, verify=NO_TLS) as http:
        chinese = {"Accept-Language": "zh-CN"}
        missing = http.get("/no/such/page", headers=chinese)
        assert (missing.status_code, "返回首页" in missing.text) == (404, True)
        forged = http.post("/workbench/login/", data={"username": "alice"})
        assert (forged.status_code, "Please try again" in forged.text) == (403, True)
        article = http.get("/help/returns/")
        assert "Returning an item" in article.text
        assert http.get("/workbench/").headers["location"].startswith("/workbench/login/")


def tab_to(page: Page, name: str, *, contains: bool = False) -> None:
    """Press Tab until what has the focus, in a shadow root too, has this name."""
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        label = page.evaluate(
            """() => {
              let at = document.activeElement;
              while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
              return at?.getAttribute("aria-label") ?? (at?.labels?.[0] ?? at)?.innerText ?? "";
            }"""
        )
        if label == name or (contains and name in label):
            return
        seen.append(label)
    pytest.fail(f"Tab does not reach {name!r}; it reaches {seen}")


def width_of(page: Page, element: Locator) -> float:
    box = element.bounding_box()
    assert box is not None
    return box["width"]


def assert_no_sideways_scrolling(page: Page) -> None:
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


_CHAT = "ai_chatbot/static/ai_chatbot/chat"
_CONSOLE = "agent_workbench/static/agent_workbench/console"
_STRING = r'"((?:[^"\\]|\\.)*)"'


@pytest.mark.parametrize(("folder", "shared"), [(_CHAT, []), (_CONSOLE, [_CHAT])])
def test_every_text_of_the_scripts_is_translated(folder: str, shared: list[str]) -> None:
    known: set[str] = set()
    for place in [folder, *shared]:
        dictionary = (ROOT / place / "zh-hans.js").read_text(encoding="utf-8")
        known |= set(re.findall(rf"^\s*{_STRING}:", dictionary, re.MULTILINE))
    used: set[str] = set()
    for script in (ROOT / folder).glob("*.js"):
        source = script.read_text(encoding="utf-8")
        used |= set(re.findall(rf"\bt\(\s*{_STRING}", source))
        plural = rf"\bt\.count\([^\"]*{_STRING},\s*{_STRING}"
        used |= {many for _, many in re.findall(plural, source)}
    assert len(used) > 40
    assert used - known == set()


def test_every_text_of_the_server_is_translated() -> None:
    """And the compiled catalogs, which are what is used, are those of the sources."""
    known: set[str] = set()
    for app in ("agent_workbench", "ai_chatbot", "config", "sse"):
        catalog = ROOT / app / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
        text = catalog.read_text(encoding="utf-8")
        assert "fuzzy" not in text
        with catalog.with_suffix(".mo").open("rb") as file:
            compiled = gettext.GNUTranslations(file)
        for entry in text.split("\n\n")[1:]:
            msgid = _field(entry, "msgid")
            translated = _field(entry, r"msgstr(?:\[0\])?")
            assert translated, f"{app}: {msgid!r} has no translation"
            plural = _field(entry, "msgid_plural")
            assert translated in (compiled.gettext(msgid), compiled.ngettext(msgid, plural, 2))
            known.add(msgid)
        used = set(_texts_of(ROOT / app))
        assert used - known == set(), "makemessages -l zh_Hans, translate, compilemessages"


def _field(entry: str, name: str) -> str:
    found = re.search(rf'^{name} ((?:".*"\n?)+)', entry, re.MULTILINE)
    return "".join(map(json.loads, found[1].splitlines())) if found else ""


def _texts_of(app: Path) -> Iterator[str]:
    """The texts that an app's Python and templates have translated."""
    for path in app.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ("_", "gettext", "gettext_lazy", "ngettext"):
                yield ast.literal_eval(node.args[0])
    for path in app.rglob("*.html"):
        template = path.read_text(encoding="utf-8")
        for double, single in re.findall(r"{% translate (?:\"([^\"]*)\"|'([^']*)')", template):
            yield double or single
