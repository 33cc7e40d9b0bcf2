"""The project of docs/sse, out of the built package, while servers and Redis are killed."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page

from tests.harness.browser import Pages
from tests.harness.postgres import find_postgres
from tests.harness.redis import RedisServer
from tests.harness.tls import NO_TLS
from tests.published.documents import FIRST_PAGE, Block, blocks
from tests.published.nginx import DocumentedNginx
from tests.published.project import PASSWORD, Project, ProjectServer, Sender

pytestmark = pytest.mark.database_independent

RECIPE_TESTS = Path(__file__).with_name("published") / "recipe_tests.py"

# What the chat of the documents does when somebody says something, and its recipe for htmx.
SAY = """
from django.db import transaction
from chat.models import Message, Room
from chat.rows import send_row
from sse import send_event

def say(text):
    with transaction.atomic():
        message = Message.objects.create(room=Room.objects.get(), text=text)
        send_event("room-42", "message", {"id": message.pk, "text": text})
        send_row(message)
"""
# As the first page has it done by commands.
POPULATE = f"""
from django.contrib.auth.models import User
from django.core.management import call_command
from chat.models import Room

call_command("migrate", verbosity=0)
ann = User.objects.create_superuser("ann", password="{PASSWORD}")
Room.objects.create(slug="42").members.add(ann)
"""
SHOWN = "count => document.querySelectorAll('li').length >= count"
LISTEN = """async () => {
    const { listen } = await import("/static/sse/sse.js");
    const url = "/events/42/";
    %s
}"""
# What the socket of the documents answers.
TYPE = """() => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/ws/typing/`);
    socket.onopen = () => socket.send(JSON.stringify("hello"));
    socket.onmessage = ({ data }) => { socket.close(); resolve(data); };
    socket.onerror = () => reject(new Error("no socket"));
})"""
# What a page's requests meet while the server is away, and what htmx says of it.
AWAY = r"ERR_(CONNECTION_(REFUSED|RESET)|INCOMPLETE_CHUNKED_ENCODING)|Event\] .*htmx"


@pytest.fixture(autouse=True)
def nothing_but_outages(pages: Pages) -> None:
    """Is what pages complain of, and that there is no icon."""
    pages.allow("404 .*favicon.ico")
    pages.allow(AWAY)


@pytest.fixture(scope="module")
def first_project(sse_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As it is at the end of the first page."""
    directory = tmp_path_factory.mktemp("first")
    return Project(directory, sse_programs).follow(FIRST_PAGE)


@pytest.fixture(scope="module")
def project(first_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With what the other pages add, on SQLite."""
    directory = tmp_path_factory.mktemp("all") / "project"
    return populated(first_project.copy(directory, variants=["sqlite"]).follow_others())


def populated(project: Project) -> Project:
    project.manage("shell", "-c", POPULATE)
    return project


@pytest.fixture(scope="module")
def postgres_settings() -> Iterator[dict[str, str]]:
    with find_postgres() as server:
        url = server.create_database(prefix="support_docs")
        parts = urlsplit(url)
        yield {
            "PGDATABASE": parts.path.removeprefix("/"),
            "PGUSER": parts.username or "postgres",
            "PGPASSWORD": parts.password or "",
            "PGHOST": parts.hostname or "127.0.0.1",
            "PGPORT": str(parts.port or 5432),
        }
        server.drop_database(url)


def block_of(language: str) -> Block:
    (block,) = (block for block in blocks() if block.language == language)
    return block


def neutral(lines: list[str]) -> list[str]:
    """Without what differs from stream to stream."""
    return [re.sub(r'^(retry|id): .+|"cursor":"[^"]+"', r"\1 …", line) for line in lines]


def mode(server: ProjectServer) -> str:
    answer = httpx.get(f"{server.base_url}/sse/health", trust_env=False, verify=NO_TLS)
    said: str = answer.raise_for_status().json()["sse"]["mode"]
    return said


def logged_in(pages: Pages, base_url: str, path: str) -> Page:
    page = pages.open(f"{base_url}/admin/login/?next={path}")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"**{path}")
    return page


class Conversation:
    """The documents' pages of one who is logged in, by sse.js, by EventSource and by htmx, and
    another process of the project, in which somebody talks."""

    def __init__(self, pages: Pages, base_url: str, sender: Sender) -> None:
        self._told: list[str] = []
        self._sender = sender
        sender.do(SAY)
        sender.do("Message.objects.all().delete()")
        self.chat = logged_in(pages, base_url, "/chat/42/")
        self._pages = [self.chat]
        for name in ("plain", "board"):
            page = self.chat.context.new_page()
            page.goto(f"{base_url}/{name}/42/")
            self._pages.append(page)

    def say(self, what: str) -> None:
        """Five messages in the other process; committed when it returns."""
        texts = [f"{what} {number}" for number in range(5)]
        for text in texts:
            self._sender.do(f"say({text!r})")
        self._told += texts

    def heard(self) -> None:
        """Until every page shows what was told: each once, in order."""
        for page in self._pages:
            page.wait_for_function(SHOWN, arg=len(self._told))
            assert page.locator("li").all_inner_texts() == self._told, page.url


def test_first_page_is_a_project_that_delivers(first_project: Project, pages: Pages) -> None:
    first_project.manage("check")
    (sends,) = (
        each for each in blocks() if each.language == "sh" and "send_event" in each.text
    )
    with ProjectServer(first_project, "runserver") as server:
        page = logged_in(pages, server.base_url, "/rooms/42/")
        first_project.run(sends)
        page.get_by_text("hello").wait_for()

        cookies = {each["name"]: each["value"] for each in page.context.cookies()}
        shown = neutral(block_of("wire").text.splitlines())
        with (
            httpx.Client(cookies=cookies, trust_env=False, verify=NO_TLS, timeout=30) as client,
            client.stream("GET", f"{server.base_url}/events/42/") as stream,
        ):
            lines = stream.iter_lines()
            said = [next(lines) for _ in range(shown.index("") + 1)]
            first_project.run(sends)
            said += [next(lines) for _ in shown[len(said) :]]
        assert neutral(said) == shown

        page.evaluate(LISTEN % block_of("js").text)


def test_recipes_do_what_they_say(project: Project) -> None:
    shutil.copy(RECIPE_TESTS, project.directory / "chat" / "test_recipes.py")

    project.manage("check", "--fail-level", "WARNING")
    project.manage("test")


def test_nothing_is_lost_with_daphne_on_sqlite_without_redis(
    project: Project, pages: Pages
) -> None:
    with ProjectServer(project, "daphne") as server, Sender(project) as sender:
        conversation = Conversation(pages, server.base_url, sender)
        assert mode(server) == "memory"
        conversation.say("live")
        conversation.heard()
        server.kill()
        conversation.say("server killed")
        server.start()
        conversation.say("server back")
        conversation.heard()
        assert "Traceback" not in server.log_text()


def test_nothing_is_lost_with_uvicorn_on_postgresql_with_redis(
    first_project: Project,
    postgres_settings: dict[str, str],
    redis_server: RedisServer,
    tmp_path: Path,
    pages: Pages,
) -> None:
    variants = ("redis", "postgresql", "websockets")
    settings = postgres_settings | {"REDIS_URL": redis_server.url}
    project = first_project.copy(tmp_path / "project", variants=variants, **settings)
    populated(project.follow_others())
    with ProjectServer(project, "uvicorn") as server, Sender(project) as sender:
        conversation = Conversation(pages, server.base_url, sender)
        assert conversation.chat.evaluate(TYPE) == '"hello"'
        assert mode(server) == "redis"
        conversation.say("live")
        conversation.heard()
        server.kill()
        conversation.say("server killed")
        server.start()
        conversation.say("server back")
        redis_server.kill()
        conversation.say("Redis killed")
        conversation.heard()
        redis_server.start()
        conversation.say("Redis back")
        conversation.heard()


def test_wsgi_site_with_one_process_for_streams_behind_nginx(
    project: Project, pages: Pages
) -> None:
    with (
        ProjectServer(project, "daphne") as streams,
        ProjectServer(project, "wsgi") as site,
        DocumentedNginx({8000: streams.port, 8001: site.port}) as nginx,
    ):
        refused = httpx.get(f"{site.base_url}/events/42/", trust_env=False, verify=NO_TLS)
        assert refused.status_code == 501
        assert "sse.asgi" in refused.text

        page = logged_in(pages, nginx.base_url, "/chat/42/")
        page.get_by_role("textbox", name="Message").fill("sent by the site")
        page.get_by_role("textbox", name="Message").press("Enter")
        page.locator("li").get_by_text("sent by the site").wait_for()
