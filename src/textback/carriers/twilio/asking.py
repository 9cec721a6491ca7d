"""How a text is written in Twilio's words, and known again in its list.

Sources: https://www.twilio.com/docs/messaging/api/message-resource (parameters, filters),
https://www.twilio.com/docs/rcs/send-an-rcs-message (RCS, and falling back to SMS).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NotRequired, TypedDict

from textback.core import segments
from textback.core.phone import bare, is_messaging_service
from textback.core.ports import Outgoing

_TRIAL_PREFIX: Final = "Sent from your Twilio trial account - "


class Who(TypedDict):
    to: str
    from_: NotRequired[str]
    messaging_service_sid: NotRequired[str]
    smart_encoded: NotRequired[bool]


class What(TypedDict):
    body: NotRequired[str]
    content_sid: NotRequired[str]
    content_variables: NotRequired[str]


def who(outgoing: Outgoing) -> Who:
    """A Messaging Service picks the sender, RCS first; a number in one is named beside it.

    With `rcs:` before the recipient Twilio would not fall back to SMS, and PolyAI's RCS does. What
    goes through a service is not rewritten (Smart Encoding), or we would not know it in the list.
    """
    if is_messaging_service(outgoing.agent_number):
        return {
            "to": bare(outgoing.user_number),
            "messaging_service_sid": outgoing.agent_number,
            "smart_encoded": False,
        }
    found: Who = {"to": outgoing.user_number, "from_": outgoing.agent_number}
    if outgoing.messaging_service_sid:
        found["messaging_service_sid"] = outgoing.messaging_service_sid
        found["smart_encoded"] = False
    return found


def what(outgoing: Outgoing) -> What:
    if outgoing.template is None:
        return {"body": outgoing.text}
    found: What = {"content_sid": outgoing.template.content_sid}
    if outgoing.template.variables:
        found["content_variables"] = json.dumps(dict(outgoing.template.variables))
    return found


def lists(outgoing: Outgoing) -> Sequence[Mapping[str, str]]:
    """The lists that have the text, if Twilio has it.

    A service may not have picked its sender yet; and once it went out as RCS, Twilio may write the
    recipient with its prefix.
    """
    user = outgoing.user_number
    if is_messaging_service(outgoing.agent_number):
        return [{"to": bare(user)}, {"to": f"rcs:{bare(user)}"}]
    if outgoing.messaging_service_sid:
        return [{"to": user}]
    return [{"to": user, "from_": outgoing.agent_number}]


def may_have_sent(
    outgoing: Outgoing, *, from_: str | None, messaging_service_sid: str | None
) -> bool:
    """Whether a listed message is by the sender of this text."""
    if is_messaging_service(outgoing.agent_number):
        return messaging_service_sid == outgoing.agent_number
    if outgoing.messaging_service_sid is None:
        return True  # it was asked for by its sender
    if not from_:
        return messaging_service_sid == outgoing.messaging_service_sid
    return from_ == outgoing.agent_number


def same_words(listed: str | None, sent: str) -> bool:
    """Apart from white space, which gateways trim, and smart punctuation, which Twilio may fold.

    To miss our text would send it twice.
    """
    words = (listed or "").removeprefix(_TRIAL_PREFIX)
    return bool(words) and _letters(words) == _letters(sent)


def _letters(words: str) -> str:
    return "".join(segments.plain(words).split())
