"""Nixflex' agent object: its fields, what they become here, and how it is shown. No HTTP.

https://docs.nixflex.com/api-reference/agents/create, and the types of the Node SDK 0.8.0. Fields
that are about calls are kept and shown, and change nothing.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from textback.core.policy import MAX_TEXT
from textback.db.holdings import HeldAgent
from textback.dialects.nixflex import kept
from textback.dialects.nixflex.reading import Body, Json
from textback.dialects.nixflex.wire import Refused, when
from textback.flows.manage import Own

Flag = bool | None
Words = Annotated[str | None, Field(max_length=2000)]
Whole = Annotated[int, Field(ge=0, le=1_000_000)]
Many = Annotated[list[Json], Field(max_length=100)]
Url = Annotated[str | None, Field(max_length=2048)]


class AgentFields(Body):
    """What may be given. All of it may be left out; of an update, what is left out stays."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "name": "Acme Dental Receptionist",
                "system_prompt": "You are the friendly front desk of Acme Dental in Croydon.",
                "response_length": "short",
            }
        },
    )
    NULLABLE: ClassVar[frozenset[str]] = frozenset(
        {
            "webhook_url",
            "transfer_number",
            "transfer_whisper",
            "post_call_sms_template",
            "voicemail_message",
            "dtmf_enabled",
            "speaking_rate",
            "extraction_schema",
        }
    )
    TOO_LONG: ClassVar[Mapping[str, str]] = {"system_prompt": "prompt_too_long"}

    name: Annotated[str, Field(min_length=1, max_length=100)] = "Untitled Agent"
    system_prompt: Annotated[
        str,
        Field(min_length=1, max_length=16_000, description="May hold {{variables}}."),
    ] = "You are a helpful assistant who answers people by SMS."
    welcome_message: Annotated[
        str, Field(max_length=MAX_TEXT, description="Its first line, where it has to open.")
    ] = ""
    fallback_message: Annotated[
        str, Field(max_length=MAX_TEXT, description="Said when no answer can be had.")
    ] = ""
    language: Annotated[str, Field(max_length=20)] = "en"
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.3
    response_length: Literal["short", "medium", "long"] = "medium"
    is_active: Annotated[bool, Field(description="False: it does not answer.")] = True
    enable_sms_reply: Annotated[bool, Field(description="False: it does not answer.")] = True
    webhook_url: Annotated[Url, Field(description="Told of each text's delivery.")] = None
    # Of calls, from here on.
    voice_id: Annotated[str, Field(max_length=200)] = "Ashley"
    ai_speaks_first: bool = True
    dynamic_greeting: bool = False
    interruption_sensitivity: Whole | Literal["low", "medium", "high"] = 50
    response_eagerness: Annotated[int, Field(ge=0, le=1000)] = 200
    boosted_keywords: Annotated[str, Field(max_length=2000)] = ""
    pickup_delay: Annotated[int, Field(ge=5, le=30)] = 10
    max_call_duration_seconds: Annotated[int, Field(ge=60, le=1800)] = 600
    silence_hangup_seconds: Annotated[int, Field(ge=5, le=45)] = 30
    record_call: bool = True
    recording_source: Literal["provider", "nixflex"] = "provider"
    amd_enabled: bool = False
    dtmf_enabled: Flag = None
    voicemail_leave_enabled: bool = False
    voicemail_message: Words = None
    func_end_call: bool = True
    func_send_sms: bool = True
    func_cold_transfer: bool = True
    transfer_type: Literal["cold", "warm"] = "cold"
    transfer_number: Annotated[str | None, Field(max_length=40)] = None
    transfer_whisper: Words = None
    voice_speed: float = 1
    speaking_rate: float | None = None
    greet_by_name: bool = True
    incall_sms_enabled: bool = False
    post_call_sms_enabled: bool = False
    post_call_sms_template: Annotated[str | None, Field(max_length=MAX_TEXT)] = None
    data_extraction_fields: Many = Field(default_factory=list[dict[str, Any]])
    extraction_schema: Json | None = None
    functions: Many = Field(default_factory=list[dict[str, Any]])


