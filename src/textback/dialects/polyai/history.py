"""What PolyAI's Conversations API says of a conversation, in its two shapes. No HTTP.

https://docs.poly.ai/api-reference/conversations/introduction
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from textback.core import phone
from textback.core.errors import BadRequest
from textback.core.phone import Phone
from textback.core.policy import Environment
from textback.core.storable import is_moment
from textback.db.transcripts import Said, Transcript, Wanted

LIST: Final = "/v3/{account_id}/{project_id}/conversations"
ONE: Final = "/v1/agents/{agent_id}/conversations/{conversation_id}"

MOST: Final = 5000
USUAL: Final = 1000
"""Prose and OpenAPI document disagree on both; this is the wider of the two."""

PREFIX: Final = "TW_SMS_"
"""Of the ids of SMS conversations; with or without it they are found."""

LABELS: Final[Mapping[phone.Channel, str]] = {
    "sms": "SMS",
    "rcs": "RCS",
    "whatsapp": "WHATSAPP",
    "chat": "CHAT",
}
"""WEBCHAT and CHAT are documented, SMS is not."""


def _written_out(value: object) -> object:
    """A bare number would be read as a time in seconds."""
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\dT", value):
        raise ValueError("must be a time in ISO 8601 with a zone")
    return value


def _of_some_age(value: datetime) -> datetime:
    if not is_moment(value):
        raise ValueError("must be a time of these centuries")
    return value


When = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_of_some_age)]


class Query(BaseModel):
    """What may be asked; what is not known is ignored."""

    model_config = ConfigDict(extra="ignore")

    client_env: Environment = "live"
    channel: Annotated[list[str], Field(max_length=10)] = []
    start_time: When | None = None
    end_time: When | None = None
    in_progress: bool | None = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = USUAL
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    cursor: Annotated[str | None, Field(pattern=r"^conv_[0-9a-z]{26}$")] = None
    query_type: Literal["transcript"] | None = None
    query: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    turn_type: Literal["user", "agent"] | None = None
    sample: Literal["random"] | None = None
    include_latency: bool = False
    variant_id: str | None = None
    variant_name: str | None = None


def read(given: Mapping[str, Sequence[str]]) -> Query:
    """A query's fields with all their values. Raises BadRequest, naming the first that is wrong."""
    plain = {
        name: list(values) if name == "channel" else values[-1] for name, values in given.items()
    }
    try:
        found = Query.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise BadRequest(f"{first['loc'][0]}: {first['msg']}.") from None
    if found.query_type is not None and found.query is None:
        raise BadRequest("query: Say what is looked for; query_type needs it.")
    if found.query_type is not None and found.sample is not None:
        raise BadRequest("sample: Give either query_type or sample.")
    if any("\0" in value for values in given.values() for value in values):
        raise BadRequest("The query holds a character that no text can hold (NUL).")
    return found


def wanted(project_id: str, asked: Query) -> Wanted:
    """One more than asked for, so that it is known whether there are more."""
    by_label = {label: name for name, label in LABELS.items()}
    channels = [by_label.get(label.upper(), label) for label in asked.channel]
    return Wanted(
        project_id=project_id,
        environment=asked.client_env,
        channels=channels,
        since=asked.start_time,
        until=asked.end_time,
        live=asked.in_progress,
        words=asked.query,
        said_by=asked.turn_type,
        at_random=asked.sample is not None,
        before=asked.cursor,
        offset=0 if asked.cursor else asked.offset,
        limit=asked.limit + 1,
    )


def page(found: Sequence[Transcript], asked: Query) -> dict[str, Any]:
    """`next_offset` and `cursor` where there are more; a sample has no order to go on in."""
    shown, more = found[: asked.limit], len(found) > asked.limit and asked.sample is None
    answer: dict[str, Any] = {
        "conversations": [listed(one, latency=asked.include_latency) for one in shown],
        "cursor": shown[-1].id if more else None,
    }
    if more and asked.cursor is None:
        answer["next_offset"] = asked.offset + asked.limit
    return answer


