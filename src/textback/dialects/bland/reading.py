"""How Bland AI's reading routes are asked, and what they show. No HTTP, no database.

https://docs.bland.ai/api-v1/get/sms-conversations
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast, get_args

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from textback.core import phone, storable
from textback.core.frozen import frozen
from textback.core.phone import Phone
from textback.db.listing import FIELDS, Filter, Listed, Operator
from textback.db.reads import MessageRecord
from textback.db.webhook_reads import AttemptRecord, DeliveryRecord
from textback.dialects.bland import wire
from textback.dialects.bland.wire import Wrong

MOST_FILTERS: Final = 20
MOST_PAGE: Final = 1_000_000
LARGEST_PAGE: Final = 100

_NUMBERS: Final = frozenset({"message_count"})
_TIMES: Final = frozenset({"created_at", "updated_at", "last_message_at"})
_FLAGS: Final = frozenset({"is_active"})
_ORDERED: Final = frozenset({"gt", "gte", "lt", "lte"})
_OF_WORDS: Final = frozenset({"contains", "startsWith", "endsWith"})

_TIME: Final = TypeAdapter(datetime)


@frozen
class Page:
    number: int
    size: int
    sort_by: str
    descending: bool
    filters: Sequence[Filter]


def page(query: Mapping[str, str]) -> Page:
    """Fields that are not known are ignored. Raises Wrong."""
    sort_by = query.get("sortBy") or "created_at"
    if sort_by not in FIELDS:
        raise Wrong("INVALID_SORT", f"sortBy must be one of {', '.join(FIELDS)}.")
    direction = (query.get("sortDir") or "desc").lower()
    if direction not in {"asc", "desc"}:
        raise Wrong("INVALID_SORT", "sortDir must be asc or desc.")
    return Page(
        number=_whole(query, "page", usual=1, most=MOST_PAGE),
        size=_whole(query, "pageSize", usual=25, most=LARGEST_PAGE),
        sort_by=sort_by,
        descending=direction == "desc",
        filters=_filters(query.get("filters")),
    )


def _whole(query: Mapping[str, str], name: str, *, usual: int, most: int) -> int:
    given = query.get(name) or str(usual)
    is_whole = given.isascii() and given.isdecimal() and len(given) <= len(str(most))
    if not is_whole or not 1 <= int(given) <= most:
        raise Wrong("INVALID_PAGINATION", f"{name} must be a whole number from 1 to {most}.")
    return int(given)


def _filters(given: str | None) -> list[Filter]:
    if not given:
        return []
    try:
        found = cast("object", json.loads(given))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise _filter("filters must be a JSON array of {field, operator, value}.")
    many = cast("list[object]", found)
    if len(many) > MOST_FILTERS:
        raise _filter(f"There may be {MOST_FILTERS} filters at most.")
    return [_one(each) for each in many]


def _one(given: object) -> Filter:
    if not isinstance(given, dict):
        raise _filter("Each filter must be an object with field, operator and value.")
    asked = cast("dict[str, object]", given)
    field, operator, value = asked.get("field"), asked.get("operator"), asked.get("value")
    if not isinstance(field, str) or field not in FIELDS:
        raise _filter(f"A filter's field must be one of {', '.join(FIELDS)}.")
    if operator not in get_args(Operator):
        raise _filter(f"A filter's operator must be one of {', '.join(get_args(Operator))}.")
    is_words = field not in _NUMBERS | _TIMES | _FLAGS
    unfit = _OF_WORDS if not is_words else frozenset[str]()
    unfit |= _ORDERED if field in _FLAGS or field == "id" else frozenset[str]()
    unfit |= _OF_WORDS if field == "id" else frozenset[str]()
    if operator in unfit:
        raise _filter(f"{operator} does not work on {field}.")
    return Filter(field=field, operator=cast("Operator", operator), value=_value(field, value))


def _value(field: str, value: object) -> str | bool | int | datetime:
    if field in _FLAGS:
        if not isinstance(value, bool):
            raise _filter(f"The value for {field} must be true or false.")
        return value
    if field in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 31:
            raise _filter(f"The value for {field} must be a whole number.")
        return value
    if not isinstance(value, str) or not value or "\0" in value or not _is_unicode(value):
        raise _filter(f"The value for {field} must be a string.")
    if field == "id":
        return wire.conversation_id(value) if wire.is_uuid(value) else "nobody's"
    return _time(field, value) if field in _TIMES else value


def _time(field: str, value: str) -> datetime:
    try:
        at = _TIME.validate_python(value)
    except ValidationError:
        at = None
    if at is None or at.tzinfo is None or not storable.is_moment(at):
        raise _filter(f"The value for {field} must be a time in ISO 8601, with a zone.")
    return at


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _filter(sentence: str) -> Wrong:
    return Wrong("INVALID_FILTERS", sentence)


# --- What is changed ----------------------------------------------------------------------------


class Change(wire.Body):
    is_active: Annotated[bool, Field(description="False ends it; one that is over stays over.")]


class Deleted(wire.Body):
    message_ids: Annotated[list[str], Field(min_length=1, max_length=1000)]


class Analyze(wire.Body):
    schema_id: Annotated[str, Field(min_length=1, max_length=200)]
    conversation_id: Annotated[str, Field(min_length=1, max_length=200)]


# --- What is shown ------------------------------------------------------------------------------


def listed(c: Listed) -> dict[str, JsonValue]:
    """As in the list of conversations."""
    found = c.analysis or {}
    return {
        "id": wire.shown_id(c.id),
        "created_at": wire.shown_time(c.created_at),
        "updated_at": wire.shown_time(c.updated_at),
        "user_number": phone.bare(Phone(c.user_number)),
        "agent_number": phone.bare(Phone(c.agent_number)),
        "variables": dict(c.variables),
        "current_node_id": c.current_node_id,
        "curr_pathway_id": c.agent_id,
        "is_active": c.is_active,
        "message_count": c.message_count,
        "last_message": c.last_message,
        "last_message_at": _maybe(c.last_message_at),
        "pathway_tags": [],
        "effective_channel": phone.channel(Phone(c.user_number)),
        "summary": found.get("summary"),
        "citation_variables": found.get("values") or {},
        "disposition_tag": found.get("outcome"),
        "metadata": dict(c.metadata),
        "human_handoff_at": _maybe(c.handed_off_at),
        "human_handoff_reason": c.why_handed_off,
    }


def whole(c: Listed, texts: Sequence[MessageRecord]) -> dict[str, JsonValue]:
    """One conversation, with all that was said."""
    more: dict[str, JsonValue] = {
        "user_id": c.account_id,
        "inbound_id": phone.bare(Phone(c.agent_number)),
        "curr_pathway_version": c.agent_version,
        "timed_out_at": _maybe(c.closed_at) if c.reason == "idle" else None,
        "messages": [message(c, each) for each in texts],
        "disposition_logs": _dispositions(c),
    }
    return listed(c) | more


def message(c: Listed, m: MessageRecord) -> dict[str, JsonValue]:
    is_users = m.direction == "inbound"
    ours, theirs = phone.bare(Phone(c.agent_number)), phone.bare(Phone(c.user_number))
    return {
        "id": m.id,
        "created_at": wire.shown_time(m.created_at),
        "message": m.text,
        "from": theirs if is_users else ours,
        "to": ours if is_users else theirs,
        "sender": "USER" if is_users else "HUMAN" if m.kind == "person" else "AGENT",
        "status": None if is_users else status(m),
        "error_code": m.error_code or (m.reason if m.state == "suppressed" else None),
    }


Status = Literal["pending", "queued", "sent", "delivered", "failed", "undelivered"]


def status(m: MessageRecord) -> Status:
    """A text of ours, in their words (D35)."""
    match m.state:
        case "queued":
            return "queued" if m.text else "pending"
        case "sending" | "uncertain":
            return "queued"
        case "sent":
            return "sent"
        case "delivered":
            return "delivered"
        case "failed" if m.carrier_message_id:
            return "undelivered"
        case _:
            return "failed"


def _dispositions(c: Listed) -> list[JsonValue]:
    """What the analysis at its end decided."""
    found = c.analysis
    if found is None or ("error" not in found and found.get("outcome") is None):
        return []
    return [
        {
            "disposition_id": c.agent_id,
            "snippet_version": c.agent_version,
            "status": "ERROR" if "error" in found else "COMPLETE",
            "result": found.get("outcome"),
            "error": found.get("error"),
            "exec_time": None,
        }
    ]


def delivery(
    shown: str, c: Listed, url: str | None, d: DeliveryRecord, tried: Sequence[AttemptRecord]
) -> dict[str, JsonValue]:
    """The latest webhook of a conversation, and each attempt at it."""
    payload: JsonValue = None if d.body is None else cast("JsonValue", json.loads(d.body))
    body: Any = payload
    kind = str(body.get("type", "message")) if isinstance(body, dict) else "message"  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return {
        "conversation_id": shown,
        "url": url,
        "payload": payload,
        "created_at": wire.shown_time(d.created_at),
        "user_id": c.account_id,
        "metadata": [
            {
                "sent_at": wire.shown_time(each.at),
                "response_code": each.status,
                "response_time": each.milliseconds,
                "send_type": kind,
                "error_message": each.error,
            }
            for each in tried
        ],
    }


def analyzed(shown: str, schema: str, found: Mapping[str, Any], texts: int) -> dict[str, JsonValue]:
    """Values by their names; where in the text each was said, nobody notes."""
    values: Mapping[str, Any] = found.get("values") or {}
    return {
        "status": "error" if "error" in found else "success",
        "conversation_id": shown,
        "schema_id": schema,
        "schema_name": schema,
        "variables_extracted": len(values),
        "extracted_variables": dict(values),
        "citations": [{"variable": name, "message": None, "confidence": None} for name in values],
        "messages_processed": texts,
    }


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else wire.shown_time(at)
