"""sse.js in a browser, before a server that does as it is told."""

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page

from tests.harness.browser import Pages
from tests.harness.waiting import wait_until
from tests.scripted_streams import ScriptedStreams, scripted_streams

pytestmark = pytest.mark.database_independent

LISTEN = """
async ([name, url, options]) => {
  const { listen } = await import("/sse.js");
  const heard = { events: [], states: [], resets: [], errors: [] };
  (window.heard ??= {})[name] = heard;
  heard.listening = listen(
    url,
    { "*": (data, event) => heard.events.push([event.type, data, event.id]) },
    {
      ...options,
      onstate: (state) => heard.states.push(state),
      onreset: (reason) => heard.resets.push(reason),
    },
  );
}
"""
VISIBILITY = """
  let hidden = false;
  const visibility = { get: () => (hidden ? "hidden" : "visible") };
  Object.defineProperty(document, "visibilityState", visibility);
  window.setHidden = (value) => {
    hidden = value;
    document.dispatchEvent(new Event("visibilitychange"));
  };
"""
OPEN = "/unnamed/room/"


@pytest.fixture
def server() -> Iterator[ScriptedStreams]:
    with scripted_streams() as started:
        yield started


@pytest.fixture
def pages(server: ScriptedStreams, pages: Pages) -> Pages:
    """Closed before the server is."""
    return pages


