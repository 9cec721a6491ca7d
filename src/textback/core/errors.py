"""Why we said no. A refusal carries a code's meaning and its data, never HTTP.

Each dialect has a table that turns every class here into its own status and body; a house test
checks that none is missing.
"""

from collections.abc import Mapping

from textback.core.frozen import frozen


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Nothing was stored. The message is one sentence that says what to change."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class BadRequest(Refusal):
    """The request does not have the shape that the route asks for."""

    def __init__(self, sentence: str, *, faults: Mapping[str, str] | None = None) -> None:
        """`faults`: all that is wrong, by the paths of fields, when more than one thing may be."""
        super().__init__(sentence)
        self.faults = dict(faults or {})


class TooLarge(BadRequest):
    """The body was not read to its end."""


class BadKey(Refusal):
    """No API key, or one that is unknown, revoked or expired."""


class BadToken(Refusal):
    """No signed token (JWT), or one that is not good."""

    def __init__(self, sentence: str, *, of_nobody: bool = False) -> None:
        """`of_nobody`: no app is known by that name, or the signature is not its own."""
        super().__init__(sentence)
        self.of_nobody = of_nobody


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


@frozen(kw_only=False)
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


class MissingScope(Refusal):
    """The key is good, but may not do this."""


class UnknownResource(Refusal):
    """The account has nothing of that name: no such agent, number, batch, message, webhook, ..."""


class Conflict(Refusal):
    """It is there already, or is in a state in which that cannot be done with it."""


class OptedOut(Refusal):
    """The user has opted out of the number, and the caller wants to be told."""


class NotRegistered(Refusal):
    """The sender may not text there: a US number without A2P 10DLC registration."""


class CarrierRefused(Refusal):
    """The carrier says no to what it was asked while the caller waits: credentials, a number."""

    def __init__(self, sentence: str, *, code: str) -> None:
        """`code`: of `ports.NotDone`; or `taken`: somebody else has the carrier account here."""
        super().__init__(sentence)
        self.code = code


class StaleError(Exception):
    """The row is no longer in the state it was loaded in; somebody else moved it."""
