"""Entries of a provisioning file that come one at a time, through an API: who reads them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.plan import Plan
from textback.core.policy import ProjectPolicy

EntryKind = Literal["carrier", "agent", "project", "connector", "number"]
Source = Literal["file", "api"]
"""Who manages an entry. What `file` does is what its next `apply` says again."""

Entry: TypeAlias = Mapping[str, Any]
"""As the provisioning file has it, in JSON. A connector's and a number's name their `project`."""


@frozen(kw_only=False)
class Fault:
    path: str
    """Of the field within the entry: `engine.tools[0].url`."""
    problem: str
    """The rest of a sentence: `must be text`."""


class Provisioner(Protocol):
    """The rules of the provisioning file, for one entry. Pure."""

    def read(
        self,
        kind: EntryKind,
        entry: Entry,
        account_id: AccountId,
        *,
        trusted: Sequence[Entry] = (),
    ) -> Plan | Sequence[Fault]:
        """A plan with this one entry, or all that is wrong with it.

        Nothing in it is taken from the environment: `${NAME}` is these seven characters. URLs that
        we would call must be public, unless private ones are allowed, or they are in `trusted`:
        what an operator may have given before.
        """
        ...

    def policy(self, policy: ProjectPolicy) -> Entry:
        """What a project's entry says beside `id`, `name` and `agent`."""
        ...

    def reread(self, engine: Entry, secrets: Mapping[str, str]) -> Entry:
        """Stored engine settings, and their opened secrets -> the same in today's words."""
        ...
