"""A local server that speaks OpenAI's chat completions, and misbehaves on request.

What it does is chosen by the last user message of each request:

    answer: one two three        these words, one chunk each
    hand off                     a call of hand_off_to_human, its arguments in pieces
    hand off badly               the same, the arguments cut off in mid-JSON
    hand off oddly, deeply       the same, with wrong types; with 5000 brackets
    say and hand off             two words, then the call
    other tool                   a call of a tool nobody offered
    status 500                   this HTTP status, each time
    status 500 once              this HTTP status the first time, an answer the second
    hang                         takes the request and sends nothing
    hang in the middle           two words, then nothing
    ping                         comments for ever, no chunk
    cut, cut at once             two words, or none, then the connection is closed
    unfinished                   two words, then an orderly end, without finish_reason
    slow                         twenty words, 0.05 s apart
    endless                      words for ever, none like another
    trickle                      the same, one every 0.2 s
    silent: empty, reasoning, no choices, blank
                                 chunks for ever without a word to show: their content empty,
                                 beside the content, missing, white space
    blank                        an answer of white space
    again                        one sentence for ever
    length                       two words, then finish_reason length
    at once: 1000                an answer of so many characters in one chunk
    halves                       an emoji, the halves of its surrogate pair in two chunks
    endless call                 arguments for hand_off_to_human for ever
    usage                        an answer, and chunks without choices around it
    filtered                     two words, then finish_reason content_filter
    empty                        finish_reason stop and no word
    error in the stream          two words, then an error object
    error at once                an error object instead of a chunk
    garbage                      an event that is not JSON
    odd, odd list                events that are JSON, but no chunks
    null delta                   two words, then a chunk whose delta is null
    html                         a page instead of a stream
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

ARGUMENTS = {
    "reason": "refund over the limit",
    "summary": "The customer wants 500 euros back.",
    "customer_message": "I am passing you on to a colleague.",
}


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def system_prompt(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def last_user_message(self) -> str:
        return str([m["content"] for m in self.body["messages"] if m["role"] == "user"][-1])


@dataclass
class OpenAIServer:
    """Listens on a free port of the loopback interface while `running`."""

    requests: list[Request] = field(default_factory=list)
    port: int = 0
    _asked: Counter[str] = field(default_factory=Counter)
    _open: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_until_asked(self, seconds: float = 5) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self.requests), seconds)

    def wait_until_idle(self, seconds: float = 5) -> bool:
        """Has every client gone, within this time?"""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, seconds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._changed:
            self._open += 1
        try:
            while request := await _read_request(reader):
                with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                answer = asyncio.create_task(self._answer(request, writer))
                gone = asyncio.create_task(reader.read(1))
                await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
                answer.cancel()
                gone.cancel()
                await asyncio.wait({answer, gone})
                # One request per connection: what follows an answer is the client's goodbye.
                return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        asked = request.last_user_message
        self._asked[asked] += 1
        if asked.startswith("status ") and not (
            asked.endswith("once") and self._asked[asked] > 1
        ):
            error = {"error": {"message": f"no, {request.headers['authorization']}"}}
            await _respond(writer, int(asked.split()[1]), "application/json", json.dumps(error))
        elif asked == "html":
            await _respond(writer, 200, "text/html", "<html><p>data: hello</p></html>")
        elif asked == "hang":
            await asyncio.sleep(3600)
        else:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            )
            async for event in _events(asked):
                if event is None:
                    await writer.drain()
                    transport = writer.transport
                    transport.abort() if asked == "cut at once" else transport.close()
                    return
                data = event.encode()
                # Cut anywhere, as networks do.
                for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                    writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                    await writer.drain()
                    await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")
            await writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.decode().strip().split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(request_line.split()[1], headers, json.loads(body))


async def _respond(
    writer: asyncio.StreamWriter, status: int, content_type: str, body: str
) -> None:
    writer.write(
        f"HTTP/1.1 {status} Status\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}".encode()
    )
    await writer.drain()


def _data(value: object) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _chunk(delta: dict[str, Any] | None, finish_reason: str | None = None) -> str:
    return _data(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1766400000,
            "model": "test",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }
    )


def _usage() -> str:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return _data(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1766400000,
            "model": "test",
            "choices": [],
            "usage": usage,
        }
    )


def _words(text: str) -> Iterator[str]:
    yield _chunk({"role": "assistant", "content": ""})
    for index, word in enumerate(text.split()):
        yield _chunk({"content": word if index == 0 else f" {word}"})


def _tool_call(name: str, arguments: str) -> Iterator[str]:
    def piece(**function: str) -> str:
        return _chunk({"tool_calls": [{"index": 0, "function": function}]})

    yield _chunk(
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }
            ]
        }
    )
    for start in range(0, len(arguments), 7):
        yield piece(arguments=arguments[start : start + 7])
    # A second call, which nobody has asked for.
    yield _chunk(
        {
            "tool_calls": [
                {"index": 1, "id": "call_2", "function": {"name": "x", "arguments": "{"}}
            ]
        }
    )


def _silence(kind: str) -> str:
    if kind == "no choices":
        return _usage()
    deltas: dict[str, dict[str, Any]] = {
        "empty": {"content": ""},
        "reasoning": {"reasoning_content": "Let me think."},
        "blank": {"content": " \n"},
    }
    return _chunk(deltas[kind])


async def _events(asked: str) -> AsyncIterator[str | None]:
    """The events of the stream; None closes the connection."""
    arguments = json.dumps(ARGUMENTS)
    done = "data: [DONE]\n\n"
    stop = _chunk({}, "stop")
    plain: dict[str, Callable[[], list[str | None]]] = {
        "hand off": lambda: [
            *_tool_call("hand_off_to_human", arguments),
            _chunk({}, "tool_calls"),
            done,
        ],
        "hand off badly": lambda: [
            *_tool_call("hand_off_to_human", arguments[:40]),
            _chunk({}, "tool_calls"),
            done,
        ],
        "hand off oddly": lambda: [
            *_tool_call("hand_off_to_human", '{"reason": 7, "summary": null, "more": []}'),
            _chunk({}, "stop"),
            done,
        ],
        "hand off deeply": lambda: [
            *_tool_call("hand_off_to_human", "[" * 5000),
            _chunk({}, "tool_calls"),
            done,
        ],
        "say and hand off": lambda: [
            *_words("One moment."),
            *_tool_call("hand_off_to_human", arguments),
            _chunk({}, "tool_calls"),
            done,
        ],
        "other tool": lambda: [
            *_tool_call("delete_everything", "{}"),
            _chunk({}, "tool_calls"),
            done,
        ],
        "cut": lambda: [*_words("two words"), None],
        "cut at once": lambda: [None],
        "unfinished": lambda: [*_words("two words")],
        "usage": lambda: [_usage(), *_words("two words"), stop, _usage(), done],
        "filtered": lambda: [*_words("two words"), _chunk({}, "content_filter"), done],
        "empty": lambda: [_chunk({"role": "assistant", "content": ""}), stop, done],
        "error in the stream": lambda: [
            *_words("two words"),
            _data({"error": {"message": "overloaded", "code": 503}}),
        ],
        "error at once": lambda: [_data({"error": {"message": "overloaded"}})],
        "garbage": lambda: ["data: {not json\n\n"],
        "odd": lambda: [_data({"choices": ["x"]})],
        "odd list": lambda: [_data([1, 2])],
        "blank": lambda: [_chunk({"content": " \n"}), _chunk({"content": "\t "}), stop, done],
        "length": lambda: [*_words("two words"), _chunk({}, "length"), done],
        "halves": lambda: [_chunk({"content": "\ud83e"}), _chunk({"content": "\udeb4"}), stop],
        "null delta": lambda: [*_words("two words"), _chunk(None, "stop"), done],
    }
    if asked in plain:
        for event in plain[asked]():
            yield event
    elif asked == "hang in the middle":
        for event in _words("two words"):
            yield event
        await asyncio.sleep(3600)
    elif asked == "ping":
        while True:
            yield ": ping\n\n"
            await asyncio.sleep(0.05)
    elif asked == "slow":
        for event in _words(" ".join(f"w{n}" for n in range(20))):
            yield event
            await asyncio.sleep(0.05)
        yield stop
        yield done
    elif asked in ("endless", "trickle"):
        for number in count():
            yield _chunk({"content": f"word{number} "})
            await asyncio.sleep(0.2 if asked == "trickle" else 0)
    elif asked.startswith("silent: "):
        silence = _silence(asked.removeprefix("silent: "))
        while True:
            yield silence
            await asyncio.sleep(0.02)
    elif asked == "again":
        while True:
            for event in _words("I can help you with your order."):
                yield event
            yield _chunk({"content": " "})
            await asyncio.sleep(0)
    elif asked.startswith("at once: "):
        numbers = " ".join(map(str, range(int(asked.removeprefix("at once: ")))))
        yield _chunk({"content": numbers[: int(asked.removeprefix("at once: "))]})
        yield stop
        yield done
    elif asked == "endless call":
        for event in _tool_call("hand_off_to_human", '{"reason": "'):
            yield event
        while True:
            function = {"arguments": "and so on " * 10}
            yield _chunk({"tool_calls": [{"index": 0, "function": function}]})
    else:
        for event in _words(asked.removeprefix("answer:") or "hello"):
            yield event
        yield stop
        yield done


@contextmanager
def running() -> Iterator[OpenAIServer]:
    """The server on a thread of its own; ends what it has open when the block ends."""
    server = OpenAIServer()
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def serve() -> None:
        listening = await asyncio.start_server(server._serve, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        started.set()
        await stopping.wait()
        listening.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(serve())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="openai-server", daemon=True)
    thread.start()
    try:
        if not started.wait(5):
            raise TimeoutError("the test server did not start")
        yield server
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
