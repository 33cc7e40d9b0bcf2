"""Where a promise does not hold, and why: docs/sse says the same."""

# By server and promise.
KNOWN: dict[tuple[str, str], str] = {}
