"""Our own shapes for managing: what entries look like, and what is answered. No HTTP.

Entries are checked by the rules of the provisioning file (`core.entries.Provisioner`); what is here
only describes them, and is never narrower than those rules.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from textback.core.policy import MAX_TEXT, Environment, OptOutReplies, Registration

ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
NUMBER: Final = r"^((whatsapp:)?\+[1-9][0-9]{1,14}|[0-9]{3,8}|MG[0-9a-fA-F]{32})$"
SERVICE: Final = r"^MG[0-9a-fA-F]{32}$"
MAX_ENTRY: Final = 1_000_000

Id = Annotated[str, Field(pattern=ID)]
Object = dict[str, Any]
ManagedBy = Literal["file", "api"]


class Changed(BaseModel):
    managed_by: Annotated[
        ManagedBy,
        Field(
            description="file: the next `textback apply` of the provisioning file says it again."
        ),
    ]
    warnings: Annotated[
        list[str], Field(description="Sentences about what was just done, if there is one to say.")
    ]


def described(*required: str, **example: JsonValue) -> ConfigDict:
    """Of an entry that is given: what it needs, and no field that there is not."""
    more: dict[str, Any] = {"example": example}
    if required:
        more["required"] = list(required)
    return ConfigDict(extra="forbid", json_schema_extra=more)


Name = Annotated[str | None, Field(max_length=200)]
Said = Annotated[str | None, Field(max_length=MAX_TEXT)]


class _Settings(BaseModel):
    """Of a project: docs/provisioning.md says what each holds, and what it is by default."""

    name: Name = None
    rate_limit: Annotated[Object | None, Field(description="`{requests, per_seconds}`")] = None
    inactivity: Object | None = None
    reply_delay_seconds: Annotated[float | None, Field(ge=0, le=30)] = None
    validity_seconds: Annotated[float | None, Field(ge=1, le=604_800)] = None
    unknown_user: Literal["answer", "greet", "ignore"] | None = None
    opt_out_words: Annotated[Object | None, Field(description="`{stop, start, help}`")] = None
    inbound_limits: Object | None = None
    reply_budget: Annotated[Object | None, Field(description="`{replies, per_seconds}`")] = None
    while_thinking: Literal["restart", "queue", "ignore"] | None = None
    replies: Object | None = None
    budgets: Annotated[Object | None, Field(description="`{conversation, day}`")] = None
    timezone: Annotated[str | None, Field(examples=["Europe/Berlin"])] = None
    draft_environments: list[Literal["dev", "sandbox"]] | None = None
    quiet_hours: Annotated[
        Object | None,
        Field(description='`{start: "21:00", end: "08:00"}`, by the recipient\'s clock.'),
    ] = None
    retention_days: Annotated[
        int | None,
        Field(
            ge=1,
            le=36_500,
            description="After its end a conversation is kept so long, and then deleted.",
        ),
    ] = None


class NewProject(_Settings):
    model_config = described(
        "id", "agent", id="reminders", agent="bookings", timezone="America/Chicago"
    )

    id: Id
    agent: Id


class ChangedProject(_Settings):
    model_config = described(reply_delay_seconds=3)

    id: Id | None = None
    agent: Id | None = None


class Project(_Settings, Changed):
    id: str
    agent: str


class NewConnector(BaseModel):
    model_config = described(
        "id", "project", "environment", id="conn-live", project="reminders", environment="live"
    )

    id: Id
    project: Id
    environment: Environment


class ChangedConnector(BaseModel):
    model_config = described(environment="live")

    id: Id | None = None
    project: Id | None = None
    environment: Environment | None = None


class Connector(Changed):
    id: str
    project: str
    environment: Environment


class _Carrier(BaseModel):
    account_sid: Annotated[
        str | None, Field(description="Twilio's: AC and 32 hexadecimal digits.")
    ] = None
    auth_token: Annotated[
        str | None, Field(max_length=512, description="Kept sealed, and never shown.")
    ] = None
    base_url: Annotated[str | None, Field(description="https://api.twilio.com if left out.")] = None


class NewCarrier(_Carrier):
    model_config = described(
        "id",
        "kind",
        id="twilio",
        kind="twilio",
        account_sid="AC0123456789abcdef0123456789abcdef",
        auth_token="0123456789abcdef0123456789abcdef",  # noqa: S106 - an example
    )

    id: Id
    kind: Literal["twilio", "sandbox"]


class ChangedCarrier(_Carrier):
    model_config = described(account_sid="AC0123456789abcdef0123456789abcdef")

    id: Id | None = None
    kind: Literal["twilio", "sandbox"] | None = None


class Carrier(Changed):
    id: str
    kind: Literal["twilio", "sandbox"]
    account_sid: str
    base_url: Annotated[str | None, Field(description="Null: the sandbox calls nobody.")] = None


class _Number(BaseModel):
    environment: Environment | None = None
    segments_per_second: Annotated[float | None, Field(gt=0, le=10_000)] = None
    opt_out_replies: OptOutReplies | None = None
    agent: Annotated[Id | None, Field(description="Who answers there; null: the project's.")] = None
    replies: Annotated[bool | None, Field(description="Whether the agent answers there.")] = None
    registration: Annotated[
        Registration | None, Field(description="Of a US number, for A2P 10DLC.")
    ] = None
    messaging_service_sid: Annotated[str | None, Field(pattern=SERVICE)] = None


class NewNumber(_Number):
    model_config = described(
        "number",
        "project",
        "carrier",
        number="+14155550100",
        project="reminders",
        carrier="twilio",
        registration="registered",
    )

    number: Annotated[str, Field(pattern=NUMBER)]
    project: Id
    carrier: Id


class ChangedNumber(_Number):
    model_config = described(agent="billing", replies=True)

    number: Annotated[str | None, Field(pattern=NUMBER)] = None
    project: Id | None = None
    carrier: Id | None = None


class Number(_Number, Changed):
    number: str
    project: str
    carrier: str


Engine = Annotated[
    Object,
    Field(
        description="Who writes its texts: `{kind: scripted | http | llm | flow, ...}`. Secrets in "
        "it are shown as null.",
        json_schema_extra={
            "required": ["kind"],
            "properties": {"kind": {"enum": ["scripted", "http", "llm", "flow"]}},
        },
    ),
]
Analysis = Annotated[Object | None, Field(description="What is made of a conversation at its end.")]


class _Agent(BaseModel):
    greeting: Said = None
    fallback: Annotated[Said, Field(description="Null: nothing is sent when the engine fails.")] = (
        None
    )
    analysis: Analysis = None
    draft: Annotated[
        Object | None,
        Field(
            description="`{greeting, fallback, engine, analysis}`: a second version, to be tried."
        ),
    ] = None


class NewAgent(_Agent):
    model_config = described(
        "id",
        "engine",
        id="bookings",
        greeting="Hello, how can I help?",
        engine={"kind": "scripted", "default": "You said: {text}"},
    )

    id: Id
    engine: Engine


class ChangedAgent(_Agent):
    model_config = described(greeting="Hello from Acme. How can I help?")

    id: Id | None = None
    engine: Annotated[
        Object | None,
        Field(description="Of another kind than now, it replaces the engine as a whole."),
    ] = None


class Agent(_Agent, Changed):
    id: str
    engine: Object
    version: Annotated[int, Field(description="Of production.")]
    draft_version: int | None


class AgentVersion(BaseModel):
    version: int
    created_at: str
    production: bool
    draft: bool
    live_conversations: Annotated[int, Field(ge=0, description="That stay on it.")]
    greeting: str | None
    fallback: str | None
    engine: Object
    analysis: Object | None
