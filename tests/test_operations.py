"""What operators look at: metrics, readiness, the event log's commands."""

import json
import re
import subprocess
import sys

import httpx
import pytest

from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.environment import ROOT
from tests.harness.services import Services
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.database_independent


def test_metrics_follow_what_streams_do(services: Services, clients: Clients) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    before = service.metric("sse_delivered_total")
    stream = customer.stream(after=customer.cursor)
    customer.send("say: hello")
    stream.wait_for(expect.reply("hello"))

    assert service.metric("sse_open_streams") == 1
    assert service.metric("sse_delivered_total") > before
    assert service.metric("sse_delivered_directly_total") > 0
    assert service.metric("sse_published_total") >= 3
    assert service.metric("sse_publish_to_write_seconds_count") >= 3
    assert service.metric("sse_breaker_open") == 0

    stream.close()
    wait_until(lambda: service.metric("sse_open_streams") == 0, what="the stream to be gone")
    again = customer.stream(after=customer.cursor)
    again.wait_for(expect.reply("hello"))
    bad = customer.open_stream(customer.path("/events"), params={"last_event_id": "nonsense"})
    bad.wait_for("reset")
    assert service.metric("sse_resets_total") == 1
    for name in (
        "sse_gaps_filled_total", "sse_degraded_seconds_total", "sse_slow_cut_total",
        "sse_revoked_total", "sse_outbox_high_water", "sse_hub_loop_lag_seconds_count",
        "sse_replayed_total", "sse_pages_read_total",
    ):  # fmt: skip
        assert service.metric(name) >= 0


def test_health_is_for_whoever_asks_by_whatever_name(services: Services) -> None:
    """As documented: https and a real host name for people, 127.0.0.1 for those who watch."""
    service = services.start(HTTPS="true", ALLOWED_HOSTS="support.example.com")
    paths = [
        f"/{prefix}/{name}"
        for prefix in ("api", "workbench-api")
        for name in ("health", "livez", "readyz")
    ]
    with httpx.Client(base_url=service.base_url, trust_env=False, verify=NO_TLS) as http:
        for host in ("support.example.com", f"127.0.0.1:{service.port}", "anything"):
            for path in (*paths, "/metrics"):
                answer = http.get(path, headers={"Host": host})
                assert answer.status_code == 200, path
                head = http.head(path, headers={"Host": host})
                assert (head.status_code, head.content) == (200, b"")
                assert head.headers["content-type"] == answer.headers["content-type"]
        for path in (*paths, "/metrics"):
            refused = http.post(path)
            assert refused.status_code == 405
            assert refused.headers["allow"] == "GET, HEAD"
            assert refused.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
        health = http.get("/api/health").json()
        assert http.get("/api/config").status_code in (301, 400)
    assert (health["status"], health["database"], health["work"]) == ("ok", "ok", [])
    assert health["sse"]["mode"] == "memory"
    assert health["database_beat_seconds"] >= 0


@pytest.mark.every_database
def test_tail_events_prints_a_target_as_it_comes(services: Services, clients: Clients) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    customer.send("say: one")
    stream.wait_for(expect.reply("one"))

    tail = subprocess.Popen(
        [
            sys.executable, "manage.py", "tail_events", customer.session,
            "--after", customer.cursor, "--count", "5",
        ],
        cwd=ROOT,
        env=services.database.environment(USE_REDIS_SSE="false"),
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    customer.send("say: two")
    out, _ = tail.communicate(timeout=30)

    events = [json.loads(line) for line in out.splitlines()]
    assert tail.returncode == 0
    assert [event["type"] for event in events][:4] == [
        "message",
        "reply_started",
        "message",
        "message",
    ]
    assert events[3]["payload"]["content"] == "say: two"


@pytest.mark.every_database
def test_pruned_events_leave_a_connected_stream_alone_and_reset_a_late_one(
    services: Services, clients: Clients
) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    customer.send("say: before")
    stream.wait_for(expect.reply("before"))

    printed = services.database.manage("prune_events", "--hours", "0")

    assert re.match(r"[1-9]\d* events were deleted", printed)
    customer.send("say: after")
    stream.wait_for(expect.reply("after"))
    assert not stream.events("reset")
    late = customer.stream(after=customer.cursor)
    late.wait_for("reset")
    assert [message["content"] for message in customer.state()["messages"]][-1] == "after"
