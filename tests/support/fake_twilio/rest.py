"""Which request is for what, whether it may, and how lists are paged."""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from tests.support.fake_twilio.faults import Endpoint, error
from tests.support.fake_twilio.resources import Account, Message
from tests.support.fake_twilio.server import Answer, Request

# Whatever comes before it is a path prefix of a gateway.
_PATH: Final = re.compile(r".*/2010-04-01/Accounts/(?P<account>\w+)(?P<rest>.*)")
_MESSAGE: Final = re.compile(r"/Messages/(?P<sid>\w+)\.json")
_SERVICE: Final = re.compile(r".*/v1/Services/(?P<sid>\w+)(?P<senders>/ChannelSenders)?")
_MEDIA: Final = re.compile(r"/Messages/(?P<sid>\w+)/Media\.json")
_NUMBER: Final = re.compile(r"/IncomingPhoneNumbers/(?P<sid>\w+)\.json")
_GETS: Final[Mapping[str, Endpoint]] = {
    ".json": "account",
    "/Messages.json": "list",
    "/IncomingPhoneNumbers.json": "numbers",
}


def routed(request: Request) -> tuple[Endpoint | None, str, str]:
    """What it is for, the account's SID, and the SID of what is fetched or changed."""
    path = _PATH.fullmatch(request.path)
    if path is None:
        return _routed_service(request)
    account, rest = path["account"], path["rest"]
    if request.method == "POST":
        number = _NUMBER.fullmatch(rest)
        posted = "create" if rest == "/Messages.json" else "number" if number else None
        return posted, account, number["sid"] if number else ""
    if request.method != "GET":
        return None, account, ""
    if message := _MESSAGE.fullmatch(rest):
        return "fetch", account, message["sid"]
    if media := _MEDIA.fullmatch(rest):
        return "media", account, media["sid"]
    return _GETS.get(rest), account, ""


def _routed_service(request: Request) -> tuple[Endpoint | None, str, str]:
    """The messaging API's paths have no account: the credentials tell."""
    service = _SERVICE.fullmatch(request.path)
    if service is None or request.method != "GET":
        return None, "", ""
    _, _, pair = request.headers.get("authorization", "").partition(" ")
    who = base64.b64decode(pair).decode().partition(":")[0]
    return "senders" if service["senders"] else "service", who, service["sid"]


def is_authorized(account: Account, request: Request) -> bool:
    pair = base64.b64encode(f"{account.sid}:{account.auth_token}".encode()).decode()
    return request.headers.get("authorization") == f"Basic {pair}"


def read(
    endpoint: Endpoint | None,
    account: Account,
    request: Request,
    messages: Sequence[Message],
    *,
    sid: str,
    now: datetime,
) -> Answer:
    """Answer a GET. `messages` are those of all accounts, oldest first; `sid` the one to fetch."""
    if endpoint == "account" or account.status != "active":
        gone = error(403, 20005, "Account not active")
        return Answer.of_json(200, account.resource()) if endpoint == "account" else gone
    asked = request.asked()
    own = [m for m in reversed(messages) if m.account_sid == account.sid]
    match endpoint:
        case "list":
            found = [
                m.resource()
                for m in own
                if m.listed_at <= now
                and asked.get("To", m.to) == m.to
                and asked.get("From", m.from_) == m.from_
                and _was_sent(m, asked)
            ]
            return Answer.of_json(200, _page(found, "messages", request))
        case "numbers":
            part = asked.get("PhoneNumber", "")  # a part matches, as at Twilio
            listed = [n.resource(account.sid) for n in account.numbers if part in n.phone_number]
            return Answer.of_json(200, _page(listed, "incoming_phone_numbers", request))
        case "service" | "senders" if service := account.service(sid):
            senders = service.sender_resources(account.sid)
            meta = {"key": "senders", "page": 0, "page_size": 50, "next_page_url": None}
            listed = {"senders": senders, "meta": meta}
            return Answer.of_json(
                200, listed if endpoint == "senders" else service.resource(account.sid)
            )
        case "fetch" | "media" if named := [m for m in own if m.sid == sid]:
            media = _page(named[0].media_resources(), "media_list", request)
            return Answer.of_json(200, named[0].resource() if endpoint == "fetch" else media)
        case _:
            return error(404, 20404, f"The requested resource {request.path} was not found")


def change(account: Account, request: Request, *, sid: str) -> Answer:
    """Configure one of the account's numbers."""
    number = next((n for n in account.numbers if n.sid == sid), None)
    if number is None:
        return error(404, 20404, f"The requested resource {request.path} was not found")
    number.change(request.form())
    return Answer.of_json(200, number.resource(account.sid))


def _was_sent(m: Message, asked: Mapping[str, str]) -> bool:
    """By date sent, as `DateSent>` and `DateSent<` ask; what has none is left out."""
    after, before = asked.get("DateSent>"), asked.get("DateSent<")
    if not after and not before:
        return True
    if m.date_sent is None:
        return False
    sent = m.date_sent.replace(microsecond=0)
    return (not after or sent >= datetime.fromisoformat(after)) and (
        not before or sent <= datetime.fromisoformat(before)
    )


def _page(found: Sequence[object], name: str, request: Request) -> dict[str, object]:
    asked = request.asked()
    size, page = int(asked.get("PageSize", "50")), int(asked.get("Page", "0"))
    path = request.path[request.path.index("/2010-04-01") :]

    def uri(number: int) -> str:
        query = {**asked, "PageSize": str(size), "Page": str(number)}
        return f"{path}?{urlencode(query, quote_via=quote)}"

    start, end = page * size, (page + 1) * size
    return {
        name: list(found[start:end]),
        "page": page,
        "page_size": size,
        "start": start,
        "end": min(end, len(found)) - 1,
        "uri": uri(page),
        "first_page_uri": uri(0),
        "next_page_uri": uri(page + 1) if end < len(found) else None,
        "previous_page_uri": uri(page - 1) if page else None,
    }
