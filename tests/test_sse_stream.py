"""`sse.stream` and `sse.asgi` in this process: who gets which stream, and who what else."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DataError, OperationalError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client
from django.urls import include, path, re_path, reverse
from pytest_django import Settings

import sse
from sse.asgi import get_asgi_application
from sse.exceptions import TooManyChannels
from sse.live.hub import get_hub
from sse.live.subjects import subject_of_session
from sse.live.subscriptions import Subscription
from sse.live.upkeep import Upkeep
from sse.log.encoding import encode
from sse.log.targets import CONTROL
from sse.send import send_durable
from sse.streams.access import ROUNDS
from sse.streams.endpoint import stream as make_stream
from sse.streams.requests import bearer
from sse.streams.routes import Routes
from tests.harness.environment import ROOT
from tests.hubs import OpenedStream, on_a_thread, until

pytestmark = pytest.mark.django_db(transaction=True)

HOST = [(b"host", b"localhost")]
SHOP = "https://shop.example.com"


# --- a project --------------------------------------------------------------------------------


def room(request: HttpRequest, name: str) -> list[str]:
    if not request.user.is_authenticated:
        raise PermissionDenied
    return [f"room-{name}"]


async def room_async(request: HttpRequest, name: str) -> sse.Grant:
    user = await request.auser()
    if not user.is_authenticated:
        raise PermissionDenied("Not for strangers.")
    return sse.Grant([f"room-{name}"], connected={"name": name}, subjects=[f"room:{name}"])


def told(request: HttpRequest) -> str:
    """Without a look at who it is."""
    return request.GET["channel"]


def by_place(request: HttpRequest, floor: str, door: str) -> str:
    return f"{floor}-{door}"


def bad(request: HttpRequest, how: str) -> Any:
    raised: dict[str, Callable[[], BaseException]] = {
        "denied": PermissionDenied,
        "nothing": lambda: Http404("No Secret matches the given query."),
        "refused": lambda: sse.Refused(
            402, "PAY_FIRST", "It costs.", {"price": 3}, {"Retry-After": "5"}
        ),
        "suspicious": lambda: SuspiciousOperation("a/../b"),
        "data": lambda: DataError("text cannot contain NUL (0x00) bytes"),
        "nul": lambda: ValueError("A string literal cannot contain NUL (0x00) characters."),
        "database": lambda: OperationalError("the server is gone"),
        "mistake": lambda: ZeroDivisionError("by zero"),
        "cancelled": asyncio.CancelledError,
        "headers": lambda: sse.Refused(402, "A", "b", None, {"X-Why": "a\r\nb: c"}),
        "many": lambda: sse.Grant(map(str, range(1001))),
    }
    if how in raised:
        raise raised[how]()
    return {"none": None, "empty": [], "long": "x" * 201, "number": 7, "numbers": [7],
            "mapping": {"a": 1}}[how]  # fmt: skip


async def bad_async(request: HttpRequest, how: str) -> Any:
    return bad(request, how)


async def hangs(request: HttpRequest) -> str:
    await asyncio.Event().wait()
    raise AssertionError


def other(request: HttpRequest, how: str) -> Any:
    """What is no stream, and is sent as it is."""
    if how == "redirect":
        answer: Any = HttpResponseRedirect("/elsewhere/")
        answer.set_cookie("seen", "1", httponly=True)
        return answer
    if how == "template":
        return TemplateResponse(request, "404.html", status=410)
    if how == "parts":
        return StreamingHttpResponse(iter([b"one ", b"two"]), headers={"Vary": "cookie"})
    raise AssertionError


async def other_async(request: HttpRequest, how: str) -> Any:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    if how == "parts":
        return StreamingHttpResponse(parts())
    return other(request, how)


def page(request: HttpRequest, **_: Any) -> HttpResponse:
    return HttpResponse("a page")


@login_required
def of_members(request: HttpRequest) -> str:
    return f"member-{request.user.pk}"


urlpatterns = [
    path("shadow/", page),
    path("shadow/", make_stream("never")),
    path("news/", make_stream("news"), name="news"),
    path("plain/", make_stream("news", named=False)),
    path("told/", make_stream(told)),
    path("members/", make_stream(of_members)),
    path("hangs/", make_stream(hangs)),
    path("rooms/", include([path("<slug:name>/", make_stream(room), name="room")])),
    re_path(r"^async/(?P<name>[a-z]+)/$", make_stream(room_async)),
    path("bad/<slug:how>/", make_stream(bad)),
    path("bad-any/<str:how>/", make_stream(bad)),
    re_path(r"^doors/([a-z])/([0-9])/$", make_stream(by_place)),
    re_path(r"^windows/([a-z])/$", make_stream("news")),
    path("bad-async/<slug:how>/", make_stream(bad_async)),
    path("other/<slug:how>/", make_stream(other)),
    path("other-async/<slug:how>/", make_stream(other_async)),
    path("page/", page),
    *i18n_patterns(path("spoken/", make_stream("spoken"))),
]


@pytest.fixture(autouse=True)
def project(settings: Settings) -> Iterator[Settings]:
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_URL = "/login/"
    settings.CORS_ALLOWED_ORIGINS = []
    settings.CORS_URLS_REGEX = r"^.*$"
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield settings
    for number, handler in before.items():
        signal.signal(number, handler)


# --- an ASGI server ---------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> tuple[int, str]:
        """The status, and the code of the contract's error."""
        assert self.headers["content-type"] == "application/json"
        (error,) = json.loads(self.body).values()
        assert sorted(error) == ["code", "details", "message"]
        return self.status, error["code"]


