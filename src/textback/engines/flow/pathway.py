"""Bland's pathway JSON, as its documentation and its editor's exports have it -> a graph.

https://docs.bland.ai/api-v1/post/update_pathways, https://docs.bland.ai/tutorials/webhooks
What only concerns phone calls or the editor (voices, interruptions, positions, tags) is ignored.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)

from textback.core.policy import MAX_TEXT
from textback.engines.flow.graph import Place
from textback.engines.flow.named import naming, refused
from textback.engines.flow.shape import Id

_VENDORS: Final = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

Kind = Literal["say", "end", "hand_off", "webhook"]
KINDS: Final[Mapping[str, Kind]] = {
    "default": "say",
    "wait for response": "say",
    "sms": "say",
    "end call": "end",
    "transfer call": "hand_off",
    "transfer node": "hand_off",
    "transfer to human": "hand_off",
    "webhook": "webhook",
}
REFUSED: Final = {
    "knowledge base": "answers from a knowledge base: write what it must know into a prompt",
    "vector db knowledge base": "answers from a knowledge base: write it into a prompt",
    "custom code": "runs code: put it behind a Webhook",
    "custom tool": "calls a tool of Bland's: make it a Webhook",
    "press button": "presses the keys of a phone, which a text cannot",
    "transfer pathway": "leads to another pathway: put its nodes into this one",
    "scheduling": "books through Bland: put a Webhook to your calendar in its place",
    "schedule meeting": "books through Bland: put a Webhook to your calendar in its place",
    "route": "routes by rules that are not documented: put them on edges",
}


def _headers(value: object) -> object:
    """Bland has an object; its editor, a list of `{key, value}`."""
    if isinstance(value, list):
        rows = cast("list[object]", value)
        pairs = [cast("Mapping[str, object]", row) for row in rows if isinstance(row, Mapping)]
        return {str(row.get("key", row.get("name", ""))): row.get("value") for row in pairs}
    return {} if value is None else value


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _row(value: object) -> object:
    """A row of `responsePathways`: `[variable, operator, value, {id, name}]`, or an object."""
    if isinstance(value, list | tuple):
        row = [*cast("list[object]", value), None, None, None, None]
        to = row[3]
        node_id = cast("Mapping[str, object]", to).get("id") if isinstance(to, Mapping) else None
        return {"variable": row[0], "operator": row[1], "value": row[2], "nodeId": node_id}
    if isinstance(value, Mapping):
        found = cast("Mapping[str, object]", value)
        return {**found, "variable": found.get("variable", found.get("type"))}
    return value


def _variable(value: object) -> object:
    """`[name, type, description]`; a fourth, if there is one, is whether it is required."""
    if isinstance(value, list | tuple):
        row = [*cast("list[object]", value), "string", ""]
        return {"name": row[0], "type": row[1], "description": row[2]}
    return value


Words = Annotated[str, Field(max_length=100_000)]
MaybeWords = Annotated[Words | None, BeforeValidator(_blank_is_none)]


class ResponseRow(BaseModel):
    model_config = _VENDORS

    variable: str
    operator: str | None = None
    value: str | int | float | bool | None = None
    nodeId: Annotated[Id | None, BeforeValidator(_blank_is_none)] = None  # noqa: N815 - Bland's


class ResponseValue(BaseModel):
    model_config = _VENDORS

    name: str
    data: str


class ExtractVar(BaseModel):
    model_config = _VENDORS

    name: str
    type: str = "string"
    description: str = ""


class ModelOptions(BaseModel):
    model_config = _VENDORS

    skipUserResponse: bool = False  # noqa: N815 - Bland's


class Auth(BaseModel):
    model_config = _VENDORS

    type: str | None = None
    token: SecretStr | None = None
    encode: bool = False


class Data(BaseModel):
    model_config = _VENDORS

    name: MaybeWords = None
    text: Annotated[
        Annotated[str, Field(max_length=MAX_TEXT)] | None, BeforeValidator(_blank_is_none)
    ] = None
    prompt: MaybeWords = None
    smsBody: MaybeWords = None  # noqa: N815 - Bland's
    condition: MaybeWords = None
    isStart: bool = False  # noqa: N815 - Bland's
    isGlobal: bool = False  # noqa: N815 - Bland's
    globalLabel: MaybeWords = None  # noqa: N815 - Bland's
    extractVars: tuple[Annotated[ExtractVar, BeforeValidator(_variable)], ...] = ()  # noqa: N815
    modelOptions: ModelOptions = ModelOptions()  # noqa: N815 - Bland's
    kb: object = None
    tools: object = None
    tool: object = None
    url: MaybeWords = None
    method: str | None = None
    headers: Annotated[dict[str, SecretStr], BeforeValidator(_headers)] = Field(
        default_factory=dict[str, SecretStr]
    )
    auth: Auth | None = None
    body: Words | dict[str, object] | list[object] | None = None
    timeoutValue: Annotated[float, Field(gt=0, le=60)] | None = None  # noqa: N815 - Bland's
    responseData: tuple[ResponseValue, ...] = ()  # noqa: N815 - Bland's
    responsePathways: tuple[Annotated[ResponseRow, BeforeValidator(_row)], ...] = ()  # noqa: N815


class GlobalConfig(BaseModel):
    model_config = _VENDORS

    globalPrompt: MaybeWords = None  # noqa: N815 - Bland's


class PathwayNode(BaseModel):
    """A node, or the object that holds the pathway's `globalConfig`."""

    model_config = _VENDORS

    id: Id | None = None
    type: str | None = None
    data: Data | None = None
    globalConfig: GlobalConfig | None = None  # noqa: N815 - Bland's

    @model_validator(mode="wrap")
    @classmethod
    def _named(cls, value: object, handler: ValidatorFunctionWrapHandler) -> "PathwayNode":
        try:
            node = cast("PathwayNode", handler(value))
        except ValidationError as errors:
            raise naming(errors, value) from None
        who = f'node "{node.id}": ' if node.id else ""
        found: list[tuple[Place, str]] = [((), who + wrong) for wrong in node.problems()]
        if found:
            raise refused(found)
        return node

    def problems(self) -> Iterator[str]:
        if self.globalConfig is not None and self.data is None:
            return
        if self.id is None:
            yield "a node needs an id"
        elif self.type is None or self.data is None:
            yield "needs a type and data"
        elif (why := REFUSED.get(self.type.strip().lower())) is not None:
            yield f'is of type "{self.type}", which {why}'
        elif self.type.strip().lower() not in KINDS:
            known = ", ".join(kind.title() for kind in KINDS)
            yield f'is of type "{self.type}", which is not known here; known: {known}'

    @property
    def kind(self) -> Kind:
        return KINDS[(self.type or "").strip().lower()]


class EdgeData(BaseModel):
    model_config = _VENDORS

    label: MaybeWords = None
    description: MaybeWords = None


class PathwayEdge(BaseModel):
    model_config = _VENDORS

    id: str | None = None
    source: Id
    target: Id
    label: MaybeWords = None
    description: MaybeWords = None
    data: EdgeData = EdgeData()

    @property
    def when(self) -> str | None:
        """What the model decides by; the label alone is often but a title."""
        label = self.data.label or self.label
        description = self.data.description or self.description
        if label is None or description is None or label == description:
            return label or description
        return f"{label}: {description}"

    @property
    def title(self) -> str | None:
        return self.data.label or self.label


class Pathway(BaseModel):
    """`{"nodes": [...], "edges": [...]}`."""

    model_config = _VENDORS

    nodes: Annotated[tuple[PathwayNode, ...], Field(min_length=1, max_length=500)]
    edges: Annotated[tuple[PathwayEdge, ...], Field(max_length=5000)] = ()
