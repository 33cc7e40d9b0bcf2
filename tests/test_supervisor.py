"""Long-running work: one failure does not end it, and how it fares can be asked."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from sse.process import supervisor
from sse.process.supervisor import Pulse, Supervisor


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "LOOK_SECONDS", 0.02)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the state has no event to wait for
            await asyncio.sleep(0.005)


async def stop(kept: Supervisor) -> None:
    tasks = kept.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("ends_by", ["raising", "returning"])
def test_work_that_ends_is_started_again_and_counted(
    ends_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        runs = 0
        again = asyncio.Event()

        async def work(pulse: Pulse) -> None:
            nonlocal runs
            runs += 1
            if runs == 1:
                if ends_by == "raising":
                    raise ValueError("poison")
                return
            await again.wait()
            pulse()
            await asyncio.Event().wait()

        kept = Supervisor(asyncio.get_running_loop())
        kept.keep("answers", work)
        await until(lambda: runs == 2)
        # It has not shown yet that the restart helped.
        assert kept.ailing() == ["answers"]
        assert kept.ailing(vital_only=True) == []
        again.set()
        await until(lambda: not kept.ailing())
        assert list(kept.failures()) == [("answers", 1, True)]
        await stop(kept)

    with caplog.at_level(logging.ERROR, logger="sse.process.supervisor"):
        asyncio.run(scene())
    assert "answers" in caplog.text


def test_one_failing_work_leaves_the_others_alone() -> None:
    async def scene() -> None:
        rounds = 0

        async def poisoned(pulse: Pulse) -> None:
            raise ValueError("poison")

        async def healthy(pulse: Pulse) -> None:
            nonlocal rounds
            while True:
                pulse()
                rounds += 1
                await asyncio.sleep(0)

        kept = Supervisor(asyncio.get_running_loop())
        kept.keep("poisoned", poisoned)
        kept.keep("healthy", healthy, vital=True)
        await until(lambda: {n: c for n, c, _ in kept.failures()}["poisoned"] >= 3)
        before = rounds
        await until(lambda: rounds > before)
        assert kept.ailing() == ["poisoned"]
        assert kept.ailing(vital_only=True) == []
        await stop(kept)

    asyncio.run(scene())


def test_work_that_falls_silent_is_cancelled_and_started_again() -> None:
    async def scene() -> None:
        runs = 0

        async def work(pulse: Pulse) -> None:
            nonlocal runs
            runs += 1
            while runs > 1:
                pulse()
                await asyncio.sleep(0.01)
            await asyncio.Event().wait()

        kept = Supervisor(asyncio.get_running_loop())
        kept.keep("watch", work, vital=True, silence=0.1)
        await until(lambda: kept.ailing(vital_only=True) == ["watch"])
        await until(lambda: runs == 2 and not kept.ailing())
        await stop(kept)

    asyncio.run(scene())


def test_what_is_stopped_is_not_started_again() -> None:
    async def scene() -> None:
        runs = 0

        async def work(pulse: Pulse) -> None:
            nonlocal runs
            runs += 1
            await asyncio.Event().wait()

        kept = Supervisor(asyncio.get_running_loop())
        kept.keep("watch", work)
        await until(lambda: runs == 1)
        await stop(kept)
        assert kept.stop() == []
        assert runs == 1

    asyncio.run(scene())
