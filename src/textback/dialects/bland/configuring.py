"""`sms_config`: what a caller says of a number, and what conversations there begin with for it.

https://docs.bland.ai/api-v1/post/sms-update, https://docs.bland.ai/api-v1/get/sms-numbers.
No HTTP, no database.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from pydantic import Field, JsonValue

from textback.core import phone
from textback.core.defaults import Defaults
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.dialects.bland import sending, timeouts, wire
from textback.dialects.bland.sending import MAX_OBJECTIVE, Id, Ids, Version
from textback.dialects.bland.wire import Wrong

Config = Mapping[str, Any]
"""The words of `sms_config` as given, without those that are not set; and our own two, below."""

EMPTY: Final[Mapping[str, JsonValue]] = {
    "webhook": None,
    "request_data": [],
    "time_out": None,
    "timeout_action": None,
    "timeout_message": None,
    "warning_time": None,
    "warning_message": None,
    "messaging_service_sid": None,
    "objective": None,
    "tools": [],
    "temperature": 0,
    "pathway_id": None,
    "pathway_version": None,
    "start_node_id": None,
    "restart_after_end_call": True,
    "timezone": None,
    "summary_prompt": None,
    "disposition_ids": None,
    "citation_schema_ids": None,
}
"""In their order, as a number that nobody configured shows them."""


class Update(timeouts.Timeouts):
    """What is absent stays; null takes it back."""

    phone_number: Annotated[str, Field(description="One of your account's, in E.164 form.")]
    channel: str | None = None
    webhook: str | None = None
    request_data: dict[str, Any] | list[Any] | None = None
    timeout_action: Annotated[str | None, Field(max_length=100)] = None
    messaging_service_sid: str | None = None
    objective: Annotated[str | None, Field(max_length=MAX_OBJECTIVE)] = None
    tools: Annotated[list[Any] | None, Field(max_length=100)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    pathway_id: Id = None
    pathway_version: Version = None
    start_node_id: Id = None
    restart_after_end_call: bool | None = None
    timezone: Annotated[str | None, Field(max_length=100)] = None
    summary_prompt: Annotated[str | None, Field(max_length=MAX_OBJECTIVE)] = None
    disposition_ids: Ids = None
    citation_schema_ids: Ids = None


CODES: Final = {
    **timeouts.CODES,
    "objective": "INVALID_OBJECTIVE",
    "phone_number": "MISSING_REQUIRED_FIELDS",
}

_SERVICE: Final = re.compile(r"MG[0-9a-fA-F]{32}")


def read(body: Mapping[str, Any]) -> tuple[Phone, dict[str, Any]]:
    """The number, and what is said of it: None takes it back. Raises Wrong."""
    asked = wire.read(Update, body, CODES)
    if asked.messaging_service_sid and not _SERVICE.fullmatch(asked.messaging_service_sid):
        raise Wrong(
            "INVALID_REQUEST", "messaging_service_sid must be MG and 32 hexadecimal digits."
        )
    sending.version(asked.pathway_version)
    said = {name: None if body[name] == "" else body[name] for name in EMPTY if name in body}
    return number(asked.phone_number, asked.channel), said


def number(raw: str, channel: str | None = None) -> Phone:
    """Raises Wrong."""
    on = sending.channel(channel)
    found = phone.agent_number(raw)
    if found is None:
        raise Wrong(
            "INVALID_REQUEST",
            "phone_number must be a phone number in E.164 form, like +14155550123.",
        )
    return found if on == "sms" or phone.channel(found) == on else Phone(f"{on}:{found}")


def changed(config: Config, said: Mapping[str, Any]) -> dict[str, Any]:
    both = {**config, **said}
    return {name: value for name, value in both.items() if value is not None}


def defaults(config: Config, *, private_urls: bool) -> Defaults:
    """Raises Wrong: INVALID_TIMEOUT_CONFIG; INVALID_WEBHOOK."""
    pathway = config.get("pathway_id")
    of_data: object = config.get("request_data")
    variables = cast("dict[str, object]", of_data) if isinstance(of_data, dict) else {}
    lists = ("disposition_ids", "citation_schema_ids")
    return Defaults(
        agent_id=None if pathway is None else AgentId(pathway),
        agent_version=sending.version(config.get("pathway_version")) if pathway else None,
        start_node=config.get("start_node_id") if pathway else None,
        objective=config.get("objective"),
        variables=variables,
        idle=timeouts.idle(config),
        reopens=config.get("restart_after_end_call", True),
        notify=sending.notify(config.get("webhook"), private_urls=private_urls),
        replies=not config.get("human_mode", False),
        ignores=tuple(config.get("ignore_keywords", ())),
        messaging_service_sid=config.get("messaging_service_sid"),
        extra={name: config[name] for name in lists if name in config},
    )


def shown(config: Config) -> dict[str, JsonValue]:
    return {name: config.get(name, empty) for name, empty in EMPTY.items()}
