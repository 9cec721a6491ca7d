"""Our own shapes for keys, key pairs, JWT apps and the account. No HTTP."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from textback.core.commands import Scope
from textback.dialects.native.admin_wire import Changed
from textback.dialects.native.fields import Moment

KEY: Final = r"^key_[0-9a-z]{26}$"
PAIR: Final = r"^nxf_[0-9a-f]{32}$"
APP: Final = r"^cs-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

MOST_GRACE: Final = 30 * 24 * 3600


def _asked(**example: JsonValue) -> ConfigDict:
    return ConfigDict(strict=True, extra="forbid", json_schema_extra={"example": example})


def _is_said(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_is_said)]
Scopes = Annotated[
    list[Scope] | None,
    Field(min_length=1, max_length=20, description="What it may do; null: everything."),
]
Expires = Annotated[Moment | None, Field(description="Not good from then on; null: never.")]
Grace = Annotated[
    int,
    Field(ge=0, le=MOST_GRACE, description="For how long the old one works yet, in seconds."),
]

Again = Annotated[
    bool,
    Field(description="Even while the one before the old one works yet: that ends at once."),
]


class NewKey(BaseModel):
    model_config = _asked(name="crm", scopes=["send", "read"], expires_at="2027-01-31T00:00:00Z")

    name: Name
    scopes: Scopes = None
    expires_at: Expires = None


class ChangedKey(BaseModel):
    """What is left out stays."""

    model_config = _asked(scopes=["read"])

    name: Name | None = None
    scopes: Scopes = None
    expires_at: Expires = None


class RotatedKey(BaseModel):
    model_config = _asked(grace_seconds=3600)

    grace_seconds: Grace = 24 * 3600
    again: Again = False


class Key(Changed):
    id: str
    name: str
    scopes: list[Scope] | None
    created_at: datetime
    expires_at: datetime | None
    previous_until: Annotated[
        datetime | None, Field(description="Until then the key it had before works too.")
    ]
    revoked_at: datetime | None


class MadeKey(Key):
    key: Annotated[str, Field(description="The key. This is the one time it is shown.")]


class NewPair(BaseModel):
    model_config = _asked(name="nixflex", scopes=["send", "read", "manage"])

    name: Name | None = None
    scopes: Scopes = None


class RotatedPair(BaseModel):
    model_config = _asked()

    grace_seconds: Grace = 0
    again: Again = False


class MadePair(Key):
    secret: Annotated[
        str,
        Field(description="The token is `ID:SECRET`. This is the one time the secret is shown."),
    ]


class NewApp(BaseModel):
    model_config = _asked(name="kore", require_jti=True)

    name: Name
    scopes: Scopes = None
    require_jti: Annotated[
        bool, Field(description="Each of its tokens must name itself (jti), and is good once.")
    ] = False


class ChangedApp(BaseModel):
    """What is left out stays."""

    model_config = _asked(require_jti=True)

    name: Name | None = None
    scopes: Scopes = None
    require_jti: bool | None = None


class App(Changed):
    client_id: Annotated[str, Field(description="The `appId` of its tokens.")]
    name: str
    scopes: list[Scope] | None
    require_jti: bool
    created_at: datetime
    revoked_at: datetime | None


class MadeApp(App):
    secret: Annotated[
        str, Field(description="Signs its tokens (HS256). This is the one time it is shown.")
    ]


class Account(Changed):
    id: str
    name: str
    agent_template: Annotated[
        str | None,
        Field(description="Agents that an API makes with a prompt alone run as this one does."),
    ]
    has_webhook_secret: bool


class ChangedAccount(BaseModel):
    """What is left out stays."""

    model_config = _asked(agent_template="bookings")

    name: Name | None = None
    agent_template: Annotated[
        str | None, Field(max_length=128, description="An agent of the account's; null: none.")
    ] = None


class WebhookSecret(BaseModel):
    webhook_secret: Annotated[
        str,
        Field(
            description="Signs what is posted to the URL of one conversation. This is the one time "
            "it is shown."
        ),
    ]


class Nothing(BaseModel):
    """An empty object, or no body at all."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {}})
