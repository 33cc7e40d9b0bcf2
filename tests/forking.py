"""A process that sends, forks, and sends in its children and again itself, as task queues and
servers that load the project before they fork do.

`python -m tests.forking TARGET`. Standard output: how each child ended, and how many threads
the process then has.
"""

import json
import os
import signal
import sys
import threading
import time

import django

django.setup()

from django.db import connections  # noqa: E402 - Django must be set up first

from sse import send_event  # noqa: E402
from sse.live import hub  # noqa: E402
from sse.process import runtime  # noqa: E402

target = sys.argv[1]


def send(number: int) -> None:
    send_event(target, "numbered", {"n": number})


def fork(numbers: list[int]) -> int:
    """How a child ended that sent these."""
    connections.close_all()
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with runtime._lock, hub._lock:
            held.set()
            forked.wait()

    # A thread that is not there in the child may have them at the moment.
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        # Ends it where it hangs.
        signal.alarm(30)
        for number in numbers:
            send(number)
        sys.exit(0)
    forked.set()
    holder.join()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


send(0)
ended = [fork([1, 2]), fork([3])]
# What the parent has yet to give to the layer is not for a child to wait for.
hub.get_hub().loop.call_soon_threadsafe(time.sleep, 0.5)
send(4)
ended.append(fork([]))
for number in range(5, 55):
    send(number)
print(json.dumps({"ended": ended, "threads": threading.active_count()}))  # noqa: T201 - asked for