def listed(t: Transcript, *, latency: bool = False) -> dict[str, Any]:
    """Of the list: snake_case, with its turns."""
    seconds = _seconds(t)
    turns = _turns(t.texts, latency=latency)
    return {
        "id": shown_id(t),
        "account_id": t.account_id,
        "project_id": t.project_id,
        "variant_id": "",
        "variant_name": "",
        "environment": t.environment,
        "started_at": _iso(t.opened_at),
        "channel": _label(t),
        "from_number": _from(t),
        "to_number": _to(t),
        "in_progress": t.state != "closed",
        "num_turns": len(turns),
        "total_duration": seconds,
        "polyai_duration": _polyai_seconds(t, seconds),
        "handoff": t.handed_off_at is not None,
        "handoff_reason": t.why_handed_off or "",
        "handoff_destination": "",
        "num_silences": 0,
        "num_ood": 0,
        "metrics": _metrics(t),
        "state": dict(t.variables),
        "turns": turns,
    }


def detailed(t: Transcript) -> dict[str, Any]:
    """Of the Agents API: camelCase."""
    return {
        "conversationId": shown_id(t),
        "accountId": t.account_id,
        "projectId": t.project_id,
        "createdAt": _iso(t.opened_at),
        "startedAt": _iso(t.opened_at),
        "finishedAt": None if t.closed_at is None else _iso(t.closed_at),
        "channel": _label(t),
        "fromNumber": _from(t),
        "toNumber": _to(t),
        "direction": "INBOUND" if t.by_user else "OUTBOUND",
        "clientEnv": t.environment,
        "inProgress": t.state != "closed",
        "handoff": t.handed_off_at is not None,
        "handoffReason": t.why_handed_off or "",
        "handoffDestination": "",
        "tags": [],
        "shortSummary": str((t.analysis or {}).get("summary") or ""),
        "turns": [
            {_camel(name): value for name, value in turn.items()}
            for turn in _turns(t.texts, latency=True)
        ],
    }


def own_id(shown: str) -> str:
    """`shown_id` turned back."""
    return shown.removeprefix(PREFIX)


def shown_id(t: Transcript) -> str:
    return t.id if phone.channel(Phone(t.user_number)) == "chat" else PREFIX + t.id


def _turns(texts: Sequence[Said], *, latency: bool) -> list[dict[str, Any]]:
    """A turn is what the user said and what the agent answered; an opener answers nothing."""
    turns: list[tuple[list[Said], list[Said]]] = []
    for text in texts:
        begins = not turns or (text.is_users and turns[-1][1])
        if begins:
            turns.append(([], []))
        turns[-1][0 if text.is_users else 1].append(text)
    return [_turn(asked, answered, latency=latency) for asked, answered in turns]


def _turn(asked: list[Said], answered: list[Said], *, latency: bool) -> dict[str, Any]:
    turn: dict[str, Any] = {
        "user_input": "\n".join(each.text for each in asked),
        "user_input_dtmf": "",
        "user_input_datetime": _iso(asked[0].at) if asked else "",
        "agent_response": "\n".join(each.text for each in answered),
        "agent_response_datetime": _iso(answered[0].at) if answered else "",
        "translated_user_input": "",
        "english_agent_response": "",
        "intents": [],
        "entities": [],
        "is_ood": False,
        "is_silence": False,
    }
    if latency and asked and answered:
        turn["latency"] = (answered[0].at - asked[-1].at).total_seconds()
    return turn


def _metrics(t: Transcript) -> dict[str, str]:
    """What the analysis at the end found. Each is documented to be text."""
    found = t.analysis or {}
    said: Mapping[str, Any] = found.get("values") or {}
    values: Mapping[str, Any] = {**said, "outcome": found.get("outcome")}
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
        if value is not None
    }


def _seconds(t: Transcript) -> int:
    """Whole ones, as documented."""
    return max(0, round(((t.closed_at or t.active_at) - t.opened_at).total_seconds()))


def _polyai_seconds(t: Transcript, seconds: int) -> int:
    """Until a person took over."""
    if t.handed_off_at is None:
        return seconds
    return min(seconds, max(0, round((t.handed_off_at - t.opened_at).total_seconds())))


def _label(t: Transcript) -> str:
    return LABELS[phone.channel(Phone(t.user_number))]


def _from(t: Transcript) -> str:
    return _number(t.user_number if t.by_user else t.agent_number)


def _to(t: Transcript) -> str:
    return _number(t.agent_number if t.by_user else t.user_number)


def _number(address: str) -> str:
    """None in a chat, where both ends are names of ours."""
    one = Phone(address)
    return "" if phone.channel(one) == "chat" else phone.bare(one)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
