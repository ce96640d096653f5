"""Ports for servers that tests start later, by another process."""

import random
import socket

PORTS = range(20_000, 32_000)  # below those that Linux gives to outgoing connections
_given: set[int] = set()
_draw = random.Random()  # tests that run at once, and seed the common one, draw others


def free_port() -> int:
    """A port that nobody listens at on any address of this machine, and that this process has not given before."""
    while True:
        port = _draw.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