class Heard:
    """What one listener in a page has heard."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name

    def __getitem__(self, what: str) -> list[Any]:
        found: list[Any] = self.page.evaluate(f"heard[{self.name!r}].{what}")
        return found

    @property
    def data(self) -> list[Any]:
        return [data for _, data, _ in self["events"]]

    @property
    def state(self) -> str:
        states = self["states"]
        return states[-1]["state"] if states else ""

    def wait(self, data: list[Any]) -> None:
        """Until these, and no others, have been handed over."""
        wait_until(lambda: len(self.data) >= len(data), what=f"{len(data)} events", timeout=15)
        assert self.data == data

    def wait_for_state(self, state: str) -> dict[str, Any]:
        wait_until(lambda: self.state == state, what=f"the state {state}", timeout=15)
        last: dict[str, Any] = self["states"][-1]
        return last

    def close(self) -> None:
        self.page.evaluate(f"heard[{self.name!r}].listening.close()")


def begin(page: Page, url: str = OPEN, name: str = "one", **options: object) -> Heard:
    page.evaluate(LISTEN, [name, url, {"named": "unnamed" not in url, **options}])
    return Heard(page, name)


def listen(page: Page, url: str = OPEN, name: str = "one", **options: object) -> Heard:
    """Open by the time it is returned."""
    heard = begin(page, url, name, **options)
    heard.wait_for_state("open")
    return heard


def tab(pages: Pages, server: ScriptedStreams, beside: Page | None = None) -> Page:
    """A page, in the same browser as the other."""
    page = beside.context.new_page() if beside else pages.open()
    page.goto(server.origin)
    return page


def only(server: ScriptedStreams, number: int) -> None:
    wait_until(lambda: server.open == number, what=f"{number} open streams", timeout=15)


AWKWARD = (
    b"\xef\xbb\xbf: a comment\n"
    b"data: one\r\ndata:two\rdata\n\n"
    b"retry: 12x\nid: 1\ndata:  space\n\n"
    b"id: with\0nul\ndata: keeps its id\r\r"
    b"event: named\ndata: \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\n\n"
    b"event: without data\n\n"
    b"id: 2\n\n"
    b"data: after a bare id\r\n\r\n"
    b"id\ndata:no id any more\nunknown: field\n\n"
    b"data:\n\n"
    b"data: \xef\xbb\xbf\xff\n\n"
    b"data: never ended\n"
)


def test_parser_agrees_with_the_browsers_own_wherever_the_bytes_are_cut(
    pages: Pages, server: ScriptedStreams
) -> None:
    page = tab(pages, server)
    server.chunks = [AWKWARD]
    by_browser = page.evaluate(
        """() => new Promise((resolve) => {
          const seen = [];
          const source = new EventSource("/raw/");
          const take = ({ type, data, lastEventId }) => seen.push([type, data, lastEventId]);
          source.onmessage = take;
          source.addEventListener("named", take);
          source.addEventListener("without data", take);
          source.onerror = () => { source.close(); resolve(seen); };
        })"""
    )
    assert len(by_browser) == 8
    ways = page.evaluate(
        """async (bytes) => {
          const { Parser } = await import("/sse.js");
          const whole = new Uint8Array(bytes);
          const ways = new Set();
          const cuts = [...whole.keys()].map((at) => [whole.slice(0, at), whole.slice(at)]);
          cuts.push([...whole].map((byte) => Uint8Array.of(byte)));
          for (const parts of cuts) {
            const parser = new Parser();
            let lastEventId = "";
            const seen = [];
            for (const part of parts) {
              for (const { name, data, id } of parser.push(part)) {
                lastEventId = id ?? lastEventId;
                if (data !== null) seen.push([name, data, lastEventId]);
              }
            }
            ways.add(JSON.stringify([parser.retry, seen]));
          }
          return [...ways].map((way) => JSON.parse(way));
        }""",
        list(AWKWARD),
    )
    assert ways == [[None, by_browser]]


def test_events_are_handed_over_by_name_as_json_or_as_text(
    pages: Pages, server: ScriptedStreams
) -> None:
    page = tab(pages, server)
    page.evaluate(
        """async () => {
          const { listen } = await import("/sse.js");
          window.got = [];
          window.failures = [];
          const note = (as) => (data, { type, id }) => got.push([as, data, type, id !== ""]);
          const fails = () => { throw Error("mine") };
          const handlers = { row: note("row"), "*": note("other"), fails };
          onerror = (message) => failures.push(message) > 0;
          const opened = (named) => new Promise((resolve) => {
            listen(named ? "/named/room/" : "/unnamed/room/", handlers, {
              named, onstate: ({ state, connected }) => state === "open" && resolve(connected),
            });
          });
          window.connected = [await opened(true), await opened(false)];
        }"""
    )
    assert all("cursor" in connected for connected in page.evaluate("connected"))
    pages.allow("mine")
    sent = [
        ("fails", 1, True),
        ("row", {"n": 1}, True),
        ("constructor", [1], True),
        ("typing", {}, False),
    ]
    for kind, data, durable in sent:
        server.send("room", kind, data, durable=durable)
    server.send("room", "row", "<td>\n1</td>")
    handed = [
        ["row", {"n": 1}, "row", True],
        ["other", [1], "constructor", True],
        ["other", {}, "typing", False],
        ["row", "<td>\n1</td>", "row", True],
    ]
    wait_until(lambda: len(page.evaluate("got")) >= 8, what="what was sent, on both")
    got = page.evaluate("got")
    assert sorted(got, key=str) == sorted(handed * 2, key=str)
    assert page.evaluate("failures") == ["Uncaught Error: mine"] * 2


@pytest.mark.parametrize("share", [True, False])
def test_lost_connection_is_resumed_after_what_was_handed_over(
    pages: Pages, server: ScriptedStreams, share: bool
) -> None:
    page = tab(pages, server)
    heard = listen(page, share=share)
    server.send("room", "m", 0)
    server.send("room", "typing", "only now", durable=False)
    heard.wait([0, "only now"])
    for number in (1, 2):
        server.drop()
        server.send("room", "m", number)
        heard.wait([0, "only now", *range(1, number + 1)])
    epoch = server.target("room").epoch
    assert [o.last_event_id for o in server.openings] == ["", f"{epoch}-1", f"{epoch}-2"]
    states = [state["state"] for state in heard["states"]]
    assert states == ["connecting", "open", *(["waiting", "connecting", "open"] * 2)]
    heard.close()
    only(server, 0)
    assert heard.state == "closed"


@pytest.mark.parametrize("share", [True, False])
def test_refusal_is_final_and_says_why(
    pages: Pages, server: ScriptedStreams, share: bool
) -> None:
    pages.allow("status of [45]")
    page = pages.open()
    page.clock.install()
    page.goto(server.origin)
    error = {"code": "NOT_YOURS", "message": "No.", "details": {"of": "Bob"}}
    server.refusals = [
        (503, {"Retry-After": "20"}, {}),
        (429, {}, {"error": {"code": "TOO_MANY_STREAMS"}}),
        (403, {}, {"error": error}),
    ]
    heard = begin(page, share=share, token="secret")
    for status, code, least, most in (
        (503, "ERROR", 20_000, 25_000),
        (429, "TOO_MANY_STREAMS", 750, 1250),
    ):
        wait_until(lambda s=status: heard["states"][-1].get("status") == s, what="a refusal")
        state = heard.wait_for_state("waiting")
        assert state["code"] == code
        assert least <= state["ms"] <= most
        # Whatever is hurried, the server's own wish is kept to.
        page.evaluate("dispatchEvent(new Event('online'))")
        if status == 503:
            page.clock.run_for(least - 500)
            assert len(server.openings) == 1
        page.clock.run_for(most)
    assert heard.wait_for_state("refused") == {"state": "refused", "status": 403, **error}
    # Nothing hurries it.
    page.evaluate("dispatchEvent(new Event('online'))")
    again = listen(page, name="again", share=share, token="secret")
    assert heard.state == "refused"
    assert [(o.answered, o.token) for o in server.openings] == [
        (status, "secret") for status in (503, 429, 403, 200)
    ]
    again.close()


def test_what_is_no_stream_is_refused(pages: Pages, server: ScriptedStreams) -> None:
    heard = begin(tab(pages, server), "/login/")
    state = heard.wait_for_state("refused")
    assert (state["status"], state["code"]) == (200, "NOT_A_STREAM")


def test_silent_connection_is_given_up(pages: Pages, server: ScriptedStreams) -> None:
    page = pages.open()
    page.clock.install()
    page.goto(server.origin)
    heard = listen(page, share=False)
    server.mute = True
    server.send("room", "m", 1)
    page.clock.run_for(44_000)
    assert len(server.openings) == 1
    page.clock.run_for(2_000)
    wait_until(lambda: len(server.openings) == 2, what="another try")
    only(server, 1)
    server.mute = False
    heard.wait([1])


def test_heartbeats_say_how_long_a_silence_may_be(
    pages: Pages, server: ScriptedStreams
) -> None:
    page = pages.open()
    page.clock.install()
    page.goto(server.origin)
    server.heartbeat = 0.1
    heard = listen(page, share=False)
    wait_until(lambda: server.beats >= 3, what="heartbeats")
    server.send("room", "m", 1)
    heard.wait([1])
    server.mute = True
    page.clock.run_for(6_000)
    wait_until(lambda: len(server.openings) == 2, what="another try")


def test_tabs_share_a_connection_and_another_takes_over(
    pages: Pages, server: ScriptedStreams
) -> None:
    first = tab(pages, server)
    leader = listen(first, "/named/room/")
    others = [listen(tab(pages, server, first), "/named/room/") for _ in range(2)]
    server.send("room", "m", 1)
    server.send("room", "typing", "live", durable=False)
    for heard in (leader, *others):
        heard.wait([1, "live"])
    assert (server.open, len(server.openings)) == (1, 1)
    first.close()
    for number in (2, 3):
        server.send("room", "m", number)
        for heard in others:
            heard.wait([1, "live", *range(2, number + 1)])
    others[0].close()
    server.send("room", "m", 4)
    others[1].wait([1, "live", 2, 3, 4])
    assert others[0].data == [1, "live", 2, 3]
    only(server, 1)


def test_tab_that_is_killed_is_followed_by_another(
    pages: Pages, server: ScriptedStreams
) -> None:
    first = tab(pages, server)
    leader = listen(first)
    follower = listen(tab(pages, server, first))
    server.send("room", "m", 1)
    for heard in (leader, follower):
        heard.wait([1])
    with first.expect_event("crash"), pytest.raises(PlaywrightError):
        first.goto("chrome://crash")
    first.close()
    server.send("room", "m", 2)
    follower.wait([1, 2])
    only(server, 1)
    last = server.openings[-1].last_event_id
    assert last == f"{server.target('room').epoch}-1"


def test_listener_with_a_cursor_of_its_own_misses_nothing_and_gets_nothing_twice(
    pages: Pages, server: ScriptedStreams
) -> None:
    """Whether the leader still has what it needs, or has it read by itself."""
    first = tab(pages, server)
    for number in range(3):
        server.send("room", "m", number)
    old = f"{server.target('room').epoch}-1"
    leader = listen(first)
    now = server.send("room", "m", 3)
    server.send("room", "m", 4)
    leader.wait([3, 4])

    second = tab(pages, server, first)
    recent = listen(second, f"{OPEN}?last_event_id={now}")
    recent.wait([4])
    assert len(server.openings) == 1
    late = listen(second, f"{OPEN}?last_event_id={old}", "late")
    late.wait([1, 2, 3, 4])
    only(server, 1)
    assert [opening.last_event_id for opening in server.openings] == ["", old]
    server.send("room", "m", 5)
    leader.wait([3, 4, 5])
    recent.wait([4, 5])
    late.wait([1, 2, 3, 4, 5])
    # And it can lead.
    first.close()
    recent.close()
    server.send("room", "m", 6)
    late.wait([1, 2, 3, 4, 5, 6])


def test_listeners_of_one_page_share_and_close_each_by_itself(
    pages: Pages, server: ScriptedStreams
) -> None:
    page = tab(pages, server)
    one, two = listen(page), listen(page, name="two")
    other = listen(page, name="other", token="another's")
    apart = listen(page, name="apart", share="bob")
    assert server.open == 3
    one.close()
    server.send("room", "m", 1)
    for heard in (two, other, apart):
        heard.wait([1])
    assert one.data == []
    only(server, 3)
    names = page.evaluate("navigator.locks.query().then(({ held }) => held.map((l) => l.name))")
    assert len(set(names)) == 3
    assert "another's" not in str(names)
    assert "room" not in str(names)


@pytest.mark.parametrize("sign", ["bfcache", "frozen"])
def test_page_that_is_kept_aside_lets_another_lead_and_comes_back(
    pages: Pages, server: ScriptedStreams, sign: str
) -> None:
    first = tab(pages, server)
    leader = listen(first)
    follower = listen(tab(pages, server, first))
    if sign == "bfcache":
        signal = "dispatchEvent(new PageTransitionEvent('{}', {{ persisted: true }}))"
        away, back = signal.format("pagehide"), signal.format("pageshow")
    else:
        signal = "document.dispatchEvent(new Event('{}'))"
        away, back = signal.format("freeze"), signal.format("resume")
    first.evaluate(away)
    server.send("room", "m", 1)
    follower.wait([1])
    assert leader.data == []
    first.evaluate(back)
    leader.wait([1])
    server.send("room", "m", 2)
    for heard in (leader, follower):
        heard.wait([1, 2])
    only(server, 1)


def test_hidden_leader_gives_way_to_a_page_that_is_looked_at(
    pages: Pages, server: ScriptedStreams
) -> None:
    first = pages.open()
    first.context.add_init_script(VISIBILITY)
    first.clock.install()
    first.goto(server.origin)
    leader = listen(first)
    second = first.context.new_page()
    second.goto(server.origin)
    follower = listen(second)
    first.evaluate("setHidden(true)")
    second.evaluate("setHidden(true)")
    first.clock.run_for(31_000)
    second.evaluate("setHidden(false)")
    wait_until(lambda: len(server.openings) == 2, what="another leader")
    server.send("room", "m", 1)
    for heard in (leader, follower):
        heard.wait([1])
    only(server, 1)
    first.close()
    server.send("room", "m", 2)
    follower.wait([1, 2])
    assert len(server.openings) == 2


def test_leader_that_does_not_answer_is_replaced(pages: Pages, server: ScriptedStreams) -> None:
    """Its page hangs, or is frozen without a word."""
    first = tab(pages, server)
    leader = listen(first)
    second = first.context.new_page()
    second.clock.install()
    second.goto(server.origin)
    follower = listen(second)
    first.evaluate(
        "() => { setTimeout(() => {"
        "  const until = Date.now() + 4_000; while (Date.now() < until); }) }"
    )
    server.send("room", "m", 1)
    second.clock.run_for(60_000)
    follower.wait([1])
    server.send("room", "m", 2)
    follower.wait([1, 2])
    # Back again, it follows.
    leader.wait([1, 2])
    only(server, 1)
    server.send("room", "m", 3)
    for heard in (leader, follower):
        heard.wait([1, 2, 3])


def test_every_tab_is_told_of_a_reset(pages: Pages, server: ScriptedStreams) -> None:
    first = tab(pages, server)
    tabs = [listen(first), listen(tab(pages, server, first))]
    server.send("room", "m", 1)
    for heard in tabs:
        heard.wait([1])
    del server.targets["room"]
    server.drop()
    wait_until(lambda: all(heard["resets"] for heard in tabs), what="the resets")
    server.send("room", "m", 2)
    for heard in tabs:
        heard.wait([1, 2])
        assert heard["resets"] == ["unknown"]
    assert server.open == 1


def test_every_tab_is_told_of_a_refusal(pages: Pages, server: ScriptedStreams) -> None:
    pages.allow("status of 401")
    first = tab(pages, server)
    tabs = [listen(first), listen(tab(pages, server, first))]
    server.refusals = [(401, {}, {"error": {"code": "INVALID_TOKEN"}})]
    server.drop()
    for heard in tabs:
        assert heard.wait_for_state("refused")["code"] == "INVALID_TOKEN"
    assert len(server.openings) == 2


def test_over_plain_http_every_listener_has_a_connection_of_its_own(
    pages: Pages, server: ScriptedStreams
) -> None:
    page = pages.open(proxy={"server": server.origin})
    page.goto("http://shop.example/")
    assert page.evaluate("[isSecureContext, 'locks' in navigator]") == [False, False]
    tabs = [listen(page), listen(page, name="two", token="t")]
    server.send("room", "m", 1)
    server.drop()
    for heard in tabs:
        heard.wait([1])
    only(server, 2)


def test_server_whose_ids_are_no_cursors_is_read_by_each_tab_itself(
    pages: Pages, server: ScriptedStreams
) -> None:
    server.chunks = [b"event: sse-connected\ndata: {}\n\n", b"event: m\nid: y\ndata: 1\n\n"]
    first = tab(pages, server)
    for page in (first, tab(pages, server, first)):
        heard = begin(page, "/raw/")
        wait_until(lambda h=heard: h.data, what="an event")
        assert heard.data[0] == 1


def test_tabs_come_and_go_while_events_are_sent(pages: Pages, server: ScriptedStreams) -> None:
    """Of several targets, whose events come in another order on each connection."""
    chance = random.Random(15)
    names = "abc"
    # What had been sent when: numbers of each target's last event.
    moments = [dict.fromkeys(names, 0)]
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.002):
            name = chance.choice(names)
            number = moments[-1][name] + 1
            server.send(name, name, number)
            moments.append({**moments[-1], name: number})

    sender = threading.Thread(target=send)
    first = tab(pages, server)
    opened: list[tuple[Heard, dict[str, int]]] = []

    def open_one(page: Page) -> None:
        """From some moment of the past, which no leader may remember."""
        since = random.choice(moments)
        cursor = "~".join(f"{server.target(n).epoch}-{since[n]}" for n in names)
        url = f"/unnamed/{'+'.join(names)}/?last_event_id={cursor}"
        opened.append((begin(page, url, f"n{len(opened)}"), since))

    open_one(first)
    sender.start()
    try:
        for step in range(40):
            if step % 4 == 0:
                open_one(tab(pages, server, first) if step % 8 else first)
            elif step % 4 == 1:
                server.drop()
            else:
                random.choice(opened)[0].page.evaluate(
                    "for (const sign of ['freeze', 'resume'])"
                    "  document.dispatchEvent(new Event(sign))"
                )
    finally:
        stop.set()
        sender.join()
    last = moments[-1]
    for heard, since in opened:
        missing = sum(last.values()) - sum(since.values())
        wait_until(lambda h=heard, m=missing: len(h.data) >= m, what="all events in all tabs")
        events = heard["events"]
        for name in names:
            got = [data for kind, data, _ in events if kind == name]
            assert got == list(range(since[name] + 1, last[name] + 1))
    only(server, 1)
