"""What every benchmark needs around it."""

import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.harness.databases import Databases, PostgresDatabases, SqliteDatabases
from tests.harness.postgres import find_postgres

VENDORS = ("sqlite", "postgresql")
# No limit of the product stands in the way of a load.
UNLIMITED = {
    "SSE_MAX_STREAMS_PER_ADDRESS": "0",
    "SSE_MAX_STREAMS_PER_TARGET": "0",
    "RATE_LIMITS": "off",
}


@contextmanager
def databases(vendor: str) -> Iterator[Databases]:
    with tempfile.TemporaryDirectory(prefix="tests-bench-") as directory:
        if vendor == "sqlite":
            yield SqliteDatabases(Path(directory))
            return
        with find_postgres() as server:
            source = PostgresDatabases(Path(directory), server)
            try:
                yield source
            finally:
                source.drop_templates()


def raise_file_limit(wanted: int) -> None:
    """For this process and those it starts. Raises where the machine does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = hard if hard == resource.RLIM_INFINITY else max(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip(), flush=True)
