"""The AI's answers on the stream: shown, stopped, interrupted, lost and taken up again."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.harness import expect
from tests.harness.client import Agent, ApiError, Clients
from tests.harness.redis import RedisServer
from tests.harness.services import Services
from tests.harness.streams import EventStream


def shown(stream: EventStream) -> str:
    """The text of the deltas, checked to fit together."""
    text = ""
    for event in stream.events("reply_delta"):
        assert event.payload["offset"] == len(text)
        text += event.payload["text"]
    return text


def test_answer_is_streamed_and_then_stored(services: Services, clients: Clients) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)

    customer.send("slow: 12")

    answer = stream.wait_for(lambda e: e.type == "message" and e.payload["role"] == "assistant")
    started = stream.events("reply_started")[0]
    assert answer.payload["reply_id"] == started.payload["reply_id"]
    assert answer.payload["content"] == shown(stream)
    assert len(stream.events("reply_delta")) > 1
    assert customer.state()["messages"][-1] == answer.payload


def test_offline_ai_answers_from_the_knowledge_base_with_its_source(
    services: Services, clients: Clients
) -> None:
    service = services.start()
    customer = clients.customer(service, language="en")
    stream = customer.stream(after=customer.cursor)

    customer.send("How long does delivery take?")

    answer = stream.wait_for(lambda e: e.type == "message" and e.payload["role"] == "assistant")
    assert answer.payload["sources"][0]["url"].startswith("/help/")
    assert answer.payload["content"] == shown(stream)


def test_take_over_in_the_middle_of_an_answer_silences_the_ai(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server, AI_BACKEND="scripted")
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    stream = customer.stream(after=customer.cursor)
    customer.send("slow: 200")
    stream.wait_for_count("reply_delta", 3)

    agent.take_over(customer.session)
    stream.wait_for(expect.status("manual_live"))
    agent.send(customer.session, "I am here")
    # The backend would go on for ten seconds; two of the agent's lines later it has not.
    stream.wait_for(expect.message("I am here"))
    customer.send("good")
    stream.wait_for(expect.message("good"))

    types = [event.type for event in stream.events()]
    after = types[types.index("status_change") :]
    assert "reply_delta" not in after
    assert "reply_aborted" in types[: types.index("status_change")]
    partial = next(m for m in customer.state()["messages"] if m["role"] == "assistant")
    assert partial["status"] == "interrupted"
    assert partial["content"].startswith(shown(stream))


def test_many_take_overs_in_mid_answer_leave_not_one_later_delta(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server, AI_BACKEND="scripted")
    password = "a long passphrase"
    workbench.database.create_agent("erik", password, "--max-sessions", "12")
    agent = clients.agent(workbench, "erik", password)
    rounds = [clients.customer(chatbot) for _ in range(12)]
    streams = [customer.stream(after=customer.cursor) for customer in rounds]
    for customer in rounds:
        customer.send("slow: 100")

    for number, (customer, stream) in enumerate(zip(rounds, streams, strict=True)):
        stream.wait_for_count("reply_delta", 1 + number % 4)
        agent.take_over(customer.session)
    for customer, stream in zip(rounds, streams, strict=True):
        agent.send(customer.session, "here")
        stream.wait_for(expect.message("here"))
        types = [event.type for event in stream.events()]
        assert "reply_delta" not in types[types.index("status_change") :]


def test_of_twenty_agents_one_wins_and_the_others_learn_who(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chatbot, workbench = services.pair(redis_server)
    password = services.database.demo_password()
    services.database.manage(
        "shell",
        "-c",
        "from agent_workbench.accounts import create_agent\n"
        f"for n in range(20): create_agent(f'agent{{n}}', {password!r})",
    )
    agents = [clients.agent(workbench, f"agent{n}") for n in range(20)]
    customer = clients.customer(chatbot)
    customer.escalate()
    together = threading.Barrier(20)

    def take(agent: Agent) -> ApiError | str:
        together.wait(30)
        try:
            name: str = agent.take_over(customer.session)["agent"]["name"]
        except ApiError as error:
            return error
        return name

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(take, agents))

    winners = [result for result in results if isinstance(result, str)]
    losers = [result for result in results if isinstance(result, ApiError)]
    assert len(winners) == 1
    assert {(error.status, error.code) for error in losers} == {(409, "ALREADY_TAKEN")}
    assert {error.details["agent"]["name"] for error in losers} == set(winners)
    assert len(losers) == 19


def test_stop_keeps_what_was_shown(services: Services, clients: Clients) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    customer.send("slow: 200")
    stream.wait_for_count("reply_delta", 2)

    customer.stop()

    message = stream.wait_for(
        lambda e: e.type == "message" and e.payload["status"] == "interrupted"
    )
    assert message.payload["content"].startswith(shown(stream))
    assert stream.events("reply_aborted")[0].payload["reason"] == "stopped"
    customer.send("say: next")
    stream.wait_for(expect.reply("next"))


def test_what_is_asked_during_an_answer_is_answered_after_it_is_stopped(
    services: Services, clients: Clients
) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    assert customer.state()["awaiting_reply"] is False
    customer.send("first")
    customer.send("hang")
    stream.wait_for(lambda e: e.type == "reply_delta" and e.payload["text"] == "hanging")
    assert customer.state()["awaiting_reply"] is True

    customer.send("second")
    customer.send("say: third")
    customer.stop()
    stream.wait_for(expect.reply("third"))
    begun = len(stream.events("reply_started"))
    customer.send("silent")
    stream.wait_for_count("reply_started", begun + 1)
    assert customer.state()["awaiting_reply"] is True
    customer.stop()

    # Nothing was asked during this one: what comes next is what is asked next.
    assert customer.state()["awaiting_reply"] is False
    customer.send("say: fourth")
    stream.wait_for(expect.reply("fourth"))
    assert customer.state()["awaiting_reply"] is False
    messages = [event.payload for event in stream.events("message")]
    answers = [m["content"] for m in messages if m["role"] == "assistant"]
    assert answers[-3:] == ["hanging", "third", "fourth"]


def test_what_is_asked_during_an_answer_is_answered_after_it(
    services: Services, clients: Clients
) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)

    customer.send("slow: 20")
    stream.wait_for("reply_delta")
    customer.send("say: second answer")

    stream.wait_for(expect.reply("second answer"))
    roles = [event.payload["role"] for event in stream.events("message")]
    assert roles == ["user", "user", "assistant", "assistant"]


def test_turn_of_a_killed_process_is_taken_up_by_another(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    soon = {"ai_chatbot.turns.LEASE": 2, "ai_chatbot.replies.SWEEP_SECONDS": 0.2}
    first = services.start(
        "ai_chatbot", redis=redis_server, constants=soon, AI_BACKEND="scripted"
    )
    customer = clients.customer(first)
    stream = customer.stream(after=customer.cursor)
    customer.send("slow: 60")
    stream.wait_for_count("reply_delta", 3)

    first.kill()
    second = services.start(
        "ai_chatbot", redis=redis_server, constants=soon, AI_BACKEND="scripted"
    )
    elsewhere = EventStream(
        f"{second.api_url}{customer.path('/events')}",
        params={"token": customer.token},
        last_event_id=customer.cursor,
    )
    try:
        interrupted = elsewhere.wait_for(
            lambda e: e.type == "message" and e.payload["status"] == "interrupted", timeout=30
        )
        again = elsewhere.wait_for(
            lambda e: (
                e.type == "message"
                and e.payload["role"] == "assistant"
                and e.payload["status"] == "complete"
            ),
            timeout=30,
        )
    finally:
        elsewhere.close()
    assert interrupted.payload["content"].startswith(shown(stream))
    assert again.payload["content"].split()[-1] == "w60"


def test_failing_ai_apologises_and_then_fetches_a_person(
    services: Services, clients: Clients
) -> None:
    service = services.start(AI_BACKEND="scripted")
    clients.agent(service)
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)

    customer.send("fail: timeout")
    stream.wait_for(lambda e: e.type == "message" and e.payload["role"] == "system")
    assert customer.state()["status"] == "bot_active"
    customer.send("cut: some words")

    change = stream.wait_for(expect.status("pending_manual"))
    assert change.payload["reason"] == "reply_failed"
    kept = [m for m in customer.state()["messages"] if m["role"] == "assistant"]
    assert [(m["content"], m["status"]) for m in kept] == [("some words", "interrupted")]


def test_asking_for_a_person_in_words_hands_over(services: Services, clients: Clients) -> None:
    service = services.start()
    clients.agent(service)
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)

    customer.send("I want to talk to a human")

    change = stream.wait_for(expect.status("pending_manual"))
    assert change.payload["reason"] == "rule"
    assert customer.state()["messages"][-1]["role"] == "system"


def test_hand_off_by_the_model_leaves_its_last_words(
    services: Services, clients: Clients
) -> None:
    service = services.start(AI_BACKEND="scripted")
    agent = clients.agent(service)
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)

    customer.send("handoff: refund over the limit")

    change = stream.wait_for(expect.status("pending_manual"))
    assert change.payload["reason"] == "ai"
    assert agent.call("GET", f"/sessions/{customer.session}")["reason"] == (
        "refund over the limit"
    )
    seen = json.dumps([event.payload for event in stream.received] + [customer.state()])
    assert "Scripted:" not in seen


def test_state_shows_an_answer_in_progress(services: Services, clients: Clients) -> None:
    service = services.start(AI_BACKEND="scripted")
    customer = clients.customer(service)
    stream = customer.stream(after=customer.cursor)
    customer.send("slow: 100")
    stream.wait_for_count("reply_delta", 2)

    reply = customer.state()["reply"]

    assert reply["reply_id"] == stream.events("reply_started")[0].payload["reply_id"]
    assert reply["text"].startswith("w1 w2")
    customer.stop()
    assert customer.state()["reply"] is None
