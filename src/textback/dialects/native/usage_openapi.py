"""What the documents say of our routes about the account."""

from textback.dialects.native import usage_wire as wire
from textback.dialects.native.describing import route
from textback.dialects.native.paging import Page, Query

USAGE = route(
    "getUsage",
    "What was used: texts, segments, conversations, turns",
    "Counted when asked. Days are those of each project's own time zone.",
    wire.Usage,
    query=wire.UsageQuery,
)
ME = route(
    "getMe",
    "Whose API key it is, and what it may do",
    "For any good key, whatever its scopes.",
    wire.Me,
    scoped=False,
)
PROJECTS = route("listProjectIds", "Your projects", "By id.", Page[wire.Project], query=Query)
