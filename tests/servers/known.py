"""Where a promise does not hold, and why."""

_HIDDEN = (
    "the server hides its connections, so that the kernel cannot be told how long to wait for "
    "a client whose network is lost without a word: it gives up by its own defaults, after a "
    "quarter of an hour, and until then the stream counts as open"
)

# By server and promise.
KNOWN: dict[tuple[str, str], str] = {
    (server, "gone"): _HIDDEN for server in ("hypercorn", "hypercorn-alone", "granian")
}
