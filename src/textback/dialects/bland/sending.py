"""A text to a user: `POST /v1/sms/send`, and what its fields mean in our words.

https://docs.bland.ai/api-v1/post/sms-send. No HTTP, no database.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue

from textback.core import errors, phone
from textback.core.commands import Accepted, AgentChoice, Idempotency, Notify, SendText
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT, AgentLabel
from textback.core.template import Template
from textback.core.webhook import normal_url, url_fault
from textback.dialects.bland import timeouts, wire
from textback.dialects.bland.wire import Body, Wrong

ROUTE: Final = "/v1/sms/send"
MAX_OBJECTIVE: Final = 20_000
MAX_NAME: Final = 200
MOST_VARIABLES: Final = 100

Channel = Literal["sms", "whatsapp"]
Id = Annotated[str | None, Field(max_length=MAX_NAME)]
Version = Annotated[
    float | str | None,
    Field(description="A number, also as a string; or `latest`, `production`, `draft`."),
]
Ids = Annotated[list[Annotated[str, Field(max_length=MAX_NAME)]] | None, Field(max_length=100)]

_SENT: Final = "SMS sent successfully"
_NOT_SENT: Final = "SMS not sent: the user has opted out of texts from this number"


class PersonaSettings(Body):
    pathway_id: Id = None
    pathway_version: Version = None
    start_node_id: Id = None


User = Annotated[str, Field(description="The user's number, in E.164 form.")]


class Conversing(timeouts.Timeouts):
    """What is said of the conversation by a send, by a create and by a batch."""

    agent_number: Annotated[str, Field(description="One of your account's, in E.164 form.")]
    channel: Annotated[
        str | None, Field(description="`sms`, the default, or `whatsapp`; `imessage` is refused.")
    ] = None
    new_conversation: bool | None = None
    request_data: Annotated[
        dict[str, Any] | None,
        Field(description="For the agent: what `{{name}}` in its prompts stands for."),
    ] = None

    def our_address(self) -> Phone:
        """The agent's address, on the channel that is asked for. Raises Wrong."""
        on = channel(self.channel)
        found = phone.agent_number(self.agent_number)
        if found is None or phone.channel(found) not in {"sms", on}:
            raise not_e164("agent_number")
        return found if phone.channel(found) == on else Phone(f"{on}:{found}")

    def users_address(self, number: str) -> Phone:
        """The user's address, on that channel. Raises Wrong."""
        if phone.user_number(number) is None:
            raise not_e164("user_number")
        on = channel(self.channel)
        return Phone(number if on == "sms" else f"{on}:{number}")


class Saying(Conversing):
    """A send, but for whom it is to."""

    agent_message: Annotated[
        str | None,
        Field(max_length=MAX_TEXT, description="The text. When it is absent, the agent writes it."),
    ] = None
    objective: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_OBJECTIVE,
            description="What is wanted of this conversation, for the agent to pursue.",
        ),
    ] = None
    persona_id: Annotated[Id, Field(description="The id of one of your agents.")] = None
    persona_version: Literal["production", "draft"] | None = None
    persona_settings: PersonaSettings | None = None
    pathway_id: Annotated[Id, Field(description="As persona_id, and goes before it.")] = None
    pathway_version: Version = None
    start_node_id: Id = None
    webhook: Annotated[str | None, Field(description="Where this conversation's events go.")] = None
    metadata: Annotated[dict[str, Any] | None, Field(description="Echoed in all webhooks.")] = None
    disposition_ids: Ids = None
    citation_schema_ids: Ids = None
    content_sid: Annotated[
        str | None, Field(description="Of a Twilio content template: HX and 32 hex digits.")
    ] = None
    content_variables: Annotated[
        dict[str, str | int | float] | None, Field(max_length=MOST_VARIABLES)
    ] = None


class Send(Saying):
    user_number: User


CODES: Final = {**timeouts.CODES, "objective": "INVALID_OBJECTIVE"}


_NOT_BLANK: Final = (
    ("objective", "INVALID_OBJECTIVE", "leave it out, or say what is wanted"),
    ("agent_message", "INVALID_REQUEST", "give a text, or leave it out to let the agent write"),
)


def read(body: Mapping[str, Any]) -> Send:
    """Raises Wrong."""
    check_words(body)
    return wire.read(Send, body, CODES)


def check_words(body: Mapping[str, Any]) -> None:
    """Raises Wrong."""
    for name, code, why in _NOT_BLANK:
        given = body.get(name)
        if isinstance(given, str) and not given.strip():
            raise Wrong(code, f"{name} is blank; {why}.")


