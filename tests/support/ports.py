import socket


def free_port() -> int:
    """A port for a server of the test; free now, and the kernel hands out others first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
