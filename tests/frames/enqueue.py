"""A publisher in a process of its own, with the settings of the service that is read.

`python -m tests.frames.enqueue`. Standard input: one JSON `{"target": …, "event": …}` a line.
Standard output: the event's cursor, a line each, once it is stored.
"""

import json
import sys

import django

django.setup()

from sse import enqueue_sse_message_sync  # noqa: E402 - Django must be set up first

for line in sys.stdin:
    asked = json.loads(line)
    cursor = enqueue_sse_message_sync(asked["target"], asked["event"])
    sys.stdout.write(f"{cursor}\n")
    sys.stdout.flush()