class Agent(BaseModel):
    """As it is answered: every field, and the three that only we set."""

    model_config = ConfigDict(extra="allow")

    agent_id: str
    name: str
    system_prompt: str
    is_active: bool
    created_at: str
    updated_at: str


USUAL: Final[Mapping[str, Any]] = AgentFields().model_dump()

_SAID: Final = frozenset(
    {"system_prompt", "temperature", "response_length", "welcome_message", "fallback_message"}
)
"""What the agent says follows from these: a change makes another version."""

_LENGTHS: Final[Mapping[str, str]] = {
    "short": "\n\nAnswer in one short sentence.",
    "medium": "",
    "long": "\n\nYou may answer in up to four sentences.",
}


def new_id() -> str:
    return "agent_" + secrets.token_hex(8)


def fields(of: HeldAgent | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """All of them, with what is given now. Raises Refused."""
    found = {**(USUAL if of is None else _own(of)), **given}
    if found["voicemail_leave_enabled"] and not found["voicemail_message"]:
        raise no_voicemail()
    return found


def no_voicemail() -> Refused:
    return Refused(
        "voicemail_message_required",
        "voicemail_leave_enabled needs a voicemail_message.",
        field="voicemail_message",
    )


def prompt(of: Mapping[str, Any]) -> str:
    return of["system_prompt"] + _LENGTHS[of["response_length"]]


def changes_what_is_said(of: HeldAgent, now: Mapping[str, Any]) -> bool:
    before = _own(of)
    return any(before[name] != now[name] for name in _SAID)


def patch(of: HeldAgent, now: Mapping[str, Any]) -> dict[str, Any]:
    """Of our own entry: what follows from the fields. Raises Refused."""
    if of.engine.get("kind") != "llm":
        raise Refused(
            "conflict",
            "This agent does not speak through a language model: it has no prompt to change.",
            agent_id=of.id,
        )
    engine: dict[str, Any] = {"prompt": prompt(now)}
    # A model that takes no temperature is sent none.
    if of.engine.get("model", {}).get("temperature", 0) is not None:
        engine["model"] = {"temperature": now["temperature"]}
    found: dict[str, Any] = {"engine": engine, "greeting": now["welcome_message"] or None}
    return found | ({"fallback": now["fallback_message"]} if now["fallback_message"] else {})


def own(now: Mapping[str, Any], *, at: datetime) -> dict[str, Any]:
    """What is kept of it; null would be forgotten in a merge, and says nothing here anyway."""
    return {kept.OURS: {**now, "updated_at": when(at)}}


def changed(of: HeldAgent, given: Mapping[str, Any], *, at: datetime) -> Own:
    """`own`, on top of what is kept by then: of two changes at once neither is lost."""
    return lambda extra: own(fields(replace(of, extra=extra), given), at=at)


def answers(of: HeldAgent) -> bool:
    found = _own(of)
    return bool(found["is_active"] and found["enable_sms_reply"])


def shown(of: HeldAgent) -> dict[str, Any]:
    found = _own(of)
    return {
        "agent_id": of.id,
        **found,
        "created_at": when(of.created_at),
        "updated_at": kept.agent(of.extra).get("updated_at") or when(of.changed_at),
    }


def _own(of: HeldAgent) -> dict[str, Any]:
    """Of one that was not made here, what can be known."""
    found = kept.agent(of.extra)
    known = {name: found[name] for name in USUAL if name in found}
    if not found:
        known = {
            "name": of.id,
            "system_prompt": str(of.engine.get("prompt", "")),
            "welcome_message": of.greeting or "",
            "fallback_message": of.fallback or "",
        }
    return {**USUAL, **known}


def wanted_activity(given: Mapping[str, str]) -> bool | None:
    """The filter of a list. Raises Refused."""
    found = given.get("is_active")
    if found is not None and not re.fullmatch("true|false", found):
        raise Refused("invalid_field", "is_active must be true or false.", field="is_active")
    return None if found is None else found == "true"
