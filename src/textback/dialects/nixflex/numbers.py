"""Nixflex' phone numbers: what is asked and what is shown. No HTTP.

https://docs.nixflex.com/api-reference/phone-numbers/import and its neighbours, the SDKs' types.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from textback.core import phone
from textback.core.phone import Phone
from textback.db.holdings import HeldAgent, HeldNumber
from textback.dialects.nixflex import agents, kept
from textback.dialects.nixflex.reading import Body, Number
from textback.dialects.nixflex.texts import DIALECT, AgentIdField
from textback.dialects.nixflex.wire import Refused, when
from textback.flows.manage import Own

SID: Final = "^AC[a-f0-9]{32}$"

Flag = bool | None
Profile = Annotated[
    str | None, Field(max_length=8000, description="The business profile; null clears it.")
]


class ImportNumber(Body):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "phone_number": "+447446466847",
                "twilio_sid": "AC0123456789abcdef0123456789abcdef",
                "twilio_token": "your_twilio_auth_token",
                "agent_id": "agent_125207e452f8714a",
            }
        },
    )
    ALIASES: ClassVar[Mapping[str, str]] = {
        "phoneNumber": "phone_number",
        "twilioSid": "twilio_sid",
        "twilio_account_sid": "twilio_sid",
        "twilioToken": "twilio_token",
        "twilio_auth_token": "twilio_token",
        "agentId": "agent_id",
        "customPrompt": "custom_prompt",
    }
    TOO_LONG: ClassVar[Mapping[str, str]] = {"custom_prompt": "custom_prompt_too_long"}

    phone_number: Number
    twilio_sid: Annotated[
        str, Field(json_schema_extra={"pattern": SID}, description="Also: twilio_account_sid.")
    ]
    twilio_token: Annotated[
        str, Field(max_length=512, description="The primary one. Also: twilio_auth_token.")
    ]
    agent_id: AgentIdField
    custom_prompt: Profile = None


def refuse_telnyx(body: Mapping[str, Any]) -> None:
    """Raises Refused."""
    if body.get("provider") == "telnyx" or any(
        name.lower().startswith("telnyx") and value for name, value in body.items()
    ):
        raise Refused(
            "telnyx_not_supported",
            "Numbers come from Twilio here: send twilio_sid and twilio_token.",
        )


def check_sid(sid: str) -> None:
    """Raises Refused."""
    if not re.fullmatch(SID.strip("^$"), sid):
        raise Refused(
            "invalid_twilio_sid",
            "twilio_sid must be AC and 32 digits or letters from a to f.",
            field="twilio_sid",
        )


class PatchNumber(Body):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "minProperties": 1,
            "example": {"custom_prompt": "Smile Dental Croydon. Open Mon-Fri 9am-5pm."},
        },
    )
    ALIASES: ClassVar[Mapping[str, str]] = {
        "agentId": "agent_id",
        "customPrompt": "custom_prompt",
        "smsPrompt": "sms_prompt",
    }
    NULLABLE: ClassVar[frozenset[str]] = frozenset(
        {
            "custom_prompt",
            "sms_prompt",
            "web_prompt",
            "voice_id",
            "voicemail_leave_enabled",
            "voicemail_message",
            "speaking_rate",
            "dtmf_enabled",
            "record_call",
            "recording_source",
        }
    )
    TOO_LONG: ClassVar[Mapping[str, str]] = {
        "custom_prompt": "custom_prompt_too_long",
        "sms_prompt": "sms_prompt_too_long",
    }

    agent_id: AgentIdField | None = None
    inbound_enabled: Annotated[Flag, Field(description="False: no text is answered.")] = None
    outbound_enabled: Annotated[Flag, Field(description="False: POST /v1/sms is refused.")] = None
    sms_reply_enabled: Annotated[Flag, Field(description="False: no text is answered.")] = None
    custom_prompt: Profile = None
    sms_prompt: Annotated[
        str | None,
        Field(max_length=20_000, description="Instructions for texts; null clears them."),
    ] = None
    # Of calls, from here on: kept, and shown.
    web_prompt: Annotated[str | None, Field(max_length=20_000)] = None
    voice_id: Annotated[str | None, Field(max_length=200)] = None
    voicemail_leave_enabled: Flag = None
    voicemail_message: Annotated[str | None, Field(max_length=2000)] = None
    speaking_rate: float | None = None
    dtmf_enabled: Flag = None
    record_call: Flag = None
    recording_source: Literal["provider", "nixflex"] | None = None

    def given(self) -> dict[str, Any]:
        """Raises Refused: an empty body says nothing."""
        found = self.model_dump(exclude_unset=True)
        if not found:
            raise Refused(
                "missing_field",
                "Nothing is to be changed: send custom_prompt, sms_prompt, sms_reply_enabled,"
                " agent_id, inbound_enabled or outbound_enabled (null clears a prompt).",
            )
        # An empty prompt is none.
        return {name: None if value == "" else value for name, value in found.items()}


class PhoneNumber(BaseModel):
    model_config = ConfigDict(extra="allow")

    phone_number: str
    agent_id: str | None
    twilio_number_sid: str | None
    inbound_enabled: bool
    outbound_enabled: bool


class OnePhoneNumber(BaseModel):
    phone_number: PhoneNumber


USUAL: Final[Mapping[str, Any]] = {
    "inbound_enabled": True,
    "outbound_enabled": True,
    "sms_reply_enabled": True,  # D32
    **dict.fromkeys(
        name
        for name in PatchNumber.model_fields
        if name not in {"agent_id", "inbound_enabled", "outbound_enabled", "sms_reply_enabled"}
    ),
}


def fields(of: HeldNumber | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """All of them, with what is given now. Raises Refused."""
    before: Mapping[str, Any] = {} if of is None else kept.number(of.config)
    found = {**USUAL, **{n: v for n, v in before.items() if n in USUAL}}
    found |= {n: v for n, v in given.items() if n in USUAL}
    if given.get("voicemail_leave_enabled") and not found["voicemail_message"]:
        raise agents.no_voicemail()
    return found


def own(
    now: Mapping[str, Any],
    agent: HeldAgent | None,
    *,
    sid: str | None = None,
    at: datetime | None = None,
) -> dict[str, Any]:
    """What is kept of a number, and what conversations there begin with; as a merge patch.

    `agent`: who answers there; None: nobody, its agent was deleted. `sid`, `at`: of an import.
    """
    replies = now["inbound_enabled"] and now["sms_reply_enabled"]
    url = None if agent is None else kept.agent(agent.extra).get("webhook_url")
    ours: dict[str, Any] = {**now, "detached": True if agent is None else None}
    if sid is not None:
        ours |= {"twilio_number_sid": sid, "created_at": when(at)}
    return {
        kept.OURS: ours,
        kept.DEFAULTS: {
            "agent_id": None,
            "objective": kept.objective(now),
            "replies": bool(replies and agent is not None and agents.answers(agent)),
            "notify": None if url is None else {"url": url, "format": DIALECT},
        },
    }


def changed(of: HeldNumber, given: Mapping[str, Any], agent: HeldAgent | None) -> Own:
    """`own`, on top of what is kept by then: of two changes at once neither is lost."""
    return lambda config: own(fields(replace(of, config=config), given), agent)


def shown(of: HeldNumber) -> dict[str, Any]:
    """In the documented order, the rest behind it."""
    ours, now = kept.number(of.config), fields(of, {})
    replies = of.replies if not ours else now["sms_reply_enabled"]
    return {
        "phone_number": of.number,
        "agent_id": None if ours.get("detached") else of.agent_id,
        "twilio_number_sid": ours.get("twilio_number_sid"),
        "inbound_enabled": now["inbound_enabled"],
        "outbound_enabled": now["outbound_enabled"],
        "created_at": ours.get("created_at"),
        "provider": of.carrier_kind,
        "telnyx_number_id": None,
        **{name: value for name, value in now.items() if name not in {"inbound_enabled",
           "outbound_enabled", "sms_reply_enabled"}},
        "sms_reply_enabled": replies,
    }  # fmt: skip


def in_path(raw: str) -> Phone:
    """Raises Refused, for what no number is called."""
    found = phone.agent_number(raw)
    if found is None:
        raise unknown(raw)
    return found


def unknown(raw: str) -> Refused:
    return Refused("number_not_found", "You have no such number.", phone_number=raw[:40])
