"""A port for a program that has to be told one, as workbench/probe/src/port.rs reserves it."""

import random
import socket

TRIES = 1000


def reserve():
    """Returns a port, and a socket that reserves it, for callers of this function, until it is closed."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = map(int, file.read().split())
    for tries in range(TRIES):
        port = random.randrange(10_000, 65_536)
        # The system gives these to others. Where it gives nearly all of them, one is better than none.
        if first <= port <= last and tries < TRIES // 2:
            continue
        twin = socket.socket(type=socket.SOCK_DGRAM)
        try:
            twin.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("0.0.0.0", port))
            return port, twin
        except OSError:
            twin.close()
    raise OSError("no free port found")
