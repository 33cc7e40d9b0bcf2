"""`python -m tests.bench [NAME …]`: every benchmark, or those named."""

import argparse
import sys

from tests.bench import delivery, fanout, idle_streams, line

BENCHMARKS = {
    "idle_streams": idle_streams.main,
    "delivery": delivery.main,
    "fanout": fanout.main,
    "line": line.main,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Each benchmark has options of its own: python -m tests.bench.NAME --help",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    results = []
    for name in names:
        results.append(BENCHMARKS[name]([]))
        print(flush=True)
    return max(results)


if __name__ == "__main__":
    sys.exit(main())
