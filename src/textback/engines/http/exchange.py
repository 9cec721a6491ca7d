"""Exchange version 1: what is posted, and what may be answered. Times are RFC 3339 in UTC."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import from_json

from textback.core import storable
from textback.core.engine import (
    NOTHING,
    Analysis,
    AnalysisRequest,
    Earlier,
    Later,
    Said,
    TurnReply,
    TurnRequest,
    Usage,
)
from textback.core.turn import LATEST, LONGEST_STATE, LONGEST_TEXT, MOST_TEXTS, SOONEST

MAX_BODY: Final = 1_000_000
"""Bytes of an answer that are read at most."""
MAX_REASON: Final = 500
_MOST_TOKENS: Final = 1_000_000_000


class BadError(Exception):
    """What came is not usable; says why, without quoting what was answered."""


# --- What is posted -----------------------------------------------------------------------------


def turn_body(request: TurnRequest, *, later: timedelta | None) -> bytes:
    """`later`: how long the answer may take to come by `reply_url`; None: it may not."""
    body = _shared(request, "turn", request.transcript) | {
        "turn_id": request.turn_id,
        "run": request.run,
        "heard": request.heard,
    }
    if request.earlier:
        body["earlier"] = [_earlier(each) for each in request.earlier]
    if later is not None:
        body["reply_url"] = request.reply_url
        body["answer_within_seconds"] = later.total_seconds()
    return _json(body)


def analysis_body(request: AnalysisRequest) -> bytes:
    wanted = request.wanted
    return _json(
        _shared(request, "analysis", request.transcript)
        | {
            "ended": request.ended,
            "wanted": {
                "summary": wanted.summary,
                "values": wanted.values,
                "outcomes": [
                    {"name": each.name, "description": each.description} for each in wanted.outcomes
                ],
                "instructions": wanted.instructions,
            },
        }
    )


def _shared(
    request: TurnRequest | AnalysisRequest, kind: str, transcript: Sequence[Said]
) -> dict[str, object]:
    return {
        "version": 1,
        "type": kind,
        "conversation_id": request.conversation_id,
        "agent_id": request.agent_id,
        "project_id": request.project_id,
        "channel_type": request.channel,
        "messages": [_message(said) for said in transcript],
        "metadata": dict(request.metadata),
        "variables": dict(request.variables),
        "objective": request.objective,
        "state": dict(request.state),
        "timezone": request.timezone,
    }


def _message(said: Said) -> dict[str, object]:
    message: dict[str, object] = {"role": said.role, "text": said.text, "at": _time(said.at)}
    if said.media:
        message["media"] = [dict(medium) for medium in said.media]
    return message


def _earlier(earlier: Earlier) -> dict[str, object]:
    return {
        "ended_at": _time(earlier.ended_at),
        "summary": earlier.summary,
        "messages": [_message(said) for said in earlier.transcript],
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


# --- What is answered ---------------------------------------------------------------------------


def _is_sayable(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    if not storable.is_text(text):
        raise ValueError("holds a NUL")
    return text


def _is_state(value: dict[str, Any]) -> dict[str, Any]:
    if not storable.is_json(value, longest=LONGEST_STATE):
        raise ValueError(f"is no JSON of up to {LONGEST_STATE} bytes that can be kept")
    return value


Sayable = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(_is_sayable)]
State = Annotated[dict[str, Any], AfterValidator(_is_state)]
Reason = Annotated[str, StringConstraints(max_length=MAX_REASON), AfterValidator(_is_sayable)]
Tokens = Annotated[int, Field(ge=0, le=_MOST_TOKENS)]
Seconds = Annotated[
    float, Field(ge=SOONEST.total_seconds(), le=LATEST.total_seconds(), allow_inf_nan=False)
]


class _Strict(BaseModel):
    """Keys we do not know are for later versions and ignored."""

    model_config = ConfigDict(strict=True)


class _Text(_Strict):
    text: Sayable


class _Usage(_Strict):
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost_usd: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.0


class _Answer(_Strict):
    type: Any = None
    usage: _Usage | None = None

    @field_validator("type")
    @classmethod
    def _is_no_request(cls, value: object) -> object:
        # Ours, signed by us, must not come back as an answer: it has messages, too.
        if value in ("turn", "analysis"):
            raise ValueError("this is what was asked, not an answer to it")
        return value

    @property
    def cost(self) -> Usage:
        return NOTHING if self.usage is None else Usage(**self.usage.model_dump())


class _Reply(_Answer):
    messages: Annotated[list[_Text], Field(max_length=MOST_TEXTS)]
    end_conversation: bool = False
    hand_off: Reason | None = None
    state: State | None = None
    turn_id: str | None = None
    run: int | None = None


class _Analysed(_Answer):
    summary: str | None = None
    values: dict[str, Any] | None = None
    outcome: str | None = None


class _Promise(_Strict):
    within_seconds: Seconds | None = None


_Shape = TypeVar("_Shape", bound=BaseModel)


def reply(body: bytes, *, turn_id: str, run: int) -> TurnReply:
    """Refuses what is not exactly an answer: a repaired one could say what nobody meant.

    Raises BadError.
    """
    answer = _parsed(_Reply, body)
    if answer.turn_id not in {None, turn_id} or answer.run not in {None, run}:
        raise BadError("the answer names another turn, or another run of it")
    return TurnReply(
        texts=tuple(message.text for message in answer.messages),
        end_conversation=answer.end_conversation,
        hand_off=answer.hand_off,
        state=answer.state,
        usage=answer.cost,
    )


def analysis(body: bytes) -> Analysis:
    """Raises BadError."""
    answer = _parsed(_Analysed, body)
    if not answer.model_fields_set & {"summary", "values", "outcome"}:
        raise BadError("the answer has no summary, no values and no outcome")
    return Analysis(
        summary=answer.summary, values=answer.values, outcome=answer.outcome, usage=answer.cost
    )


def promise(body: bytes, *, unless_said: timedelta) -> Later:
    """What a 202 promises; it may come without any body. Raises BadError."""
    seconds = _parsed(_Promise, body).within_seconds if _is_object(body) else None
    return Later(within=unless_said if seconds is None else timedelta(seconds=seconds))


def has_messages(body: bytes) -> bool:
    """Whether it is meant as an answer."""
    return _is_object(body) and "messages" in from_json(body)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(from_json(body), dict)
    except ValueError:
        return False


def _parsed(shape: type[_Shape], body: bytes) -> _Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise BadError("the answer is not JSON") from error
        where = ".".join(str(step) for step in first["loc"]) or "the answer"
        raise BadError(f"{where}: {first['msg']}") from error
