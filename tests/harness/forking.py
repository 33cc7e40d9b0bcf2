"""A Python with the libraries loaded, out of which others are forked (nursery.py).

    python -I forking.py SOCKET

Each connection brings one program as a line of JSON, is told its process id, and in the end its
exit status, negative when a signal ended it. Nothing of the project is loaded here, and no
settings: a program reads both for itself. Started by path.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import warnings
from typing import Any

# Two thirds of what a process of this project computes before it serves. Left out is what reads
# settings when it is imported (ninja, django.contrib's models) or makes a reactor.
LIBRARIES = (
    "asyncio",
    "sqlite3",
    "logging.config",
    "concurrent.futures.thread",
    "zoneinfo",
    "xml.etree.ElementTree",
    "django.core.management",
    "django.core.handlers.asgi",
    "django.core.serializers.json",
    "django.core.servers.basehttp",
    "django.core.mail",
    "django.db.migrations.executor",
    "django.forms",
    "django.test.client",
    "django.views.generic",
    "django.contrib.auth.hashers",
    "django.contrib.staticfiles.finders",
    "django.db.backends.sqlite3.base",
    "django.db.backends.postgresql.base",
    "django.template.backends.django",
    "django.utils.translation.trans_real",
    "django.middleware.csrf",
    "autobahn.twisted.websocket",
    "twisted.internet.asyncioreactor",
    "twisted.internet.endpoints",
    "twisted.internet.ssl",
    "twisted.web.server",
    "channels.routing",
    "channels.layers",
    "channels_redis.pubsub",
    "redis.asyncio",
    "pydantic",
    "psycopg",
    "prometheus_client",
    "whitenoise.middleware",
    "environ",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
    "openai",
    "numpy",
    "bm25s",
    "httpx",
)
_PR_SET_PDEATHSIG = 1


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LIBRARIES:
            importlib.import_module(name)
    # What is never looked at by the collector stays shared.
    gc.freeze()
    run(serve(sys.argv[1]))


def serve(path: str) -> dict[str, Any]:
    """Returns in each child, with the program that it is to be; ends with a signal."""
    selector = selectors.DefaultSelector()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    selector.register(listener, selectors.EVENT_READ)
    waiting: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                request = _line(connection)
                pid = os.fork()
                if pid == 0:
                    for end, peer in waiting.values():
                        os.close(end)
                        peer.close()
                    for each in (connection, listener, selector):
                        each.close()
                    return json.loads(request)
                end = os.pidfd_open(pid)
                waiting[pid] = (end, connection)
                selector.register(end, selectors.EVENT_READ, pid)
                _tell(connection, pid)
            else:
                pid = key.data
                end, connection = waiting.pop(pid)
                _tell(connection, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                selector.unregister(end)
                os.close(end)
                connection.close()


def _line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as reader:
        return reader.readline()


def _tell(connection: socket.socket, number: int) -> None:
    # Who asked may be gone.
    with contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % number)


def run(program: dict[str, Any]) -> None:
    """What `python ARGV` does, with this environment, directory and output."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, program["orphan_signal"])
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(program["env"])
    os.chdir(program["cwd"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for path, descriptor in ((program["stdout"], 1), (program["stderr"], 2)):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdout.reconfigure(write_through=unbuffered, line_buffering=unbuffered)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path.insert(0, program["cwd"])
    argv = program["argv"]
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
