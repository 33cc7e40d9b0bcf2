"""What goes wrong where the AI answers: questions are asked all the time, and told apart by
whether the backend (tests.chaos.backend) can answer them."""

import itertools
import time

from tests.chaos.traffic import Question
from tests.chaos.world import World
from tests.harness.waiting import wait_until

ASKED_EVERY_SECONDS = 0.5
# For a turn left by a process that died the lease has to run out first.
ANSWERED_SECONDS = 40.0


def poisoned(seconds: float, world: World) -> None:
    """Answers that no event can carry. Whoever finds them left has to get past them."""
    for text in ("long", "long source"):
        world.traffic.ask(text, answerable=False)
    _ask_on(seconds, world)
    world.note_recovery()
    wait_done(world)


def silent(seconds: float, world: World) -> None:
    """More turns than the AI answers at once get nothing, or never an end."""
    for text, _ in zip(itertools.cycle(("empty", "endless", "hang")), range(18), strict=False):
        world.traffic.ask(text, answerable=False)
    _ask_on(seconds, world)
    wait_done(world)
    world.note_recovery()


def _ask_on(seconds: float, world: World) -> None:
    until = time.monotonic() + seconds
    for number in itertools.count():
        world.traffic.ask(f"question {number}")
        time.sleep(ASKED_EVERY_SECONDS)
        if time.monotonic() > until:
            return


def wait_done(world: World) -> None:
    """Until every question that can be answered is, and the others are told something."""
    questions = world.traffic.questions
    answerable = [each for each in questions if each.answerable]

    def left() -> list[Question]:
        return [each for each in questions if not each.done]

    try:
        wait_until(lambda: not left(), timeout=ANSWERED_SECONDS, what="an end of each wait")
    except TimeoutError:
        world.troubles.append(f"still waiting: {sorted({each.text for each in left()})[:5]}")
    if not answerable:
        return
    answered = sum(each.done for each in answerable)
    world.notes.append(f"{answered} of {len(answerable)} good questions were answered")
