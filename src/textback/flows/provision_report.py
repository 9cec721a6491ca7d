"""What an apply did, or would do."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from textback.core.errors import ProvisioningError
from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId
from textback.core.policy import AgentLabel
from textback.db.provisioning import Kind


@frozen(kw_only=False)
class Thing:
    kind: Kind
    id: str
    """Of an API key: account/name."""


@frozen
class NewKey:
    """A key that was made. It is stored as a hash only, so this is the one time to show it."""

    account_id: AccountId
    name: str
    key: str = field(repr=False)


@frozen(kw_only=False)
class Relabelled:
    """A version of an agent that was there before is another one now."""

    agent_id: AgentId
    label: AgentLabel
    number: int | None
    """None: it has no draft any more."""
    was: int | None


@frozen(kw_only=False)
class NewVersion:
    """A label that is on another version now."""

    change: Relabelled
    live: Mapping[int, int]
    """By number, how many conversations are live on each version of the agent."""


@frozen
class Report:
    created: Sequence[Thing]
    updated: Sequence[Thing]
    removed: Sequence[Thing]
    unchanged: int
    api_keys: Sequence[NewKey]
    """Those that were made now."""
    warnings: Sequence[ProvisioningError]
    """What works, but looks like a mistake."""
    versions: Sequence[NewVersion] = ()
    """Of agents that were there before."""
