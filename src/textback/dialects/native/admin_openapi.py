"""What OpenAPI says of our routes for entries."""

from typing import Any, Final

from pydantic import BaseModel

from textback.core.entries import EntryKind
from textback.core.frozen import frozen
from textback.dialects.native import admin_wire as wire
from textback.dialects.native.describing import path_id, route
from textback.dialects.native.paging import Page, Query

_TAKEN: Final = "It is there already, or the id is taken: ids are unique in a deployment."
_IN_USE: Final = "Something needs it, or the provisioning file manages it."


@frozen
class Entries:
    """One kind of entry: where it is, and what is said of it."""

    kind: EntryKind
    path: str
    key: str
    """The parameter's name in the path."""
    at_most: int
    list: dict[str, Any]
    get: dict[str, Any]
    create: dict[str, Any]
    change: dict[str, Any]
    remove: dict[str, Any]

    @property
    def one(self) -> str:
        return f"{self.path}/{{{self.key}}}"


def _entries(
    kind: EntryKind,
    path: str,
    shown: type[BaseModel],
    new: type[BaseModel],
    changed: type[BaseModel],
    *,
    key: str = "id",
    pattern: str = wire.ID,
    example: str,
    at_most: int = 64 * 1024,
    more: str = "",
) -> Entries:
    name = kind.capitalize()
    which = [path_id(key, pattern, example)]
    unknown = {404: f"Your account has no such {kind}."}
    return Entries(
        kind=kind,
        path=path,
        key=key,
        at_most=at_most,
        list=route(
            f"list{name}s",
            f"The account's {kind}s, by their ids",
            "Those of the provisioning file, and those made here.",
            Page[shown],
            query=Query,
        ),
        get=route(
            f"get{name}",
            f"One {kind}",
            "As it could be given again; secrets are never shown.",
            shown,
            path=which,
            problems=unknown,
        ),
        create=route(
            f"create{name}",
            f"Add a {kind}",
            "The same fields, bounds and defaults as in the provisioning file "
            f"(docs/provisioning.md). {more}One that was removed comes back.",
            shown,
            new,
            status=201,
            problems={409: _TAKEN},
            at_most=at_most,
        ),
        change=route(
            f"change{name}",
            f"Change a {kind}",
            "A JSON merge patch (RFC 7396) of what GET shows: objects are merged, lists replaced, "
            "null is said where a field may be null, and else means the default. A secret that is "
            "not named stays, unless the address that it is for has changed.",
            shown,
            changed,
            path=which,
            problems=unknown | {409: "It is in the way of something else."},
            at_most=at_most,
        ),
        remove=route(
            f"remove{name}",
            f"Remove a {kind}",
            "Texts that are queued go out; conversations that are live end by their silence.",
            {},
            path=which,
            status=204,
            problems=unknown | {409: _IN_USE},
        ),
    )


PROJECTS: Final = _entries(
    "project",
    "/v1/admin/projects",
    wire.Project,
    wire.NewProject,
    wire.ChangedProject,
    example="reminders",
)
CONNECTORS: Final = _entries(
    "connector",
    "/v1/admin/connectors",
    wire.Connector,
    wire.NewConnector,
    wire.ChangedConnector,
    example="conn-live",
)
CARRIERS: Final = _entries(
    "carrier",
    "/v1/admin/carriers",
    wire.Carrier,
    wire.NewCarrier,
    wire.ChangedCarrier,
    example="twilio",
)
NUMBERS: Final = _entries(
    "number",
    "/v1/admin/numbers",
    wire.Number,
    wire.NewNumber,
    wire.ChangedNumber,
    key="number",
    pattern=wire.NUMBER,
    example="+14155550100",
)
AGENTS: Final = _entries(
    "agent",
    "/v1/admin/agents",
    wire.Agent,
    wire.NewAgent,
    wire.ChangedAgent,
    example="bookings",
    at_most=wire.MAX_ENTRY,
    more="Other content makes another version; conversations stay on theirs. ",
)
ALL: Final = (PROJECTS, CONNECTORS, CARRIERS, NUMBERS, AGENTS)

VERSIONS: Final = route(
    "listAgentVersions",
    "All that an agent ever said and did, oldest first",
    "Versions are numbered, and never change; conversations stay on the one they began with.",
    Page[wire.AgentVersion],
    path=[path_id("id", wire.ID, "bookings")],
    query=Query,
    problems={404: "Your account has no such agent."},
)
