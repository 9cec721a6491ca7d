from collections.abc import Generator

import pytest

from tests.support.turn_server import TurnServer, says, serving


@pytest.fixture(scope="module")
def running() -> Generator[TurnServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: TurnServer) -> TurnServer:
    """Says "Hi." to every turn, until a test wants something else."""
    running.answers(says("Hi."))
    return running
