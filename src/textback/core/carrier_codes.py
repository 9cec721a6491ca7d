"""What a carrier's error code means for who sent the text: one sentence, and what to do.

Source: Twilio's error catalogue, https://www.twilio.com/docs/api/errors, one page per code.
"""

from typing import Final

from textback.core.frozen import frozen

_PAGE: Final = "https://www.twilio.com/docs/api/errors/"


@frozen
class Meaning:
    sentence: str
    advice: str
    page: str | None
    """The carrier's own, if it has one."""


_AUTH = ("The carrier does not accept our credentials.", "Check the account's SID and auth token.")
_ACCOUNT = ("The carrier's account is not active.", "Look at the account in Twilio's console.")
_FROM = (
    "The number it was to be sent from cannot send this text.",
    "Check that the number belongs to the carrier's account and can send SMS to that country.",
)
_SETUP = ("A setting of ours or of the carrier's is wrong.", "Tell whoever runs this service.")
_LATER = ("The carrier has more texts than it can take.", "Send it again later, and more slowly.")
_UNREACHED = (
    "The handset could not be reached: off, without signal, or not one for texts.",
    "Try again once, hours later; if that fails too, reach the user in another way.",
)
_REGISTER = (
    "The number it was sent from is not registered with the carriers (US A2P 10DLC).",
    "Register the brand and the campaign in Twilio's console, and add the number to it.",
)
_DAY = ("The texts that may be sent in a day are used up.", "Send it again tomorrow.")

_MEANINGS: Final[dict[str, tuple[str, str]]] = {
    "10001": _ACCOUNT,
    "14107": (
        "Too many replies went to and fro between the two numbers in quick succession.",
        "Find out whether two machines are texting each other; texts pass again after 30 s.",
    ),
    "20003": _AUTH,
    "20005": _ACCOUNT,
    "20404": _SETUP,
    "20429": ("Too many requests reached the carrier at once.", "Nothing: it is tried again."),
    "21211": ("The user's number is not a valid one.", "Correct the number."),
    "21212": _FROM,
    "21408": (
        "The carrier's account may not text to that country.",
        "Allow the country in Twilio's console, under Messaging Geographic Permissions.",
    ),
    "21602": _SETUP,
    "21603": _SETUP,
    "21604": _SETUP,
    "21606": _FROM,
    "21608": (
        "A trial account of Twilio's may only text numbers that were verified.",
        "Verify the user's number in Twilio's console, or upgrade the account.",
    ),
    "21609": _SETUP,
    "21610": (
        "The user has opted out of texts from this number.",
        "Do not text them; they can reply START to opt in again.",
    ),
    "21611": _LATER,
    "21612": (
        "The user cannot be reached from this number.",
        "Send from another number, of the user's country.",
    ),
    "21614": ("The user's number is not a mobile one.", "Ask for a mobile number."),
    "21617": ("The text has more than 1600 characters.", "Shorten it, or send it in parts."),
    "21620": ("The address of the media is not valid.", "Correct the address."),
    "21624": _SETUP,
    "21655": ("There is no template with that id.", "Check the content_sid in Twilio's console."),
    "21656": (
        "The template's variables are not as it wants them.",
        "Compare the variables with the template in Twilio's console.",
    ),
    "21659": _FROM,
    "21660": _FROM,
    "21701": _SETUP,
    "21703": _SETUP,
    "21704": _SETUP,
    "21705": _SETUP,
    "30001": _LATER,
    "30002": _ACCOUNT,
    "30003": _UNREACHED,
    "30004": (
        "The user or their carrier blocks these texts.",
        "Do not send it again; reach the user in another way.",
    ),
    "30005": ("The number is unknown, or not in use any more.", "Ask the user for another number."),
    "30006": (
        "The number is a landline, or of a carrier that takes no texts.",
        "Ask the user for a mobile number.",
    ),
    "30007": (
        "It was filtered as spam, by Twilio or by the user's carrier.",
        "Change the words and register the number; sending the same again makes it worse.",
    ),
    "30008": (
        "It was not delivered, and the carrier does not say why.",
        "Try again once, later.",
    ),
    "30017": _LATER,
    "30022": _LATER,
    "30023": _DAY,
    "30024": (
        "The number it was sent from is not set up at the user's carrier yet.",
        "Send it again later; if that goes on, ask Twilio.",
    ),
    "30027": _DAY,
    "30032": (
        "The toll-free number it was sent from is not verified.",
        "Have the number verified in Twilio's console.",
    ),
    "30033": (
        "The campaign of the number it was sent from is suspended.",
        "Look at the campaign in Twilio's console.",
    ),
    "30034": _REGISTER,
    "30035": (
        "The number it was sent from is being set up for its campaign.",
        "Send it again tomorrow.",
    ),
    "30036": ("It waited at the carrier until it was not valid any more.", "Send it again."),
    "30410": (
        "The user's carrier did not answer in time: it may have arrived.",
        "Do not send it again without a reason; the user may get it twice.",
    ),
    "30450": (
        "Twilio blocks texts to this number for now, because of fraud (SMS pumping).",
        "Send it again after half an hour, if you know the user.",
    ),
    "30453": (
        "Twilio blocks this text because of fraud (SMS pumping).",
        "Check how the number came to you.",
    ),
    "63038": _DAY,
}

_OURS: Final[dict[str, tuple[str, str]]] = {
    "agent_failed": (
        "The agent was to write it, and wrote nothing.",
        "Look at the agent's engine, or give a text.",
    ),
    "unknown": (
        "The carrier says that it failed, and not why.",
        "Look the text up in the carrier's console by its carrier_message_id.",
    ),
}


def is_known(code: str) -> bool:
    return code in _MEANINGS or code in _OURS


def meaning(code: str) -> Meaning:
    """Of any code: one that is not known here is explained by the carrier's own page."""
    is_twilio = code.isascii() and code.isdigit()
    known = _MEANINGS.get(code) or _OURS.get(code)
    page = _PAGE + code if is_twilio else None
    if known is not None:
        return Meaning(sentence=known[0], advice=known[1], page=page)
    if code.startswith("http-"):
        return Meaning(
            sentence=f"Something before the carrier answered, with HTTP {code[5:]}.",
            advice="Check the carrier's base_url, and what stands between us and it.",
            page=None,
        )
    advice = "Look the code up on the carrier's page." if is_twilio else "Look at the reason."
    return Meaning(sentence=f"The carrier said no, with its code {code}.", advice=advice, page=page)
