"""A cheap Twilio, a process of its own: takes texts, posts signed receipts, has users text back.

Started with one line of JSON (`Twilio`); says `port N`. `GET /bench` tells what it counted, and
`GET /bench?times=1` also when each text arrived, by the machine's own clock.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.wire import Pool, inbound, signed
from textback.carriers.twilio.form import pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Twilio:
    host: str = "127.0.0.1"
    port: int = 0
    account_sid: str
    token: str
    inbound_url: str
    api: list[tuple[str, int]]
    """Where the API listens; `inbound_url` and callbacks name the address that is signed."""
    receipts: bool = True
    sent_after: float = 0.05
    delivered_after: float = 0.2
    reply_every: int = 0
    """Of so many openers one is answered by its user; 0: none is."""
    reply_after: float = 0.4

    def json(self) -> str:
        return json.dumps(asdict(self))


class Carrier:
    def __init__(self, asked: Twilio) -> None:
        self.asked = asked
        self.hooks = Pool(asked.api, 128)
        counted = ["created", "openers", "receipts", "texted", "refused", "answers"]
        self.counts = dict.fromkeys(counted, 0)
        self.times: dict[str, float] = {}

    def created(self, form: dict[str, str]) -> bytes:
        asked, counts = self.asked, self.counts
        counts["created"] += 1
        sid = f"SM{counts['created']:032x}"
        self.times[form["To"]] = time.time()
        later = asyncio.get_running_loop().call_later
        if asked.receipts and "StatusCallback" in form:
            later(asked.sent_after, self._receipt, form, sid, "sent")
            later(asked.delivered_after, self._receipt, form, sid, "delivered")
        if form["Body"].startswith("bench"):
            counts["openers"] += 1
            if asked.reply_every and counts["openers"] % asked.reply_every == 0:
                later(asked.reply_after, self._text_back, form, sid)
        else:
            counts["answers"] += 1
        return json.dumps(
            {
                "sid": sid,
                "account_sid": asked.account_sid,
                "to": form["To"],
                "from": form.get("From"),
                "body": form["Body"],
                "status": "queued",
                "direction": "outbound-api",
                "num_segments": "1",
                "num_media": "0",
                "error_code": None,
                "error_message": None,
                "date_created": "Sat, 21 Nov 2026 12:00:00 +0000",
                "date_updated": "Sat, 21 Nov 2026 12:00:00 +0000",
                "date_sent": None,
                "api_version": "2010-04-01",
                "uri": f"/2010-04-01/Accounts/{asked.account_sid}/Messages/{sid}.json",
            }
        ).encode()

    def _receipt(self, form: dict[str, str], sid: str, status: str) -> None:
        url = form["StatusCallback"].partition("#")[0]
        said = {
            "MessageSid": sid,
            "SmsSid": sid,
            "MessageStatus": status,
            "SmsStatus": status,
            "AccountSid": self.asked.account_sid,
            "From": form.get("From", ""),
            "To": form["To"],
            "ApiVersion": "2010-04-01",
        }
        self._post(url, said, "receipts")

    def _text_back(self, form: dict[str, str], sid: str) -> None:
        asked = self.asked
        said = inbound(asked.account_sid, "SM" + sid[:1:-1], form["To"], form["From"], "hello")
        self._post(asked.inbound_url, said, "texted")

    def _post(self, url: str, said: dict[str, str], count: str) -> None:
        def answered(status: int, _: bytes) -> None:
            self.counts[count if 200 <= status < 300 else "refused"] += 1

        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.hooks.send(signed(url, path, said, self.asked.token), answered)

    def told(self, path: str) -> bytes:
        times = self.times if "times" in path else {}
        return json.dumps({**self.counts, "times": times}).encode()


class Served(asyncio.Protocol):
    """Requests with a Content-Length, answered in order."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._read = b""
        self._write: Callable[[bytes], None] = bytes.__len__  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            at = head.lower().find(b"content-length:")
            length = 0 if at < 0 else int(head[at + 15 :].split(b"\r", 1)[0])
            whole = end + 4 + length
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        status = "200 OK"
        if path.startswith("/bench"):
            answer = self._carrier.told(path)
        elif method == "POST":
            status = "201 Created"
            answer = self._carrier.created(dict(pairs(body.decode(), at_most=100) or ()))
        else:  # the list, in which a sweep looks for what was lost: nothing was
            answer = b'{"messages": [], "page": 0, "page_size": 50, "next_page_uri": null}'
        self._write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n".encode()
            + answer
        )


async def main() -> None:
    given = json.loads(sys.stdin.readline())
    given["api"] = [(host, port) for host, port in given["api"]]
    asked = Twilio(**given)
    carrier = Carrier(asked)
    server = await asyncio.get_running_loop().create_server(
        lambda: Served(carrier), asked.host, asked.port
    )
    gc.collect()
    gc.freeze()
    sys.stdout.write(f"port {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)  # ends with whoever started it


if __name__ == "__main__":
    uvloop.run(main())
