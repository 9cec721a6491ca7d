"""What the documents say of our routes about conversations: exactly what they do."""

from textback.dialects.native import conversation_wire, wire
from textback.dialects.native.describing import path_id, route
from textback.dialects.native.paging import Page, Query

_ID = path_id("conversation_id", wire.ID, "conv_01kk2v5m7xq1t8c9d0e2f3g4h5")
_UNKNOWN = {404: "Your account has no such conversation."}
_LIVE = "The conversation is over."

LIST = route(
    "listConversations",
    "Conversations, the latest first",
    "Also by `metadata.KEY=VALUE`, for up to 5 keys of your metadata.",
    Page[wire.ConversationItem],
    query=conversation_wire.Conversations,
)
GET = route(
    "getConversation",
    "One conversation, with what was said",
    "Who has it, what state it is in, its latest texts and what became of them.",
    wire.Conversation,
    path=[_ID],
    problems=_UNKNOWN,
)
CHANGE = route(
    "changeConversation",
    "Change what you said of a conversation",
    "The agent reads it from its next turn on.",
    wire.Conversation,
    conversation_wire.Change,
    path=[_ID],
    problems=_UNKNOWN | {409: "The conversation is over: only its metadata may change."},
)
ERASE = route(
    "eraseConversation",
    "Erase a conversation for good",
    "With its texts, events, calls of tools and webhook deliveries. One that lives is closed "
    "first, and what is queued in it is never sent. Opt-outs stay. At the carrier's nothing is "
    "erased.",
    wire.Erased,
    path=[_ID],
    problems=_UNKNOWN
    | {409: "A text may be on its way: try again when it is known what became of it."},
)
TEXTS = route(
    "listConversationMessages",
    "What was said in a conversation, oldest first",
    "Both ways, also what was not sent.",
    Page[wire.Text],
    path=[_ID],
    query=Query,
    problems=_UNKNOWN,
)
HAND_OFF = route(
    "handOffConversation",
    "Hand a conversation to a person",
    "The agent falls silent: what it was about to say is dropped, texts that are queued go out. "
    "What the user says is kept and told as the event `message.received` with the note "
    "`handed_off`. Neither a warning nor a close for silence comes until it is resumed. One that "
    "a person has already stays as it is.",
    wire.HandedOff,
    wire.HandOff,
    path=[_ID],
    problems=_UNKNOWN | {409: _LIVE},
)
MESSAGES = route(
    "sayInConversation",
    "Write to the user in the same thread",
    "As a person, or as the agent; in any state but closed. 202 means that the text is stored and "
    "will be sent, in its order; whether it arrived is not known yet.",
    wire.Queued,
    wire.Message,
    path=[_ID],
    status=202,
    problems=_UNKNOWN
    | {
        409: "The conversation is over, the user has opted out, or the idempotency key came before "
        "with another body."
    },
    keyed=True,
)
RESUME = route(
    "resumeConversation",
    "Give a conversation back to its agent",
    "From a person, or after a pause. What was said meanwhile is in the transcript that the agent "
    "sees, and is not answered any more, unless `reply` asks for that; texts kept during a pause "
    "are answered, unless `message` is given.",
    wire.Resumed,
    wire.Resume,
    path=[_ID],
    problems=_UNKNOWN
    | {
        400: "The body is not as described, or the agent has no such node.",
        409: "The conversation is neither handed off nor paused, or the idempotency key came "
        "before with another body.",
    },
    keyed=True,
)
END = route(
    "endConversation",
    "End a conversation",
    "Sends nothing to the user. Texts that are queued go out. One that is over stays as it is.",
    wire.Ended,
    wire.End,
    path=[_ID],
    problems=_UNKNOWN,
)
