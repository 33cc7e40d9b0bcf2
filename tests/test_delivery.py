"""Two processes and a Redis that is killed, frozen and restarted under them."""

import time

import pytest

from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.redis import RedisServer
from tests.harness.services import Services


def test_escalation_reaches_an_agent_in_another_process(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server)
    agent, customer = clients.agent(workbench), clients.customer(chatbot, nickname="Zoë")
    stream = agent.stream()
    stream.wait_for("connected")

    began = time.monotonic()
    customer.escalate("my lamp is broken")

    change = stream.wait_for("status_change")
    update = stream.wait_for("queue_update")
    assert change.payload == {
        "session_name": customer.session,
        "status": "pending_manual",
        "previous": "bot_active",
        "reason": "requested",
        "agent": None,
    }
    assert update.payload["change"] == "added"
    assert update.payload["session"]["session_name"] == customer.session
    assert update.payload["session"]["nickname"] == "Zoë"
    assert update.payload["session"]["reason"] == "my lamp is broken"
    assert stream.types()[:2] == ["status_change", "queue_update"]
    # The user's bar, with the request itself counted in; `make bench` measures the real time.
    assert update.arrived - began < 1


def test_conversation_across_processes_is_the_same_on_both_sides(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server, AI_BACKEND="scripted")
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    customers = customer.stream(after=customer.cursor)
    agents = agent.stream(watch=customer.session)
    agents.wait_for("connected")

    customer.send("say: our lamps are warm")
    customers.wait_for(expect.reply("our lamps are warm"))
    customer.escalate()
    agents.wait_for("queue_update")
    agent.take_over(customer.session)
    agent.send(customer.session, "hello, Alice here")
    customer.send("hi Alice")
    agent.release(customer.session)
    customer.send("say: back again")
    customers.wait_for(expect.reply("back again"))
    customer.close()

    customers.wait_for(expect.status("closed"))
    # Once as the session's event and once as the queue's.
    agents.wait_for_count(expect.status("closed"), 2)
    assert expect.statuses(customers) == [
        "pending_manual",
        "manual_live",
        "bot_active",
        "closed",
    ]
    assert expect.contents(agents) == expect.contents(customers)
    stored = [message["content"] for message in customer.state()["messages"]]
    assert expect.contents(customers) == stored


def test_escalation_arrives_at_both_processes_while_redis_is_dead(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server)
    for service in (chatbot, workbench):
        service.wait_for_mode("redis")
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    agents, customers = agent.stream(), customer.stream(after=customer.cursor)
    agents.wait_for("connected")
    customers.wait_for("connected")

    redis_server.kill()
    customer.escalate("no redis")

    agents.wait_for("queue_update")
    customers.wait_for(expect.status("pending_manual"))
    for service in (chatbot, workbench):
        service.wait_for_mode("degraded")
        assert service.health()["status"] == "degraded"
    agent.take_over(customer.session)
    agent.send(customer.session, "without redis")
    customers.wait_for(expect.message("without redis"))

    redis_server.restart()
    for service in (chatbot, workbench):
        service.wait_for_mode("redis")
        service.wait_for_log(r"Redis is back after")
        assert service.log_text().count("Redis is away") == 1
        assert service.health()["status"] == "ok"
    customer.send("redis is back")
    agent.send(customer.session, "so it is")
    customers.wait_for(expect.message("so it is"))
    agents.wait_for_count("queue_update", 5)

    stored = [message["content"] for message in customer.state()["messages"]]
    assert expect.contents(customers) == stored
    expect.assert_each_once(customers)
    expect.assert_each_once(agents)