def channel(name: str | None) -> Channel:
    """Raises Wrong."""
    match name:
        case None | "" | "sms":
            return "sms"
        case "whatsapp":
            return "whatsapp"
        case "imessage":
            msg = "This service cannot send iMessages; use the channel sms or whatsapp."
        case _:
            msg = "channel must be sms or whatsapp."
    raise Wrong("UNSUPPORTED_CHANNEL", msg)


def to_command(
    asked: Saying,
    user: Phone,
    body: Mapping[str, Any],
    number: Mapping[str, Any],
    *,
    private_urls: bool,
    key: Idempotency | None,
) -> SendText:
    """`number`: its sms_config, with which timeouts are merged. Raises Wrong."""
    return SendText(
        user_number=user,
        text=asked.agent_message,
        agent_number=asked.our_address(),
        thread="new" if asked.new_conversation else "resume",
        agent=agent(asked),
        objective=asked.objective,
        variables=asked.request_data or {},
        metadata=asked.metadata or {},
        template=template(asked),
        idle=timeouts.merged(timeouts.given(body), number),
        idle_if_new=timeouts.NEVER,
        notify=notify(asked.webhook, private_urls=private_urls),
        dialect="bland",
        extra=extra(asked),
        idempotency=key,
    )


def agent(asked: Saying) -> AgentChoice:
    """Personas and pathways are agents of ours; a pathway goes before a persona. Raises Wrong."""
    chosen = asked.persona_settings or PersonaSettings()
    if chosen.pathway_id is not None:
        return AgentChoice(
            agent_id=AgentId(chosen.pathway_id),
            version=version(chosen.pathway_version),
            start_node=chosen.start_node_id or None,
        )
    start_node = chosen.start_node_id or asked.start_node_id or None
    if asked.pathway_id:
        which = chosen.pathway_version or asked.pathway_version
        return AgentChoice(
            agent_id=AgentId(asked.pathway_id), version=version(which), start_node=start_node
        )
    if asked.persona_id:
        label: AgentLabel = asked.persona_version or "production"
        return AgentChoice(agent_id=AgentId(asked.persona_id), version=label, start_node=start_node)
    return AgentChoice(start_node=start_node)


_NUMBERED: Final = re.compile(r"v?([0-9]{1,9})(?:\.0)?")


def version(given: float | str | None) -> AgentLabel | int | None:
    """None: the one that conversations begin on, as `latest` (D23). Raises Wrong."""
    match given:
        case None | "" | "latest":
            return None
        case "production":
            return "production"
        case "draft":
            return "draft"
        case _:
            found = _NUMBERED.fullmatch(str(given))
    if found is None:
        raise Wrong("INVALID_REQUEST", "pathway_version must be a version's number, or latest.")
    return int(found[1])


_CONTENT: Final = re.compile(r"HX[0-9a-fA-F]{32}")


def template(asked: Saying) -> Template | None:
    """Raises Wrong."""
    if not asked.content_sid:
        if asked.content_variables:
            raise Wrong("INVALID_REQUEST", "content_variables are of a content_sid: give both.")
        return None
    if not _CONTENT.fullmatch(asked.content_sid):
        raise Wrong("INVALID_REQUEST", "content_sid must be HX and 32 hexadecimal digits.")
    given = asked.content_variables or {}
    return Template(
        content_sid=asked.content_sid, variables={name: str(given[name]) for name in given}
    )


def notify(url: str | None, *, private_urls: bool) -> Notify | None:
    """Raises Wrong."""
    if not url:
        return None
    if (fault := url_fault(url, private=private_urls)) is not None:
        raise Wrong("INVALID_WEBHOOK", f"webhook {fault}.")
    return Notify(url=normal_url(url), format="bland")


def extra(asked: Saying) -> Mapping[str, JsonValue]:
    lists = {
        "disposition_ids": asked.disposition_ids,
        "citation_schema_ids": asked.citation_schema_ids,
    }
    return {name: list(ids) for name, ids in lists.items() if ids is not None}


def answered(accepted: Accepted) -> JsonValue:
    """The same for the same request, however often it comes."""
    shown = wire.shown_id(accepted.conversation_id)
    message = _NOT_SENT if accepted.suppressed else _SENT
    if accepted.planned_for is not None:  # the project has quiet hours
        message = f"SMS accepted; it is held until {wire.shown_time(accepted.planned_for)}"
    data: dict[str, JsonValue] = {
        "status": "blacklisted" if accepted.suppressed else "processing",
        "message": message,
        "conversation_id": shown,
        "workflow_id": shown,
    }
    if accepted.message_id is not None:
        data["message_id"] = accepted.message_id
    return data


def not_e164(field: str) -> errors.Refusal:
    return Wrong(
        "INVALID_REQUEST", f"{field} must be a phone number in E.164 form, like +14155550123."
    )
