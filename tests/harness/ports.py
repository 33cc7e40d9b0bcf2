"""Free loopback ports."""

import random
import socket

# Below the range that the kernel takes a client's own port from (32768 and up on Linux): the
# port of a server that is about to start, or to start again, is not lost to a connection.
_FIRST, _LAST = 20_000, 32_000
_given_out: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on; given out once in the life of this process."""
    for _ in range(200):
        port = random.randint(_FIRST, _LAST)
        if port in _given_out:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_out.add(port)
        return port
    raise RuntimeError(f"no free port found between {_FIRST} and {_LAST}")