def scope_of(url: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    address, _, query = url.partition("?")
    given = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
    ]
    return {
        "type": "http",
        "method": method,
        "path": address,
        "query_string": query.encode(),
        "headers": [*([] if "host" in headers else HOST), *given],
        "client": ("127.0.0.1", 1),
    }


class Site:
    """An application that is being served."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def ask(self, url: str, method: str = "GET", **headers: str) -> Answer:
        return await self.ask_with(scope_of(url, method, **headers))

    async def ask_with(self, scope: dict[str, Any]) -> Answer:
        sent: list[dict[str, Any]] = []
        body = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in body:
                return message
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async with asyncio.timeout(20):
            await self.application(scope, receive, send)
        start, *parts = sent
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(each["body"] for each in parts))

    def listen(self, url: str, **headers: str) -> "Listening":
        return Listening(self.application, scope_of(url, **headers))


class Listening(OpenedStream):
    def __init__(self, application: Any, scope: dict[str, Any]) -> None:
        super().__init__("")
        self._application = application
        self._scope = scope

    async def __aenter__(self) -> "Listening":
        running = self._application(self._scope, self._receive, self._send)
        self._running = asyncio.create_task(running)
        await self.wait_for("connected")
        return self


def served(
    scene: Callable[[Site], Awaitable[None]], django: Any = None, **options: Any
) -> None:
    """Play a scene before an application of ours. It starts by the first request."""

    async def play() -> None:
        try:
            await scene(Site(get_asgi_application(django, **options)))
        finally:
            await get_hub().close()

    asyncio.run(play())


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    (cookie,) = client.cookies.values()
    return f"{cookie.key}={cookie.value}"


@pytest.fixture
def alice() -> User:
    return get_user_model().objects.create_user("alice")


# --- what a stream carries --------------------------------------------------------------------


def test_the_stream_decides_the_form_of_its_events() -> None:
    async def scene(site: Site) -> None:
        async with site.listen("/news/") as named, site.listen("/plain/") as unnamed:
            await sse.asend_event("news", "row", "<tr>\n</tr>", json_encode=False)
            await sse.asend_event("news", "count", 3)
            await named.wait_for("event: count\ndata: 3\n\n")
            await unnamed.wait_for('"type":"count"')
            assert "event: sse-connected\ndata: {" in named.text
            assert "event: row\ndata: <tr>\ndata: </tr>\n\n" in named.text
            assert "event:" not in unnamed.text
            assert '"payload":{"data":3}' in unnamed.text

    served(scene)


def test_several_channels_under_one_cursor() -> None:
    async def scene(site: Site) -> None:
        def both(request: HttpRequest) -> list[str]:
            return ["one", "two", "one"]

        urlpatterns.append(path("both/", make_stream(both)))
        try:
            async with site.listen("/both/") as listening:
                await sse.asend_event("one", "first", 1)
                await sse.asend_event("two", "second", 2)
                await listening.wait_for("event: second\ndata: 2\n\n")
                assert listening.text.count("event: first\n") == 1
                (last,) = [
                    line
                    for line in listening.text.split("\n\n")[-2].splitlines()
                    if line.startswith("id: ")
                ]
            async with site.listen("/both/", last_event_id=last[4:]) as listening:
                await sse.asend_event("one", "third", 3)
                await listening.wait_for("event: third\n")
                assert "second" not in listening.text
        finally:
            urlpatterns.pop()

    served(scene)


def test_a_stream_begins_where_its_grant_says_unless_the_client_knows_better() -> None:
    async def scene(site: Site) -> None:
        begin = await sse.acursor("news")
        await sse.asend_event("news", "first", 1)
        middle = await sse.acursor("news")
        await sse.asend_event("news", "second", 2)

        def from_the_start(request: HttpRequest) -> sse.Grant:
            return sse.Grant("news", after=begin)

        urlpatterns.append(path("start/", make_stream(from_the_start)))
        try:
            async with site.listen("/start/") as fresh:
                await fresh.wait_for("event: second\n")
                assert "event: first\n" in fresh.text
            async with site.listen(f"/start/?last_event_id={middle}") as back:
                await back.wait_for("event: second\n")
                assert "event: first\n" not in back.text
        finally:
            urlpatterns.pop()

    served(scene)


def test_a_cursor_is_as_long_as_its_channels_need() -> None:
    names = [f"part-{number}" for number in range(120)]

    def many(request: HttpRequest) -> list[str]:
        return names

    async def scene(site: Site) -> None:
        urlpatterns.append(path("many/", make_stream(many)))
        try:
            async with site.listen("/many/") as listening:
                (opened,) = get_hub().census.streams
                short = opened._writer.subscription.cursor
            each = (cursor.split("-") for cursor in short.split("~"))
            longest = "~".join(f"{epoch}-{int(seq):018}" for epoch, seq in each)
            assert len(longest) > 4000
            await sse.asend_event(names[-1], "late", 1)
            async with site.listen("/many/", last_event_id=longest) as listening:
                await listening.wait_for("event: late\n", seconds=5)
                assert "sse-reset" not in listening.text
        finally:
            urlpatterns.pop()
        beyond = "~".join(["0123456789abcdef-123456789012345678"] * 1001)
        async with site.listen("/news/", last_event_id=beyond) as listening:
            await listening.wait_for('data: {"reason":"malformed"}', seconds=5)

    served(scene)


def test_a_stream_has_a_thousand_channels_at_most() -> None:
    assert len(sse.Grant(map(str, range(1000))).channels) == 1000
    with pytest.raises(TooManyChannels, match="1001 channels"):
        sse.Grant(map(str, range(1001)))


# --- who listens ------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/rooms/a/", "/async/a/"])
def test_a_function_knows_who_asks(address: str, alice: User) -> None:
    cookie = cookie_of(alice)

    async def scene(site: Site) -> None:
        assert (await site.ask(address)).code == (403, "FORBIDDEN")
        assert (await site.ask(address, cookie="support_session=a\x00b")).code[0] == 403
        async with site.listen(address, cookie=cookie) as listening:
            (opened,) = get_hub().census.streams
            assert opened.user_id == str(alice.pk)
            assert f"sse:user:{alice.pk}" in opened.subjects
            assert [s for s in opened.subjects if s.startswith("sse:session:")]
            await on_a_thread(lambda: sse.close_streams(alice))
            await listening.ended()

    served(scene)


def test_nobody_is_looked_up_unless_the_function_does(alice: User) -> None:
    cookie = cookie_of(alice)

    async def scene(site: Site) -> None:
        async with site.listen("/told/?channel=a", cookie=cookie):
            (opened,) = get_hub().census.streams
            assert opened.user_id == ""
            assert not [s for s in opened.subjects if s.startswith("sse:")]
        # A channel that is open to all has no function that could.
        async with site.listen("/news/", cookie=cookie):
            (opened,) = get_hub().census.streams
            assert opened.user_id == str(alice.pk)
        async with site.listen("/news/"):
            (opened,) = get_hub().census.streams
            assert opened.user_id == ""

    served(scene)


def test_decorators_of_views_work_on_it(alice: User) -> None:
    cookie = cookie_of(alice)

    async def scene(site: Site) -> None:
        sent = await site.ask("/members/")
        assert sent.status == 302
        assert sent.headers["location"].endswith("?next=/members/")
        async with site.listen("/members/", cookie=cookie):
            (opened,) = get_hub().census.streams
            assert opened.targets == (f"member-{alice.pk}",)

    served(scene)


def close_and_hear_of_it(user: User) -> None:
    """On a database thread: until the revocation has reached this process."""
    hub = get_hub()
    known = len(hub.revocations._latest)
    sse.close_streams(user)
    heard = asyncio.run_coroutine_threadsafe(
        until(lambda: len(hub.revocations._latest) > known), hub.loop
    )
    heard.result(10)


def test_a_right_that_is_taken_while_it_is_looked_up_is_looked_up_again(alice: User) -> None:
    cookie = cookie_of(alice)
    asked: list[str] = []

    def once(request: HttpRequest) -> str:
        assert request.user == alice
        asked.append("")
        if len(asked) == 1:
            close_and_hear_of_it(alice)
        return "news"

    async def scene(site: Site) -> None:
        urlpatterns.append(path("once/", make_stream(once)))
        try:
            async with site.listen("/news/"):
                await until(lambda: get_hub().revocations.heeded)
            async with site.listen("/once/", cookie=cookie):
                assert len(asked) == 2
        finally:
            urlpatterns.pop()

    served(scene)


def test_who_takes_a_right_each_time_it_is_looked_up_gets_no_answer(alice: User) -> None:
    cookie = cookie_of(alice)
    asked: list[str] = []

    def always(request: HttpRequest) -> str:
        assert request.user == alice
        asked.append("")
        if len(asked) > ROUNDS + 1:
            raise PermissionDenied
        close_and_hear_of_it(alice)
        return "news"

    async def scene(site: Site) -> None:
        urlpatterns.append(path("always/", make_stream(always)))
        try:
            async with site.listen("/news/"):
                await until(lambda: get_hub().revocations.heeded)
            refused = await site.ask("/always/", cookie=cookie)
            assert refused.code == (503, "CLOSED_MEANWHILE")
            assert refused.headers["retry-after"] == "1"
        finally:
            urlpatterns.pop()

    served(scene)
    assert len(asked) == ROUNDS


@pytest.mark.parametrize(
    ("reason", "code"), [("revoked", "CLOSED_MEANWHILE"), ("goodbye", "GOING_AWAY")]
)
def test_a_stream_that_ends_while_it_opens_says_why(
    reason: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Subscription.open

    async def ends(self: Subscription, targets: tuple[str, ...], after: str | None) -> None:
        if targets == (CONTROL,):
            return await whole(self, targets, after)
        (opening,) = get_hub().census.streams
        opening.end(reason)
        await asyncio.Event().wait()

    async def scene(site: Site) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Subscription, "open", ends)
            assert (await site.ask("/news/")).code == (503, code)

    served(scene)


def test_a_stream_that_cannot_write_its_heartbeat_is_ended(
    project: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    project.SSE_HEARTBEAT_SECONDS = 0.05

    class Deaf(Listening):
        async def _send(self, message: dict[str, Any]) -> None:
            if b"sse-heartbeat" in message.get("body", b""):
                raise RuntimeError("the connection is broken")
            await super()._send(message)

    async def scene(site: Site) -> None:
        async with Deaf(site.application, scope_of("/news/")) as listening:
            await listening.ended()
            assert not get_hub().census.streams

    served(scene)
    assert "a stream failed and is ended" in caplog.text


def test_a_stream_that_cannot_say_goodbye_keeps_no_other_from_it() -> None:
    class Broken(Listening):
        async def _send(self, message: dict[str, Any]) -> None:
            if b"sse-goodbye" in message.get("body", b""):
                raise RuntimeError("the connection is broken")
            await super()._send(message)

    async def scene(site: Site) -> None:
        # Whichever comes first.
        async with (
            Broken(site.application, scope_of("/news/")) as one,
            site.listen("/news/") as two,
            Broken(site.application, scope_of("/news/")) as three,
        ):
            get_hub().begin_closing()
            await two.wait_for("event: sse-goodbye\n")
            for each in (one, two, three):
                await each.ended()

    served(scene)


def test_a_session_that_is_over_lets_nobody_in(alice: User) -> None:
    """Also while its row is there still: logout tells us before it deletes it."""
    cookie, another = cookie_of(alice), cookie_of(alice)

    async def scene(site: Site) -> None:
        async with site.listen("/members/", cookie=cookie) as stream:
            key = cookie.partition("=")[2]
            await on_a_thread(lambda: sse.close_streams(subject_of_session(key)))
            await stream.ended()
        assert (await site.ask("/members/", cookie=cookie)).code == (401, "LOGGED_OUT")
        async with site.listen("/members/", cookie=another):
            pass

    served(scene)


def test_a_stream_opens_once_it_can_be_ended(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before this process heeds revocations by itself."""
    duties = Upkeep._vital_duties
    monkeypatch.setattr(
        Upkeep, "_vital_duties", lambda self: [d for d in duties(self) if d[0] != "control"]
    )
    cookie = cookie_of(alice)

    async def scene(site: Site) -> None:
        streams = [site.listen("/members/", cookie=cookie) for _ in range(3)]
        async with streams[0], streams[1], streams[2]:
            await on_a_thread(lambda: sse.close_streams(alice))
            for stream in streams:
                await stream.ended()

    served(scene)


