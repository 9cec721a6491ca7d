"""Settings that are wrong are refused with a sentence that names the field and shows no value."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from textback.llm.settings import LlmConfig

MODEL = {"provider": "openai", "name": "gpt-5", "api_key": "sk-SENTINEL"}
TOOL = {"name": "book", "description": "Books.", "url": "https://example.com/book"}
MCP = {"name": "crm", "url": "https://example.com/mcp"}


def config(**more: object) -> LlmConfig:
    return LlmConfig.model_validate({"kind": "llm", "model": MODEL, "prompt": "Be kind."} | more)


def test_little_is_needed() -> None:
    made = config()
    assert made.model.temperature == 0.3
    assert made.model.max_output_tokens == 400
    assert made.most_calls == 8
    assert made.memory.tokens == 4000
    assert made.style is not None
    assert "320 characters" in made.style
    assert "SENTINEL" not in repr(made)


def tool(**more: object) -> dict[str, object]:
    return {"tools": [TOOL | more]}


@pytest.mark.parametrize(
    ("given", "where", "why"),
    [
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": "a\x00b"}, "prompt", "holds a NUL"),
        ({"model": {"provider": "openai", "name": "x"}}, "model", "api_key: is needed"),
        (
            {"model": {"provider": "anthropic", "name": "x", "base_url": "http://localhost:1"}},
            "model",
            "api_key: is needed",
        ),
        ({"model": MODEL | {"base_url": "localhost"}}, "model.base_url", "must be an address"),
        ({"model": MODEL | {"base_url": "http://a b/"}}, "model.base_url", "must be an address"),
        ({"model": MODEL | {"base_url": "http://u:p@h/"}}, "model.base_url", "hold no password"),
        ({"model": MODEL | {"api_key": "sk SENTINEL\n"}}, "model.api_key", "printable ASCII"),
        ({"model": MODEL | {"temperature": 3}}, "model.temperature", "less than or equal to 2"),
        ({"model": MODEL | {"colour": 3}}, "model.colour", "not permitted"),
        (tool(name="1 book"), "tools.0.name", "match pattern"),
        (tool(name="hand_off"), "", "the name hand_off is taken"),
        ({"tools": [TOOL, TOOL]}, "", "the name book is taken"),
        (tool(secret="whsec_SENTINEL"), "tools.0.secret", "24 to 64 bytes"),
        (tool(parameters={"type": "string"}), "tools.0.parameters", "type: object"),
        (
            tool(parameters={"type": "object", "properties": {"a": {"type": "txt"}}}),
            "tools.0.parameters",
            "is no JSON Schema: properties.a.type",
        ),
        (
            tool(parameters={"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}),
            "tools.0.parameters",
            "leads nowhere",
        ),
        (
            tool(parameters={"type": "object", "$ref": "http://127.0.0.1:9/schema"}),
            "tools.0.parameters",
            "leads nowhere",
        ),
        (
            tool(parameters={"type": "object", "properties": {"a": {"pattern": "(?<x"}}}),
            "tools.0.parameters",
            "regular expression|regex",
        ),
        (tool(headers={"X Y": "SENTINEL"}), "tools.0.headers", "is not the name of a header"),
        (tool(headers={"Webhook-Id": "SENTINEL"}), "tools.0.headers", "is set by us"),
        (tool(timeout_seconds=0), "tools.0.timeout_seconds", "greater than 0"),
        ({"mcp": [MCP, MCP]}, "", "a name of its own"),
        ({"mcp": [MCP | {"name": "a_b"}]}, "mcp.0.name", "match pattern"),
        ({"most_calls": 0}, "most_calls", "greater than or equal to 1"),
        ({"memory": {"tokens": 1}}, "memory.tokens", "greater than or equal to 500"),
    ],
)
def test_a_mistake_is_named(given: dict[str, object], where: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as caught:
        config(**given)
    (error,) = caught.value.errors(include_url=False, include_input=False)
    assert ".".join(map(str, error["loc"])) == where
    assert "SENTINEL" not in str(caught.value)


def test_whoever_uses_no_model_does_not_load_its_library() -> None:
    code = (
        "import sys, textback.engines.llm, textback.llm.mcp; "
        "assert not {'pydantic_ai', 'openai', 'anthropic', 'fastmcp', 'mcp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
