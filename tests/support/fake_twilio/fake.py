"""The fake itself: accounts, messages, receipts and users who text back."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final, Self

import httpx

from tests.support.fake_twilio import resources, rest, webhooks
from tests.support.fake_twilio.faults import Endpoint, Fault, Faults, error, pause
from tests.support.fake_twilio.resources import Account, Message, Number
from tests.support.fake_twilio.server import Answer, HangUp, LoopbackServer, Request

ACCOUNT_SID: Final = "AC" + "0" * 32
AUTH_TOKEN: Final = "fake-twilio-auth-token"

_FINAL: Final = frozenset({"delivered", "undelivered", "failed", "read", "canceled"})


@cache
def _tls() -> ssl.SSLContext:
    """One for all fakes: it is most of the time that making one takes."""
    return httpx.create_ssl_context()


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts:
    """Which status callbacks a taken message gets, in this order."""

    statuses: Sequence[str] = ("sent", "delivered")
    delay: float = 0.02
    """Seconds before each."""
    copies: int = 1
    error_code: int | None = None
    """Goes with failed and undelivered."""


NO_RECEIPTS: Final = Receipts(statuses=())


@dataclass(frozen=True, slots=True)
class Posted:
    """A webhook that was posted. `status` None: no answer."""

    url: str
    form: Mapping[str, str]
    status: int | None


class FakeTwilio:
    """Use as an async context manager. Everything it was asked and did can be read and scripted."""

    def __init__(
        self,
        account_sid: str = ACCOUNT_SID,
        auth_token: str = AUTH_TOKEN,
        *,
        numbers: Sequence[Number] = (),
        port: int = 0,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.account = Account(sid=account_sid, auth_token=auth_token, numbers=list(numbers))
        self.accounts: dict[str, Account] = {account_sid: self.account}
        self.requests: list[Request] = []
        self.messages: list[Message] = []
        """In both directions, oldest first."""
        self.callbacks: list[Posted] = []
        self.receipts: Receipts | Callable[[Message], Receipts] = Receipts()
        self.listed_after = timedelta(0)
        """How long the list hides a new message; a fetch by SID finds it at once."""
        self.handles_opt_out = True
        """Twilio's own STOP, START and HELP on long codes."""
        self.most_concurrent = 0
        self._concurrent = 0
        self._arrival = asyncio.Condition()
        self._clock = clock
        self._faults = Faults()
        self._reporting: set[asyncio.Task[None]] = set()
        self._server = LoopbackServer(self._handle, port=port)
        self._http = httpx.AsyncClient(trust_env=False, timeout=webhooks.TIMEOUT, verify=_tls())

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._reporting:
            task.cancel()
        if self._reporting:
            await asyncio.wait(self._reporting)
        await self._server.stop()
        await self._http.aclose()

    @property
    def concurrent(self) -> int:
        """Requests under way."""
        return self._concurrent

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def created(self) -> list[Message]:
        """What was taken from the API, oldest first."""
        return [m for m in self.messages if m.direction == "outbound-api"]

    def asked(self, endpoint: Endpoint) -> list[Request]:
        """The requests that came for it, refused and failed ones too."""
        return [r for r in self.requests if rest.routed(r)[0] == endpoint]

    # --- scripting ---

    def next(
        self,
        fault: Fault,
        *,
        times: float = 1,
        on: Endpoint | None = "create",
        when: Callable[[Request], bool] | None = None,
    ) -> None:
        """Let the next `times` requests (`math.inf`: all) that fit go wrong in this way."""
        self._faults.add(fault, times=times, on=on, when=when)

    def heal(self) -> None:
        self._faults.clear()

    async def go_away(self) -> None:
        """Nobody listens any more, and what was under way is cut off."""
        await self._server.stop()

    async def come_back(self) -> None:
        await self._server.start()

    async def arrived(self, requests: int) -> None:
        """Wait until so many requests have come in all."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.requests) >= requests)

    async def idle(self) -> None:
        """Wait until every receipt planned so far was posted."""
        while self._reporting:
            await asyncio.wait(self._reporting)

    async def text(
        self,
        user_number: str,
        agent_number: str,
        body: str,
        *,
        url: str | None = None,
        message_sid: str | None = None,
        account: Account | None = None,
        **extra: str,
    ) -> httpx.Response:
        """A user texts one of our numbers; gives what the webhook answered.

        `url` defaults to the number's own. The same `message_sid` again is Twilio's repetition.
        """
        account = account or self.account
        number = account.number(agent_number)
        service = account.service(extra.get("MessagingServiceSid", ""))
        url = url or (number.sms_url if number else "")
        url = url or (service.inbound_request_url if service else "")
        assert url, f"nobody said where the texts to {agent_number} go"
        message_sid = message_sid or resources.sid("SM")
        if all(m.sid != message_sid for m in self.messages):
            heard = self._keep(account, user_number, agent_number, body, "inbound", sid=message_sid)
            heard.messaging_service_sid = service.sid if service else None
            self._opt_out(account, user_number, agent_number, body)
        form = webhooks.inbound(account, message_sid, user_number, agent_number, body) | extra
        return await webhooks.post(self._http, account, url, form)

    def unheard(self, user_number: str, agent_number: str, body: str) -> Message:
        """A user texts one of our numbers, and the webhook never comes."""
        return self._keep(self.account, user_number, agent_number, body, "inbound")

    async def report(
        self, message: Message, status: str, *, error_code: int | None = None
    ) -> Posted | None:
        """Post one status callback; None when the message asked for none."""
        account = self.accounts[message.account_sid]
        webhooks.pick_sender(account, message)
        if message.status not in _FINAL:
            message.status = status
        message.error_code = error_code or message.error_code
        if status == "sent":
            message.date_sent = self._clock()
        if message.status_callback is None:
            return None
        form = webhooks.status_of(message, status, error_code)
        try:
            answer = await webhooks.post(self._http, account, message.status_callback, form)
        except httpx.HTTPError:
            posted = Posted(message.status_callback, form, None)
        else:
            posted = Posted(message.status_callback, form, answer.status_code)
        self.callbacks.append(posted)
        return posted

    # --- the API ---

    async def _handle(self, request: Request) -> Answer | HangUp:
        self.requests.append(request)
        async with self._arrival:
            self._arrival.notify_all()
        self._concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self._concurrent)
        try:
            answer = await self._faulty(request)
        finally:
            self._concurrent -= 1
        if isinstance(answer, HangUp):
            return answer
        extra = {
            "twilio-request-id": resources.sid("RQ"),
            "twilio-concurrent-requests": str(self._concurrent + 1),
            "twilio-request-duration": "0.01",
        }
        return replace(answer, headers={**extra, **answer.headers})

    async def _faulty(self, request: Request) -> Answer | HangUp:
        endpoint, account_sid, sid = rest.routed(request)
        fault = self._faults.take(endpoint, request) if endpoint else None
        if fault is None:
            return self._answer(endpoint, account_sid, sid, request)
        await pause(fault.before)
        usual = (
            self._answer(endpoint, account_sid, sid, request)
            if fault.accept
            else Answer(500, b"not carried out")
        )
        await pause(fault.after)
        return fault.answer or usual

    def _answer(
        self, endpoint: Endpoint | None, account_sid: str, sid: str, request: Request
    ) -> Answer:
        account = self.accounts.get(account_sid)
        if account is None or not rest.is_authorized(account, request):
            challenge = {"www-authenticate": 'Basic realm="Twilio API"'}
            return error(401, 20003, "Authenticate", challenge)
        if endpoint == "create" and account.status == "active":
            return self._create(account, request)
        if endpoint == "number" and account.status == "active":
            return rest.change(account, request, sid=sid)
        return rest.read(endpoint, account, request, self.messages, sid=sid, now=self._clock())

    def _create(self, account: Account, request: Request) -> Answer:
        form = request.form()
        if refusal := resources.refusal(account, form):
            return refusal
        sender, words = form.get("From", ""), account.words(form)
        message = self._keep(account, sender, form["To"], words, "outbound-api")
        message.messaging_service_sid = form.get("MessagingServiceSid")
        message.status_callback = form.get("StatusCallback")
        message.validity_period = int(form.get("ValidityPeriod", message.validity_period))
        answer = Answer.of_json(201, message.resource())
        plan = self.receipts(message) if callable(self.receipts) else self.receipts
        task = asyncio.create_task(self._report_all(message, plan))
        self._reporting.add(task)
        task.add_done_callback(self._reporting.discard)
        return answer

    # --- what follows ---

    def _keep(
        self,
        account: Account,
        from_: str,
        to: str,
        body: str,
        direction: str,
        *,
        sid: str | None = None,
    ) -> Message:
        now = self._clock()
        message = Message(
            sid=sid or resources.sid("SM"),
            account_sid=account.sid,
            to=to,
            from_=from_,
            body=body,
            direction=direction,
            status="received" if direction == "inbound" else "queued",
            date_created=now,
            listed_at=now + self.listed_after,
            date_sent=now if direction == "inbound" else None,
        )
        self.messages.append(message)
        return message

    def _opt_out(self, account: Account, user: str, agent: str, body: str) -> None:
        """Whole messages of one word; short codes have nothing of the kind."""
        word = body.strip().upper()
        if not self.handles_opt_out or not agent.startswith("+"):
            return
        if word in resources.STOP:
            account.opted_out.add((agent, user))
        elif word in resources.START:
            account.opted_out.discard((agent, user))
        elif word not in resources.HELP:
            return
        self._keep(account, agent, user, f"Twilio's own answer to {word}", "outbound-reply")

    async def _report_all(self, message: Message, plan: Receipts) -> None:
        for status in plan.statuses:
            await pause(plan.delay)
            failed = status in {"failed", "undelivered"}
            for _ in range(plan.copies):
                await self.report(message, status, error_code=plan.error_code if failed else None)