def test_what_revokes_nothing_is_logged(alice: User, caplog: pytest.LogCaptureFixture) -> None:
    cookie = cookie_of(alice)

    def send_nonsense() -> None:
        for payload in ({}, {"subject": ["x"], "unless": ""}, {"data": "text"}):
            send_durable(CONTROL, CONTROL, encode("revoke", payload, json_encode=True))
        sse.close_streams(alice)

    async def scene(site: Site) -> None:
        async with site.listen("/members/", cookie=cookie) as stream:
            await on_a_thread(send_nonsense)
            await stream.ended()
            assert get_hub().mode == "memory"

    served(scene)
    logged = [each for each in caplog.messages if "revokes nothing" in each]
    assert len(logged) == 3


def test_what_a_function_sets_for_its_thread_ends_with_it() -> None:
    from django.utils import translation

    def speaks(request: HttpRequest) -> str:
        language = translation.get_language()
        translation.activate("zh-hans")
        return str(language)

    async def scene(site: Site) -> None:
        urlpatterns.append(path("speaks/", make_stream(speaks)))
        try:
            for _ in range(3):
                async with site.listen("/speaks/"):
                    (opened,) = get_hub().census.streams
                    assert opened.targets == ("en",)
        finally:
            urlpatterns.pop()

    served(scene)


