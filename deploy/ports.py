"""Whether the ports that a make target is about to serve on are free: else one line, and 1.

    python deploy/ports.py run PORT=8000

Each port by the name with which a caller chooses another. Needs nothing but Python.
"""

import errno
import socket
import sys

HOST = "127.0.0.1"
TRIED = 100


def trouble(port: str) -> str:
    """Why no server could listen there, "" if one could."""
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        return "is no port"
    with socket.socket() as probe:
        # As servers do: connections that have ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(port)))
            probe.listen()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return "is taken" if taken else f"cannot be used ({error.strerror})"
    return ""


def another(ports: list[str], port: str) -> str:
    """A free port after this one that is none of the others."""
    first = int(port) + 1 if port.isdigit() else 8000
    for candidate in map(str, range(max(first, 1024), min(first + TRIED, 65536))):
        if candidate not in ports and not trouble(candidate):
            return candidate
    return "…"


def main() -> int:
    target, *chosen = sys.argv[1:]
    named = dict(choice.split("=", 1) for choice in chosen)
    ports = list(named.values())
    for number, (name, port) in enumerate(named.items()):
        why = "is wanted twice" if port in ports[:number] else trouble(port)
        if why:
            sys.stderr.write(
                f"Port {port} {why}. Choose another: {name}={another(ports, port)} "
                f"make {target}\n"
            )
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
