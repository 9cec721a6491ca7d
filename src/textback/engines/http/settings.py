"""What the provisioning file says of a server that answers turns."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from textback.core import signing
from textback.core.turn import LATEST, SOONEST


def _is_http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        good = False
    if not good:
        raise ValueError("must be an address such as https://example.com/turn")
    return url


def _is_secret(secret: SecretStr) -> SecretStr:
    signing.secret_bytes(secret.get_secret_value())
    return secret


class HttpConfig(BaseModel):
    """`engine: {kind: http, ...}` of an agent."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["http"] = "http"
    url: Annotated[str, AfterValidator(_is_http_url)]
    secret: Annotated[SecretStr, AfterValidator(_is_secret)] | None = None
    """`whsec_<base64>`; without it turns go unsigned, and none may be answered later."""
    timeout_seconds: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 20
    """For one attempt, in all; a turn may take twice that."""
    answer_within_seconds: Annotated[
        float, Field(ge=SOONEST.total_seconds(), le=LATEST.total_seconds(), allow_inf_nan=False)
    ] = 300
    """For an answer that comes later, if the server does not say otherwise."""
    earlier_conversations: Annotated[int, Field(ge=0, le=10)] = 0
    """With the same user in the same project: how many are told with each turn."""