def test_the_token_comes_by_header_or_address() -> None:
    def request_of(url: str, **headers: str) -> HttpRequest:
        from django.core.handlers.asgi import ASGIRequest

        return ASGIRequest(scope_of(url, **headers), None)

    assert bearer(request_of("/")) == ""
    assert bearer(request_of("/?token=a&token=b")) == "b"
    assert bearer(request_of("/?token=a", authorization="Bearer c ")) == "c"
    assert bearer(request_of("/?token=a", authorization="Basic c")) == "a"


# --- who does not -----------------------------------------------------------------------------

REFUSALS = {
    "denied": (403, "FORBIDDEN"),
    "nothing": (404, "NOT_FOUND"),
    "refused": (402, "PAY_FIRST"),
    "suspicious": (400, "BAD_REQUEST"),
    "data": (400, "BAD_REQUEST"),
    "nul": (400, "BAD_REQUEST"),
    "long": (400, "BAD_REQUEST"),
    "database": (503, "DATABASE_UNAVAILABLE"),
}
MISTAKES = (
    "mistake", "cancelled", "headers", "many", "none", "empty", "number", "numbers", "mapping",
)  # fmt: skip


@pytest.mark.parametrize("prefix", ["/bad", "/bad-async"])
def test_refusals_are_answered_as_errors(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(site: Site) -> None:
        got = {how: (await site.ask(f"{prefix}/{how}/")).code for how in REFUSALS}
        assert got == REFUSALS
        refused = await site.ask(f"{prefix}/refused/")
        assert refused.headers["retry-after"] == "5"
        assert json.loads(refused.body)["error"]["details"] == {"price": 3}
        assert (await site.ask(f"{prefix}/database/")).headers["retry-after"] == "2"
        assert b"Secret" not in (await site.ask(f"{prefix}/nothing/")).body

    with caplog.at_level(logging.WARNING, "sse.streams"):
        served(scene)
    (record,) = (each for each in caplog.records if each.name == "sse.streams")
    assert record.levelno == logging.WARNING
    assert not record.exc_info
    assert f"{prefix}/long/: A target's name has 201 characters" in record.getMessage()


@pytest.mark.parametrize("prefix", ["/bad", "/bad-async"])
def test_a_mistake_of_the_project_is_logged_and_told_to_nobody(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(site: Site) -> None:
        for how in MISTAKES:
            caplog.clear()
            answer = await site.ask(f"{prefix}/{how}/")
            assert answer.code == (500, "INTERNAL_ERROR")
            assert b"zero" not in answer.body
            (record,) = (each for each in caplog.records if each.name == "sse.streams")
            assert record.exc_info
            assert f"{prefix}/{how}/" in record.getMessage()

    served(scene)
    assert "PermissionDenied" in caplog.text


def test_an_address_makes_no_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(site: Site) -> None:
        assert (await site.ask("/bad-any/a\n[ERROR] b\u2028c/")).code[0] == 500

    served(scene)
    (record,) = (each for each in caplog.records if each.name == "sse.streams")
    assert "/bad-any/a\\n[ERROR] b\\u2028c/" in record.getMessage()


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"X-Why": "one\ntwo"}, ValueError),
        ({"X-Why": "one\rtwo"}, ValueError),
        ({"X-Why": "one\n"}, ValueError),
        ({"X-Why": "\u4e2d"}, ValueError),
        ({"X Why": "one"}, ValueError),
        ({"": "one"}, ValueError),
        ({"Retry-After": 5}, TypeError),
    ],
)
def test_a_refusal_has_headers_that_can_be_sent(
    headers: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        sse.Refused(402, "PAY_FIRST", "It costs.", None, headers)


def test_what_an_address_matches_goes_to_the_function() -> None:
    async def scene(site: Site) -> None:
        async with site.listen("/doors/a/7/"), site.listen("/windows/b/"):
            opened = {stream.targets for stream in get_hub().census.streams}
            assert opened == {("a-7",), ("news",)}

    served(scene)


def test_a_function_that_hangs_is_left_behind(project: Settings) -> None:
    project.SSE_DATABASE_SECONDS = 0.2

    async def scene(site: Site) -> None:
        for _ in range(2):
            assert (await site.ask("/hangs/")).code == (503, "DATABASE_UNAVAILABLE")

    served(scene)


def test_methods_and_hosts_that_are_none() -> None:
    async def scene(site: Site) -> None:
        for method in ("HEAD", "POST", "DELETE"):
            answer = await site.ask("/news/", method)
            assert answer.code == (405, "METHOD_NOT_ALLOWED")
            assert answer.headers["allow"] == "GET, OPTIONS"
        assert (await site.ask("/news/", host="evil.example")).code == (400, "BAD_REQUEST")
        unreadable = {**scope_of("/news/"), "query_string": b"\xff"}
        assert (await site.ask_with(unreadable)).code == (400, "BAD_REQUEST")
        for address in ("/news/", "/told/"):
            flood = await site.ask(f"{address}?{'a=1&' * 1001}")
            assert flood.code == (400, "BAD_REQUEST")

    served(scene)


@pytest.mark.parametrize("prefix", ["/other", "/other-async"])
def test_a_response_is_sent_as_it_is(prefix: str, project: Settings) -> None:
    project.SSE_ALLOWED_ORIGINS = [SHOP]

    async def scene(site: Site) -> None:
        redirect = await site.ask(f"{prefix}/redirect/")
        assert (redirect.status, redirect.headers["location"]) == (302, "/elsewhere/")
        assert redirect.headers["set-cookie"].startswith("seen=1; HttpOnly")
        template = await site.ask(f"{prefix}/template/", origin=SHOP)
        assert template.status == 410
        assert b"<" in template.body
        assert template.headers["access-control-allow-origin"] == SHOP
        parts = await site.ask(f"{prefix}/parts/")
        assert (parts.status, parts.body) == (200, b"one two")
        assert parts.headers["content-length"] == "7"

    served(scene)


# --- other sites' pages -----------------------------------------------------------------------

ALLOW, CREDENTIALS = "access-control-allow-origin", "access-control-allow-credentials"


async def said(site: Site, origin: str, address: str = "/bad/denied/") -> tuple[str, str]:
    """To a page of this origin: itself if it may read, and whether with cookies."""
    refused = await site.ask(address, origin=origin)
    asked = await site.ask(address, "OPTIONS", origin=origin)
    assert asked.status == 204
    both = {
        (each.headers.get(ALLOW, ""), each.headers.get(CREDENTIALS, ""))
        for each in (refused, asked)
    }
    (answer,) = both
    return answer


def test_pages_of_other_sites_read_what_the_settings_let_them(project: Settings) -> None:
    async def scene(site: Site) -> None:
        assert await said(site, SHOP) == ("", "")
        assert "vary" not in (await site.ask("/bad/denied/")).headers
        project.SSE_ALLOWED_ORIGINS = [SHOP]
        assert await said(site, SHOP) == (SHOP, "true")
        for foreign in ("null", f"{SHOP}.evil", "http://shop.example.com", SHOP.upper()):
            assert await said(site, foreign) == ("", "")
        assert (await site.ask("/bad/denied/")).headers["vary"] == "origin"
        # Written without its brackets.
        project.SSE_ALLOWED_ORIGINS = SHOP
        assert await said(site, SHOP) == (SHOP, "true")
        assert await said(site, SHOP[:-1]) == ("", "")
        project.SSE_ALLOWED_ORIGINS = []
        # Those of corsheaders.
        project.CORS_ALLOWED_ORIGINS = [SHOP]
        assert await said(site, SHOP) == (SHOP, "")
        project.CORS_ALLOW_CREDENTIALS = True
        assert await said(site, SHOP) == (SHOP, "true")
        project.CORS_URLS_REGEX = r"^/api/"
        assert await said(site, SHOP) == ("", "")
        project.CORS_URLS_REGEX = r"^/bad/"
        project.CORS_ALLOWED_ORIGINS = []
        project.CORS_ALLOWED_ORIGIN_REGEXES = [r"^https://\w+\.example\.com$"]
        assert await said(site, SHOP) == (SHOP, "true")
        assert await said(site, "https://example.com") == ("", "")
        project.CORS_ALLOWED_ORIGIN_REGEXES = []
        project.CORS_ALLOW_ALL_ORIGINS = True
        assert await said(site, "https://any.example") == ("https://any.example", "true")
        project.CORS_ALLOW_CREDENTIALS = False
        assert await said(site, "https://any.example") == ("https://any.example", "")

    served(scene)


# --- the entry --------------------------------------------------------------------------------


def test_what_is_no_stream_is_djangos() -> None:
    async def scene(site: Site) -> None:
        for address in ("/page/", "/shadow/"):
            assert (await site.ask(address)).body == b"a page"
        for address in ("/nothing/", "/news/x", "/rooms/a b/", "/news"):
            assert (await site.ask(address)).status in (301, 404)
        # It goes with the language, which only middleware knows: Django finds it, as a view.
        assert (await site.ask("/en/spoken/")).code == (501, "NO_STREAMS_HERE")

    served(scene)


def test_a_prefix_is_taken_off_and_put_on(project: Settings) -> None:
    found: list[str] = []

    def here(request: HttpRequest) -> str:
        found.append(reverse("room", kwargs={"name": "a"}))
        return "news"

    async def scene(site: Site) -> None:
        urlpatterns.append(path("here/", make_stream(here)))
        try:
            mounted = {**scope_of("/shop/here/"), "root_path": "/shop"}
            async with Listening(site.application, mounted):
                pass
            project.FORCE_SCRIPT_NAME = "/forced"
            async with site.listen("/forced/here/"):
                pass
        finally:
            urlpatterns.pop()

    served(scene)
    assert found == ["/shop/rooms/a/", "/forced/rooms/a/"]


def test_a_broken_urlconf_is_djangos_to_tell(project: Settings) -> None:
    routes = Routes()
    project.ROOT_URLCONF = "tests.no_such_urls"
    assert routes.find(scope_of("/news/")) is None
    project.ROOT_URLCONF = __name__
    assert routes.find(scope_of("/news/"))


def test_in_djangos_own_cycle_it_says_what_is_missing() -> None:
    for answer in (Client().get("/news/"), asyncio.run(ask_django())):
        assert answer.status_code == 501
        assert "from sse.asgi import get_asgi_application" in answer.json()["error"]["message"]


async def ask_django() -> HttpResponse:
    return await AsyncClient().get("/news/")


def test_other_protocols_are_for_who_was_given(project: Settings) -> None:
    handshake = {"type": "websocket", "path": "/ws/"}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    async def consumer(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    async def scene(site: Site) -> None:
        await site.application(handshake, receive, send)

    served(scene)
    served(scene, ProtocolTypeRouter({"websocket": consumer}))
    assert sent == ["websocket.close", "websocket.accept"]


def test_work_and_orders_to_stop() -> None:
    """Inside a router that keeps lifespan from it."""
    began: list[Any] = []
    stopped: list[str] = []

    async def shop_watch(pulse: Any) -> None:
        began.append(pulse)
        pulse()
        await asyncio.Event().wait()

    inner = get_asgi_application(
        work=[shop_watch, "ai_chatbot.conversation.waiting.keep_announcing"],
        at_stop=[lambda: {}["no such key"], lambda: stopped.append("told")],
    )

    async def scene(site: Site) -> None:
        router = Site(ProtocolTypeRouter({"http": inner}))
        with pytest.raises(ValueError, match="lifespan"):
            await router.application({"type": "lifespan"}, None, None)
        async with router.listen("/news/") as listening:
            await until(lambda: began)
            kept = get_hub().runtime.supervisor.failures()
            assert {"shop_watch", "keep_announcing"} <= {name for name, _, _ in kept}
            handler = signal.getsignal(signal.SIGTERM)
            assert callable(handler)
            handler(signal.SIGTERM, None)
            handler(signal.SIGTERM, None)
            await listening.wait_for("event: sse-goodbye\n")
            await listening.ended()
        assert (await router.ask("/news/")).code == (503, "GOING_AWAY")

    before = signal.signal(signal.SIGTERM, lambda *_: stopped.append("server"))
    try:
        served(scene)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped == ["told", "server", "server"]


def test_a_process_that_cannot_start_says_so_to_its_server(
    project: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Else it would be taken for one without lifespan, and every page would fail."""
    project.CHANNEL_LAYERS = {"default": {"BACKEND": "no.such.Layer"}}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(get_asgi_application()({"type": "lifespan"}, receive, send))
    (failed,) = sent
    assert failed["type"] == "lifespan.startup.failed"
    assert "no" in failed["message"]
    assert "the process cannot start" in caplog.text


def test_nothing_comes_before_the_first_frame() -> None:
    """The head of the response may have to wait, as behind a middleware."""

    async def scene(site: Site) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            async def waiting(message: Any) -> None:
                if message["type"] == "http.response.start":
                    begun.set()
                    await go_on.wait()
                await send(message)

            await site.application(scope, receive, waiting)

        listening = Site(slow).listen("/news/")
        opening = asyncio.ensure_future(listening.__aenter__())
        await begun.wait()
        await sse.asend_event("news", "early", 1)
        topic = get_hub().topics["news"]
        await until(lambda: topic.frames)
        go_on.set()
        await opening
        await listening.wait_for("event: early\n")
        assert listening.text.index("sse-connected") < listening.text.index("early")
        await listening.__aexit__()

    served(scene)


def test_a_second_entry_is_no_second_process(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(site: Site) -> None:
        second = Site(get_asgi_application())
        async with site.listen("/news/") as one, second.listen("/news/") as two:
            await sse.asend_event("news", "row", 1)
            await one.wait_for("event: row\n")
            await two.wait_for("event: row\n")
            assert len(get_hub().census.streams) == 2
            await until(lambda: "events: memory" in caplog.text)

    with caplog.at_level(logging.INFO, "sse.server"):
        served(scene)
    assert caplog.text.count("; events: ") == 1


def test_importing_the_entry_reads_no_settings() -> None:
    code = (
        "import sys; from sse.asgi import get_asgi_application; import sse\n"
        "from django.conf import settings\n"
        "assert not settings.configured\n"
        "assert not [m for m in sys.modules if m.endswith('.models')]"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, timeout=60
    )
