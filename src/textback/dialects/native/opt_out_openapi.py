"""What the documents say of our routes about opt-outs."""

from textback.dialects.native import opt_out_wire as wire
from textback.dialects.native.describing import path_id, route
from textback.dialects.native.paging import Page

_CSV = {"text/csv": {"schema": {"type": "string"}}}
_UNKNOWN = "Your account has no such number, project or opt-out."

LIST = route(
    "listOptOuts",
    "Who wants no texts, the latest first",
    "Of your numbers and of whole projects; also those that ended, unless standing says otherwise.",
    Page[wire.OptOut],
    query=wire.OptOuts,
)
CREATE = route(
    "createOptOut",
    "Record that somebody wants no texts",
    "From one number, or from every number of a project, also those it will get. What is queued is "
    "dropped, and live conversations are closed. A START of the user's ends it, and so do you.",
    wire.Recorded,
    wire.Create,
    problems={
        400: "The body is not as described, or the number is not one of yours.",
        404: _UNKNOWN,
    },
)
END = route(
    "endOptOut",
    "Record that somebody wants texts again",
    "Because they said so elsewhere. The carrier may keep its own list: what it refuses for that "
    "is recorded as an opt-out again.",
    wire.OptOut,
    wire.End,
    path=[path_id("opt_out_id", wire.ID, "opt_01kk2v5m7xq1t8c9d0e2f3g4h5")],
    problems={404: _UNKNOWN, 409: "It has ended already."},
)
EXPORT = route(
    "exportOptOuts",
    "All opt-outs as CSV",
    "In the columns that the import reads.",
    _CSV,
    query=wire.Export,
)
IMPORT = route(
    "importOptOuts",
    "Record many opt-outs from a CSV file",
    "The first line names the columns: user_number, and agent_number or project, which may also be "
    "given for all rows in the URL; reason. Each row counts by itself, and a row that is there "
    f"already changes nothing. At most {wire.MOST_ROWS} rows.",
    wire.Imported,
    _CSV,
    query=wire.Import,
    at_most=wire.MAX_CSV,
)
