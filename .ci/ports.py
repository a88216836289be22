"""A port for a program that has to be told one, as workbench/src/port.rs reserves it."""

import random
import socket


def reserve():
    """Returns a port, and a socket that keeps it from others who ask here as long as that is open."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = map(int, file.read().split())
    for _ in range(1000):
        port = random.randrange(10_000, 65_536)
        if first <= port <= last:  # the system gives these to others
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
