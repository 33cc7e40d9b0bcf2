"""Awaitables that are begun by hand and finished by a task, as those are that a task runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sse.streams.steps import Stepped

pytestmark = pytest.mark.database_independent

Future = asyncio.Future[Any]


class Script:
    """Waits for its futures in turn; `said` is what it met."""

    def __init__(self, *futures: Future, stubborn: int = 0) -> None:
        self.futures = futures
        self.stubborn = stubborn
        self.said: list[Any] = []

    async def play(self) -> None:
        try:
            for future in self.futures:
                try:
                    self.said.append(await future)
                except (asyncio.CancelledError, KeyError) as error:
                    self.said.append(type(error).__name__)
                    self.stubborn -= 1
                    if self.stubborn < 0:
                        raise
        finally:
            self.said.append("end")


def played(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 10))


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_never_waits_needs_no_task() -> None:
    async def scene() -> None:
        script = Script()
        assert Stepped(script.play()).run()
        assert script.said == ["end"]

    played(scene)


def test_what_fails_at_once_fails_there() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        with pytest.raises(ZeroDivisionError):
            Stepped(fails()).run()

    played(scene)


def test_the_rest_waits_as_often_as_it_has_to() -> None:
    async def scene() -> None:
        first, second = Future(), Future()
        script = Script(first, second)
        stepped = Stepped(script.play())
        assert not stepped.run()
        rest = asyncio.create_task(stepped.rest())
        await turn()
        assert not script.said
        first.set_result(1)
        await turn()
        assert script.said == [1]
        second.set_result(2)
        await rest
        assert script.said == [1, 2, "end"]

    played(scene)


def test_what_came_true_before_the_task_began_is_not_missed() -> None:
    async def scene() -> None:
        future = Future()
        script = Script(future)
        stepped = Stepped(script.play())
        assert not stepped.run()
        future.set_result(1)
        await stepped.rest()
        assert script.said == [1, "end"]

    played(scene)


def test_what_a_wait_raises_is_raised_where_it_is_awaited() -> None:
    async def scene() -> None:
        first, second = Future(), Future()
        handled = Script(first, second, stubborn=1)
        stepped = Stepped(handled.play())
        assert not stepped.run()
        rest = asyncio.create_task(stepped.rest())
        first.set_exception(KeyError("first"))
        await turn()
        assert handled.said == ["KeyError"]
        second.set_result(2)
        await rest
        assert handled.said == ["KeyError", 2, "end"]

        third = Future()
        stepped = Stepped(Script(third).play())
        assert not stepped.run()
        third.set_exception(KeyError("third"))
        with pytest.raises(KeyError, match="third"):
            await stepped.rest()

    played(scene)


@pytest.mark.parametrize("stubborn", [0, 1, 2])
def test_each_cancellation_reaches_it(stubborn: int) -> None:
    """Whether it gives in at once or waits for something else first."""

    async def scene() -> None:
        futures = [Future() for _ in range(stubborn + 1)]
        script = Script(*futures, stubborn=stubborn)
        stepped = Stepped(script.play())
        assert not stepped.run()
        rest = asyncio.create_task(stepped.rest())
        for met in range(stubborn + 1):
            await turn()
            assert script.said == ["CancelledError"] * met
            assert not rest.done()
            rest.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rest
        assert script.said == ["CancelledError"] * (stubborn + 1) + ["end"]

    played(scene)


def test_a_cancellation_that_is_swallowed_ends_it_well() -> None:
    async def swallows(future: Future) -> None:
        try:
            await future
        except asyncio.CancelledError:
            return

    async def scene() -> None:
        stepped = Stepped(swallows(Future()))
        assert not stepped.run()
        rest = asyncio.create_task(stepped.rest())
        await turn()
        rest.cancel()
        await rest

    played(scene)
