"""`POST /v1/keys` and `/v1/keys/rotate`. No HTTP, no database.

https://docs.nixflex.com/api-reference/account/create-key
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from textback.dialects.nixflex.reading import Body
from textback.flows.manage_keys import Secret


class NewKey(Body):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"example": {"name": "Fahim Mirza", "email": "fahim@example.com"}},
    )

    name: Annotated[str | None, Field(max_length=100)] = None
    email: Annotated[str | None, Field(description="Ignored: nothing is billed here.")] = None


class MadeKey(BaseModel):
    message: str
    key_id: Annotated[str, Field(pattern="^nxf_[0-9a-f]{32}$")]
    key_secret: Annotated[str, Field(description="Shown this once.")]


def created(secret: Secret) -> dict[str, Any]:
    return MadeKey(
        message="API key created. Save your key_secret — it will not be shown again.",
        key_id=secret.key.id,
        key_secret=secret.secret,
    ).model_dump()


def rotated(secret: Secret) -> dict[str, Any]:
    return MadeKey(
        message="API key rotated. The old key_secret no longer works. Save the new one — it will"
        " not be shown again.",
        key_id=secret.key.id,
        key_secret=secret.secret,
    ).model_dump()
