"""`python -m tests.chaos [--scenario NAME …] [--seed N] [--streams 100] [--rate 20] …`

Streams over two processes and a steady flow of messages, while things fail. Ends with 0 only
if every stream of every scenario got every accepted message once and in order.
"""

import argparse
import random
import sys

from tests.bench.peers import VENDORS, databases, print_table
from tests.chaos.run import Load, Outcome, run
from tests.chaos.scenarios import SCENARIOS

LONGEST = 600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument(
        "--scenario",
        nargs="+",
        choices=SCENARIOS,
        default=list(SCENARIOS),
        metavar="NAME",
        help="of: " + ", ".join(SCENARIOS),
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second")
    parser.add_argument("--vendor", choices=VENDORS, default="sqlite")
    parser.add_argument("--server", choices=("daphne", "uvicorn"), default="daphne")
    options = parser.parse_args()

    say(
        f"seed {options.seed}, {options.streams} streams, {options.rate:g} messages a second, "
        f"{options.vendor}, {options.server}"
    )
    outcomes = []
    load = Load(options.streams, options.rate)
    with databases(options.vendor) as source:
        for name in options.scenario:
            scenario = SCENARIOS[name]
            if options.vendor not in scenario.stage.vendors:
                say(f"{name}: does not apply: {scenario.stage.why_not}")
                continue
            with source.demo() as database:
                outcome = run(
                    name,
                    scenario.act,
                    database,
                    load=load,
                    seed=options.seed,
                    server=options.server,
                    stage=scenario.stage,
                )
            outcomes.append(outcome)
            notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
            failures = "; ".join(_brief(each) for each in outcome.failures)
            say(f"{name}: {failures or 'ok'}{notes}")
    print_table(Outcome.HEAD, [outcome.row for outcome in outcomes])
    return int(any(outcome.failures for outcome in outcomes))


def _brief(failure: str) -> str:
    # A log's excerpt, most of it.
    return failure if len(failure) < LONGEST else f"{failure[:LONGEST]}…"


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a command has to say


if __name__ == "__main__":
    sys.exit(main())
