"""Why we said no. A refusal carries a code's meaning and its data, never HTTP.

Each dialect has a table that turns every class here into its own status and body; a house test
checks that none is missing.
"""

from dataclasses import dataclass


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Nothing was stored. The message is one sentence that says what to change."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class BadRequest(Refusal):
    """The request does not have the shape that the route asks for."""


class BadKey(Refusal):
    """No API key, or one that is unknown, revoked or expired."""


class WrongAccount(Refusal):
    """The key is good, but its account is not the connector's."""


class UnknownConnector(Refusal):
    pass


class NoNumber(Refusal):
    """There is no agent number to send from."""


class NumberNotProvisioned(Refusal):
    """The agent number asked for is not one of the project's."""


class NothingToSay(Refusal):
    """No text was given, and the agent cannot open a conversation by itself."""


class UnknownAgent(Refusal):
    """The account has no such agent, or the agent no such version or node."""


class KeyReused(Refusal):
    """The idempotency key came before with another request."""


class RateLimited(Refusal):
    def __init__(self, sentence: str, *, retry_after: float) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Unavailable(Refusal):
    """The database cannot be reached, so nothing can be promised."""

    retry_after: float = 2.0

    def __init__(
        self,
        sentence: str = "The service cannot store messages right now; try again.",
        *,
        in_doubt: bool = False,
    ) -> None:
        """`in_doubt`: it was lost at the commit, which may have taken hold."""
        super().__init__(sentence)
        self.in_doubt = in_doubt


@dataclass(frozen=True, slots=True)
class ProvisioningError:
    """One thing wrong with a provisioning file. `path` leads to it: ("accounts", 0, "name")."""

    path: tuple[str | int, ...]
    problem: str


class ProvisioningRefused(Refusal):
    def __init__(self, errors: list[ProvisioningError]) -> None:
        super().__init__("The file was not applied.")
        self.errors = errors


class NotUncertain(Exception):  # noqa: N818 - a state of affairs
    """There is nothing for an operator to settle: the text is in another state, or unknown."""


class WrongState(Refusal):
    """The conversation is not in a state in which that can be done with it."""


class UnknownConversation(Refusal):
    """The account has no such conversation."""


class StaleError(Exception):
    """The row is no longer in the state it was loaded in; somebody else moved it."""