def test_service_starts_and_serves_without_redis(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    redis_server.kill()
    chatbot, workbench = services.pair(redis_server)
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    stream = agent.stream()
    stream.wait_for("connected")

    customer.escalate()

    stream.wait_for("queue_update")
    chatbot.wait_for_mode("degraded")
    assert chatbot.log_text().count("Redis is away") == 1
    redis_server.restart()
    chatbot.wait_for_mode("redis")
    workbench.wait_for_mode("redis")


def test_agent_stream_goes_on_after_the_other_process_restarted(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server)
    agent = clients.agent(workbench)
    stream = agent.stream()
    first = clients.customer(chatbot)
    first.escalate()
    stream.wait_for(expect.queued(first.session))

    chatbot.restart()
    second = clients.customer(chatbot)
    second.escalate()

    stream.wait_for(expect.queued(second.session))
    expect.assert_each_once(stream)


def test_stream_resumes_where_a_killed_process_left_it(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server)
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    customer.escalate()
    agent.take_over(customer.session)
    stream = customer.stream(after=customer.cursor)
    agent.send(customer.session, "before")
    stream.wait_for(expect.message("before"))

    chatbot.kill()
    agent.send(customer.session, "meanwhile 1")
    agent.send(customer.session, "meanwhile 2")
    chatbot.start()
    stream.reconnect()
    agent.send(customer.session, "after")

    stream.wait_for(expect.message("after"))
    assert expect.contents(stream)[-4:] == ["before", "meanwhile 1", "meanwhile 2", "after"]
    expect.assert_each_once(stream)


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_an_outage_costs_a_sender_no_time(
    services: Services, redis_server: RedisServer, clients: Clients, outage: str
) -> None:
    chatbot, workbench = services.pair(redis_server)
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    customer.escalate()
    agent.take_over(customer.session)
    stream = customer.stream()
    stream.wait_for("connected")
    if outage == "killed":
        redis_server.kill()
    else:
        redis_server.freeze()

    for number in range(10):
        agent.send(customer.session, f"line {number}")

    stream.wait_for(expect.message("line 9"))
    workbench.wait_for_mode("degraded")
    if outage == "killed":
        redis_server.restart()
    else:
        redis_server.thaw()
    workbench.wait_for_mode("redis")
    chatbot.wait_for_mode("redis")
    assert expect.contents(stream) == [f"line {number}" for number in range(10)]


def test_one_process_serves_both_products_without_redis(
    services: Services, clients: Clients
) -> None:
    service = services.start()
    agent, customer = clients.agent(service), clients.customer(service)
    stream = agent.stream(watch=customer.session)
    stream.wait_for("connected")

    customer.escalate()

    stream.wait_for("queue_update")
    assert service.health()["sse"]["mode"] == "memory"


def test_two_processes_go_on_with_redis_switched_off(
    services: Services, clients: Clients
) -> None:
    chatbot, workbench = services.start("ai_chatbot"), services.start("agent_workbench")
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    stream = agent.stream()
    stream.wait_for("connected")

    customer.escalate()

    stream.wait_for(expect.queued(customer.session))
    assert chatbot.health()["status"] == "ok"


def test_targets_are_spread_over_several_redis_servers(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    with RedisServer() as second:
        urls = f"{redis_server.url},{second.url}"
        chatbot, workbench = services.pair(urls, REDIS_PREFIX="another")
        password = "a long passphrase"
        workbench.database.create_agent("erik", password, "--max-sessions", "20")
        agent = clients.agent(workbench, "erik", password)
        customers = [clients.customer(chatbot) for _ in range(20)]
        streams = [customer.stream(after=customer.cursor) for customer in customers]
        for customer in customers:
            agent.take_over(customer.session)
        for stream in streams:
            stream.wait_for(expect.status("manual_live"))

        groups = [
            server.client().pubsub_channels("another__group__sse.*")
            for server in (redis_server, second)
        ]
        assert all(groups)
        assert sum(map(len, groups)) == 16
        second.kill()
        chatbot.wait_for_mode("degraded")
        workbench.wait_for_mode("degraded")
        for customer, stream in zip(customers, streams, strict=True):
            agent.send(customer.session, "one of two is gone")
            stream.wait_for(expect.message("one of two is gone"))
        second.restart()
        chatbot.wait_for_mode("redis")
