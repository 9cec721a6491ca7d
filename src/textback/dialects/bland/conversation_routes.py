"""A conversation in other hands: a person's message, hand-off, resume, end."""

from typing import Any, Final, cast

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.core import phone
from textback.core.commands import Caller
from textback.core.conversation import Closed, HandedOff
from textback.core.errors import UnknownConversation
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.db import message_reads, reads
from textback.dialects.bland import handing, openapi, sending, wire
from textback.dialects.bland.answer import Asked, answer, good, new_router
from textback.dialects.bland.wire import Wrong
from textback.flows import admit, hand
from textback.flows.say import say

router = new_router()

ROUTE: Final = "/v1/sms/conversations/{conversation_id}"

_IS: Final = {
    "id": openapi.text("The conversation's.", format="uuid"),
    "is_active": {"type": "boolean"},
    "updated_at": openapi.text("Its last text, or its end.", format="date-time"),
    "human_handoff_at": {"type": ["string", "null"], "format": "date-time"},
    "human_handoff_reason": {"type": ["string", "null"]},
    "human_handoff_metadata": {"type": ["object", "null"]},
}
_CONVERSATION: Final = openapi.fields(**_IS)
_PROCESSING: Final = openapi.text("processing", enum=["processing"])


@router.post(
    ROUTE + "/messages",
    **openapi.route(
        "sendMessageOnConversation",
        "Write to the user in this conversation",
        "As a person, or as the agent; in any state but over. 202 means that it is stored and will "
        "be sent, in its order.",
        openapi.enveloped(
            openapi.fields(
                status=_PROCESSING,
                message=openapi.text("What was done."),
                conversation_id=_IS["id"],
                sender=openapi.text("Who says it.", enum=["HUMAN", "AGENT"]),
                message_id=openapi.text("Of the text."),
                human_handoff_active={"type": "boolean"},
            )
        ),
        asked=openapi.schema(handing.Message),
        status=202,
        refusals=(409,),
        by_id=True,
        keyed=True,
    ),
)
async def messages(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        conversation_id = wire.conversation_id(asked.path["conversation_id"])
        it = wire.read(handing.Message, asked.body)
        route = ROUTE.format(conversation_id=wire.shown_id(conversation_id)) + "/messages"
        said = await say(
            asked.rt.db,
            conversation_id,
            it.message,
            sender="agent" if it.sender == "AGENT" else "person",
            who=asked.who,
            key=wire.idempotency(route, asked.key),
            now=asked.now,
        )
        (metrics.REPLAYED if said.replayed else metrics.ACCEPTED).labels("bland").inc()
        sender = it.sender or "HUMAN"
        if said.replayed:
            asked.headers["Idempotent-Replayed"] = "true"
            first = await message_reads.find_message(asked.rt.db, asked.account_id, said.message_id)
            if first is not None:  # it may have been erased since
                sender = "HUMAN" if first.message.kind == "person" else "AGENT"
        data: dict[str, JsonValue] = {
            "status": "processing",
            "message": "Message accepted for delivery",
            "conversation_id": wire.shown_id(conversation_id),
            "sender": sender,
            "message_id": said.message_id,
            "human_handoff_active": isinstance(said.conversation, HandedOff),
        }
        return good(data, 202, asked.headers)

    return await answer(request, "send", act)


@router.post(
    ROUTE + "/handoff",
    **openapi.route(
        "handOffConversation",
        "Hand a conversation to a person",
        "The agent is silent, and no time runs, until it is resumed. What the user says is stored, "
        "and told by webhook. With `notify_number` a text tells somebody, once.",
        openapi.enveloped(
            openapi.fields(
                message=openapi.text("What was done."),
                already_active={"type": "boolean"},
                conversation=_CONVERSATION,
            )
        ),
        asked=openapi.schema(handing.HandOff),
        needs_body=False,
        refusals=(409,),
        by_id=True,
    ),
)
async def hand_off(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        conversation_id = wire.conversation_id(asked.path["conversation_id"])
        it = wire.read(handing.HandOff, asked.body)
        private, db = asked.rt.private_webhooks, asked.rt.db
        notify = sending.notify(it.webhook, private_urls=private)
        told = await _to_be_told(asked, conversation_id, it.notify_number)
        done = await hand.off(
            db,
            conversation_id,
            it.reason or "No reason was given.",
            who=asked.who,
            metadata=it.metadata,
            actor=it.actor,
            notify=notify,
            now=asked.now,
        )
        after = cast("HandedOff", done.after)
        if told is not None:
            await asked.rt.accepting.send_text(
                told, handing.alert(after, it.notify_number or ""), now=asked.now
            )
        metadata: dict[str, Any] | None = it.metadata or None
        if not done.changed:
            whole = await reads.whole_conversation(db, conversation_id)
            held = None if whole is None else whole.hand_off
            metadata = dict(held.metadata) if held and held.metadata else None
        data: dict[str, JsonValue] = {
            "message": "Conversation handed off to a human",
            "already_active": not done.changed,
            "conversation": handing.shown(after, metadata, now=asked.now),
        }
        return good(data)

    return await answer(request, "converse", act)


@router.post(
    ROUTE + "/resume",
    **openapi.route(
        "resumeConversation",
        "Give a conversation back to its agent",
        "What was said meanwhile is in what the agent reads, and is not answered any more, unless "
        "`generate_reply` asks for that.",
        openapi.enveloped(
            openapi.fields(
                message=openapi.text("What was done."),
                was_active=openapi.text("A person had it.") | {"type": "boolean"},
                status=openapi.text("processing, when something is said now; else resumed."),
                message_id={"type": ["string", "null"]},
                conversation=_CONVERSATION,
            )
        ),
        asked=openapi.schema(handing.Resume),
        needs_body=False,
        refusals=(409,),
        by_id=True,
    ),
)
async def resume(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        conversation_id = wire.conversation_id(asked.path["conversation_id"])
        it = wire.read(handing.Resume, asked.body)
        if it.message is not None:
            asked.by.need("send")
        done = await hand.resume(
            asked.rt.db,
            conversation_id,
            who=asked.who,
            message=it.message,
            reply=it.generate_reply or False,
            node=it.node_id,
            actor=it.actor,
            if_held=True,
            now=asked.now,
        )
        says = it.message is not None or done.answers or it.generate_reply
        data: dict[str, JsonValue] = {
            "message": "Conversation resumed",
            "was_active": isinstance(done.before, HandedOff),
            "status": "processing" if says else "resumed",
            "message_id": done.message_id,
            "conversation": handing.shown(done.after, now=asked.now),
        }
        return good(data)

    return await answer(request, "converse", act)


@router.post(
    ROUTE + "/end",
    **openapi.route(
        "endConversation",
        "End a conversation",
        "Sends nothing to the user. One that is over stays as it is.",
        openapi.enveloped(
            openapi.fields(
                message=openapi.text("What was done."),
                was_active={"type": "boolean"},
                was_handed_off={"type": "boolean"},
                conversation=_CONVERSATION,
                workflow_id=_IS["id"],
            )
        ),
        asked=openapi.schema(handing.End),
        needs_body=False,
        by_id=True,
    ),
)
async def end(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        conversation_id = wire.conversation_id(asked.path["conversation_id"])
        it = wire.read(handing.End, asked.body)
        done = await hand.end(
            asked.rt.db,
            conversation_id,
            it.reason or "Ended by API request",
            who=asked.who,
            actor=it.actor,
            now=asked.now,
        )
        data: dict[str, JsonValue] = {
            "message": "Conversation ended",
            "was_active": not isinstance(done.before, Closed),
            "was_handed_off": isinstance(done.before, HandedOff),
            "conversation": handing.shown(done.after, now=asked.now),
            "workflow_id": wire.shown_id(conversation_id),
        }
        return good(data)

    return await answer(request, "converse", act)


# --- The text to a colleague -------------------------------------------------------------------


async def _to_be_told(
    asked: Asked, conversation_id: ConversationId, number: str | None
) -> Caller | None:
    """For whom it is sent; all that can be said against it is said before anything is done."""
    if number is None:
        return None
    asked.by.need("send")
    if phone.user_number(number) is None:
        raise Wrong("INVALID_REQUEST", "notify_number must be a phone number in E.164 form.")
    found = await reads.by_ids(asked.rt.db, [conversation_id])
    if not found or found[0].account_id != asked.account_id:
        raise UnknownConversation("There is no conversation with that id.")
    if phone.bare(Phone(found[0].user_number)) == number:
        raise Wrong("INVALID_REQUEST", "notify_number must not be the user's own.")
    return await admit.sender(asked.rt.book, asked.account_id, agent_number=found[0].agent_number)
