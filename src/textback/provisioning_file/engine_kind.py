"""What a file is told of each kind of engine: `textback.engine_kinds` has them."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from pydantic import BaseModel


class EngineKind(Protocol):
    """How the `engine` of an agent is read when its `kind` is this one.

    What the functions are given is an instance of `model`, whose SecretStr fields are its secrets.
    """

    @property
    def model(self) -> type[BaseModel]: ...
    @property
    def deadline(self) -> Callable[[Any], timedelta]:
        """How long a turn may take in all."""
        ...

    @property
    def can_open(self) -> Callable[[Any], bool]: ...
    @property
    def can_analyse(self) -> Callable[[Any], bool]: ...
    @property
    def nodes(self) -> Callable[[Any], Sequence[str]]:
        """Where conversations can be told to start."""
        ...

    @property
    def earlier(self) -> Callable[[Any], int]:
        """Of how many earlier conversations with the same user it wants to be told."""
        ...
