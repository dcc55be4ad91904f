"""python .ci/free_ports.py NAME …: ends with 1 if a port named in the environment is taken, and says how to choose another."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator


def main(names: list[str]) -> str | None:
    ports = {name: int(os.environ[name]) for name in names}
    taken = [name for name, port in ports.items() if not _is_free(port)]
    if not taken:
        return None
    numbers = " and ".join(str(ports[name]) for name in taken)
    verb, choice = ("is", "another") if len(taken) == 1 else ("are", "others")
    return f"Port {numbers} {verb} taken by another program. Choose {choice}: {' '.join(_proposals(ports, taken))} make demo"


def _proposals(ports: dict[str, int], taken: list[str]) -> Iterator[str]:
    """A free port for each name, the next after its own, and no port twice."""
    avoid = set(ports.values())
    for name in taken:
        port = next(port for port in range(ports[name] + 1, 65536) if port not in avoid and _is_free(port))
        avoid.add(port)
        yield f"{name}={port}"


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
