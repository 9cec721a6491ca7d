"""Our own shapes of what was used, and of whose key it is. No HTTP."""

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from textback.dialects.native.fields import Name

USAGE = "/v1/usage"
ME = "/v1/me"
PROJECTS = "/v1/projects"

MOST_DAYS = 92

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(value: object) -> date:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            found = date.fromisoformat(value)
        except ValueError:
            pass
        else:
            if 1970 < found.year < 9000:  # noqa: PLR2004 - days of texts
                return found
    raise ValueError("must be a day such as 2027-01-31")


Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


class UsageQuery(BaseModel):
    """Which days, and how they are counted."""

    model_config = ConfigDict(extra="forbid")

    project: Name | None = None
    since: Annotated[Day, Field(description="The first day, in the project's time zone.")]
    until: Annotated[Day, Field(description=f"The last; at most {MOST_DAYS} days in all.")]
    by: Annotated[
        Literal["day", "project", "number"], Field(description="A row for each of these.")
    ] = "day"


class Texts(BaseModel):
    received: Annotated[int, Field(description="From users.")]
    written: Annotated[int, Field(description="Ours, whatever became of them.")]
    by_state: Annotated[dict[str, int], Field(description="Of ours.")]
    by_error_code: Annotated[dict[str, int], Field(description="Of ours that failed.")]
    segments: Annotated[int, Field(description="Of ours that left, or may have.")]
    segments_saved: Annotated[int, Field(description="By writing smart punctuation plainly.")]


class Talks(BaseModel):
    opened: int
    closed: Annotated[dict[str, int], Field(description="Of those, over by now, by reason.")]


class Turns(BaseModel):
    turns: int
    tokens: int
    cost_usd: float


class Used(BaseModel):
    key: Annotated[str, Field(description="The day, project or number.")]
    texts: Texts
    conversations: Talks
    agents: Annotated[Turns | None, Field(description="null: not known by number.")]


class Usage(BaseModel):
    since: date
    until: date
    by: Literal["day", "project", "number"]
    data: Annotated[list[Used], Field(description="In order; what was not used is left out.")]


class Me(BaseModel):
    account: str
    account_name: str
    key_id: str
    key_name: str | None
    scopes: Annotated[list[str], Field(description="What the key may do.")]
    expires_at: Annotated[str | None, Field(description="When the key ends, if it does.")]


class Project(BaseModel):
    id: str
    name: str
