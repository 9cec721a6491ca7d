"""A node's call: made through the turn's journal, its answer's values put into variables."""

import json
from collections.abc import Mapping
from typing import cast

from textback.core.engine import ToolResult, TurnRequest
from textback.core.frozen import frozen
from textback.engines.flow.graph import Call, Node
from textback.engines.flow.templates import at_path, filled, filled_url, read_json, storable
from textback.llm.tools import HttpTool


@frozen
class Outcome:
    well: bool
    values: Mapping[str, object]
    """None: the answer has nothing there."""
    note: str | None = None


async def call(
    node: Node, made: Call, tool: HttpTool, request: TurnRequest, variables: Mapping[str, object]
) -> Outcome:
    """Raises TurnLost."""
    if made.webhook is None:
        arguments: object = filled(dict(made.arguments), variables, typed=True)
    else:
        url = filled_url(made.tool.url, variables)
        body = filled(made.webhook.body, variables, typed=False)
        arguments = {"method": made.webhook.method, "url": url, "body": body}
    kept = storable(arguments)
    if kept is None:
        return Outcome(well=False, values={}, note=f'the call of "{node.id}" was too long to make')
    noted = cast("dict[str, object]", kept)
    result = await request.journal.call(
        made.tool.name, noted, lambda call_id: _exchange(made, tool, request, noted, call_id)
    )
    return _outcome(node, made, result)


async def _exchange(
    made: Call,
    tool: HttpTool,
    request: TurnRequest,
    arguments: Mapping[str, object],
    call_id: str,
) -> ToolResult:
    if made.webhook is None:
        context = {"conversation_id": request.conversation_id, "agent_id": request.agent_id}
        return await tool.call(arguments, call_id=call_id, context=context)
    body = arguments["body"]
    return await tool.send(
        b"" if body is None else json.dumps(body, separators=(",", ":")).encode(),
        call_id=call_id,
        method=made.webhook.method,
        url=str(arguments["url"]),
    )


def _outcome(node: Node, made: Call, result: ToolResult) -> Outcome:
    nothing: dict[str, object] = {name: None for name in made.save}  # noqa: C420 - its type
    if result.failed:
        return Outcome(well=False, values=nothing)
    if not made.save:
        return Outcome(well=True, values={})
    try:
        answer = read_json(result.text)
    except ValueError:
        note = f'the answer to "{node.id}" is not JSON'
        return Outcome(well=False, values=nothing, note=note)
    found = {name: storable(at_path(answer, path)) for name, path in made.save.items()}
    return Outcome(well=True, values=found)
