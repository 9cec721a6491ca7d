"""A Webhook node of Bland's -> a node that calls.

https://docs.bland.ai/tutorials/webhooks; what it leaves open is as exported pathways have it.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from textback.engines.flow.graph import (
    Call,
    Called,
    Compared,
    Comparison,
    Edge,
    Judged,
    Node,
    Place,
    Webhook,
)
from textback.engines.flow.pathway import Data, ResponseRow
from textback.engines.flow.shape import tool_name
from textback.engines.flow.templates import UNQUOTED
from textback.llm.settings import ToolSettings

Wrong: TypeAlias = Callable[[Place, str], None]
"""Takes what cannot be run here, and where it is written."""

OPERATORS: Final[Mapping[str, Comparison]] = {
    "==": "equals",
    "=": "equals",
    "is": "equals",
    "equals": "equals",
    "!=": "differs",
    "is not": "differs",
    "not equals": "differs",
    "contains": "contains",
    ">": "more_than",
    ">=": "at_least",
    "<": "less_than",
    "<=": "at_most",
}
METHODS: Final = {"GET", "POST", "PUT", "PATCH", "DELETE"}
_COMPLETION: Final = {"default", "default/webhook completion", "default/api request completion"}
_FAILURE: Final = {"default/webhook failure", "default/api request failure"}
_RESULTS: Final = {"success": True, "error": False, "failure": False}
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def webhook(made: Node, data: Data, wrong: Wrong) -> Node:
    """`made` has the edges that are drawn from it."""
    return replace(_routed(made, data, wrong), call=_call(made, data, wrong))


def without_choice(made: Node) -> Node:
    """Where nothing waits, a single edge needs no condition."""
    if made.then is not None or len(made.edges) != 1:
        return made
    only = made.edges[0]
    return replace(made, edges=[], then=only.to, then_at=only.at)


def _routed(made: Node, data: Data, wrong: Wrong) -> Node:
    """Rows are tried in order; the row for completion is for when none fits."""
    edges: list[Edge] = []
    if not data.responsePathways:
        for edge in made.edges:
            label = edge.when.label.strip().lower() if isinstance(edge.when, Judged) else ""
            well = _RESULTS.get(label)
            edges.append(edge if well is None else replace(edge, when=Called(well)))
        made = replace(made, edges=edges)
        named = any(isinstance(edge.when, Called) for edge in edges)
        return made if named else without_choice(made)
    made = replace(made, then=None)  # the editor draws an edge for each row too
    for i, row in enumerate(data.responsePathways):
        at = (*made.at, "responsePathways", i)
        name = row.variable.strip().lower()
        if row.nodeId is None:
            continue  # as the editor leaves rows that were never connected
        if name in _COMPLETION:
            made = replace(made, then=row.nodeId, then_at=at)
        elif name in _FAILURE:
            edges.insert(0, Edge(row.nodeId, Called(well=False), at))
        elif (when := _row(made, row, at, wrong)) is not None:
            edges.append(Edge(row.nodeId, when, at))
    return replace(made, edges=edges)


def _row(made: Node, row: ResponseRow, at: Place, wrong: Wrong) -> Compared | None:
    how = OPERATORS.get((row.operator or "").strip().lower())
    if row.variable.strip().lower() == "blandstatuscode":
        said = "goes by the status code of the answer, which is not kept; use the failure row"
    elif how is None:
        said = f'compares by "{row.operator}"; known here: {", ".join(OPERATORS)}'
    else:
        return Compared(row.variable, how, "" if row.value is None else row.value)
    wrong(at, f'node "{made.id}": {said}')
    return None


def _call(made: Node, data: Data, wrong: Wrong) -> Call | None:
    who = f'node "{made.id}"'
    url = _PLACEHOLDER.sub(r"{{\1}}", data.url or "")
    method = (data.method or "POST").strip().upper()
    if method not in METHODS:
        known = ", ".join(sorted(METHODS))
        wrong((*made.at, "method"), f'{who}: method is "{method}"; known here: {known}')
    if "{{" in urlsplit(url.partition("?")[0]).netloc:
        wrong((*made.at, "url"), f"{who}: url: a variable cannot say which server is called")
    try:
        tool = ToolSettings(
            name=tool_name(made.name),
            description=made.name,
            url=url,
            headers=_headers(made, data, wrong),
            timeout_seconds=data.timeoutValue or 10,
        )
    except ValidationError as errors:
        for error in errors.errors(include_url=False, include_input=False):
            field = str(error["loc"][0]) if error["loc"] else ""
            problem = str(error.get("ctx", {}).get("error", error["msg"]))
            wrong((*made.at, field), f"{who}: {field}: {problem}")
        return None
    return Call(
        tool=tool,
        arguments={},
        save={value.name: value.data for value in data.responseData},
        webhook=Webhook(method, None if method == "GET" else _body(made, data, wrong)),
        at=made.at,
    )


def _headers(made: Node, data: Data, wrong: Wrong) -> dict[str, SecretStr]:
    found = {
        name: value
        for name, value in data.headers.items()
        if name.strip() and name.lower() != "content-type"  # a body here is JSON, and says so
    }
    for name, value in found.items():
        if "{{" in value.get_secret_value():
            said = f"the header {name} holds a variable; give its value, as ${{NAME}}"
            wrong((*made.at, "headers", name), f'node "{made.id}": {said}')
    auth = data.auth
    if auth is not None and auth.token is not None and auth.token.get_secret_value():
        scheme, token = (auth.type or "").strip().lower(), auth.token.get_secret_value()
        if scheme == "basic" and auth.encode:
            token = base64.b64encode(token.encode()).decode()
        if scheme in {"bearer", "basic"}:
            found["Authorization"] = SecretStr(f"{scheme.title()} {token}")
        elif scheme not in {"", "none"}:
            said = f'auth is of type "{auth.type}"; known here: Bearer, Basic'
            wrong((*made.at, "auth", "type"), f'node "{made.id}": {said}')
    return found


def _body(made: Node, data: Data, wrong: Wrong) -> object:
    if not isinstance(data.body, str):
        return data.body
    if not data.body.strip():
        return None
    try:
        return cast("object", json.loads(_quoted(data.body)))
    except (ValueError, RecursionError):
        wrong((*made.at, "body"), f'node "{made.id}": body is not JSON')
        return None


def _quoted(body: str) -> str:
    """Make `{"age": {{age}}}` JSON: quotes around it, and a mark that there were none."""
    parts: list[str] = []
    within, at = False, 0
    while at < len(body):
        if not within and (found := _PLACEHOLDER.match(body, at)):
            parts.append(json.dumps(UNQUOTED + "{{" + found[1] + "}}"))
            at = found.end()
            continue
        char = body[at]
        if within and char == "\\":
            parts.append(body[at : at + 2])
            at += 2
            continue
        within ^= char == '"'
        parts.append(char)
        at += 1
    return "".join(parts)
