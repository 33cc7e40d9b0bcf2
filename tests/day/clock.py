"""The day's time: seconds since it began, which pass faster than those of the wall."""

import asyncio
import time
from dataclasses import dataclass, field

MINUTE, HOUR = 60.0, 3600.0


@dataclass
class Clock:
    speed: float
    # Unix seconds at which the day begins.
    began: float = field(default_factory=time.time)

    def now(self) -> float:
        return (time.time() - self.began) * self.speed

    def wall(self, seconds: float) -> float:
        """The Unix time at which the day is so old."""
        return self.began + seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    async def until(self, seconds: float) -> None:
        await self.sleep(max(0.0, seconds - self.now()))
