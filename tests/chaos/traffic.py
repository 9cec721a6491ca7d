"""Callers who send, users who text back, and what the carrier reports: as the seed has it."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import httpx

from tests.chaos import evidence
from tests.chaos.deployment import (
    BRIEF_CONNECTOR,
    CLOSING,
    FIRST,
    INBOUND,
    KEY,
    PATIENT_CONNECTOR,
    SECOND,
    WARNING,
    Deployment,
)
from tests.chaos.record import Accepted, Answer, Created, Said
from tests.support.fake_twilio import Message, Receipts
from tests.support.fake_twilio.resources import sid

ROUTE: Final = "/v1/outbound-sms"
CALLER_SECONDS: Final = 10.0
AGAIN_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 90.0
"""For so long a caller tries to have one text accepted."""

Habit = Literal["campaign", "talker", "idler", "walk-in", "leaver"]
"""Of a user: gets several openers and seldom answers; talks; answers once and falls silent; texts
first; says STOP, and START later."""

MOST_ROUNDS: Final[dict[Habit, int]] = {
    "campaign": 3,
    "talker": 5,
    "idler": 2,
    "walk-in": 4,
    "leaver": 2,
}


@dataclass(frozen=True, slots=True)
class Errand:
    """A text that a caller wants sent, or (`connector` empty) that a user sends unasked."""

    at: float
    user: str
    text: str
    connector: str
    agent: str | None
    twice: bool
    """By two requests at the same time, with the same key."""
    hasty: bool
    """The first answer is not waited for."""


@dataclass(frozen=True, slots=True)
class Script:
    habits: dict[str, Habit]
    errands: Sequence[Errand]


def script(seed: int, *, sends: int, seconds: float) -> Script:
    """What callers and users do by themselves. The same seed, the same script."""
    rng = random.Random(f"{seed}:traffic")  # noqa: S311 - it has to be the same again
    habits: dict[str, Habit] = {}
    errands: list[Errand] = []

    def add(habit: Habit, connector: str, agent: str | None, texts: int) -> None:
        user = f"+1415556{len(habits):04d}"
        habits[user] = habit
        times = sorted(rng.uniform(0, seconds) for _ in range(texts))
        for nth, at in enumerate(times):
            text = f"text {nth} to {user[-4:]}"
            twice, hasty = rng.random() < 0.1, rng.random() < 0.1
            errands.append(Errand(at, user, text, connector, agent, twice, hasty))

    left = sends
    for _ in range(max(1, sends // 12)):
        add("talker", PATIENT_CONNECTOR, rng.choice((None, FIRST, SECOND)), 1)
        add("idler", BRIEF_CONNECTOR, None, 1)
        left -= 2
    for _ in range(max(1, sends // 25)):
        add("walk-in", "", rng.choice((FIRST, SECOND)), 1)
    for _ in range(max(1, sends // 100)):
        texts = min(left, 4)
        add("leaver", PATIENT_CONNECTOR, FIRST, texts)
        left -= texts
    while left > 0:
        texts = min(left, rng.randint(3, 8))
        add("campaign", PATIENT_CONNECTOR, rng.choice((None, FIRST, SECOND)), texts)
        left -= texts
    return Script(habits, sorted(errands, key=lambda errand: errand.at))


class Traffic:
    """One run of a script against a deployment."""

    def __init__(self, deployment: Deployment, found: Script, *, seed: int, lose: bool) -> None:
        self.accepted: list[Accepted] = []
        self.never_accepted: list[str] = []
        self.answers: list[Answer] = []
        self.created: list[Created] = []
        self._deployment, self._script, self._seed = deployment, found, seed
        self._lose = lose
        self._said: dict[str, Said] = {}
        self._rounds: dict[str, int] = defaultdict(int)
        self._rng = random.Random(f"{seed}:users")  # noqa: S311 - as above
        self._tasks: set[asyncio.Task[None]] = set()
        self._http = httpx.AsyncClient(
            trust_env=False,
            timeout=CALLER_SECONDS,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
        )
        deployment.twilio.receipts = self._taken

    @property
    def said(self) -> list[Said]:
        return list(self._said.values())

    async def run(self) -> None:
        """Until every errand was done; users may still be texting."""
        of_user: dict[str, list[Errand]] = defaultdict(list)
        for errand in self._script.errands:
            of_user[errand.user].append(errand)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for errands in of_user.values():
                group.create_task(self._do(errands, began))

    def lose_no_more(self) -> None:
        """From now on every webhook comes: to find one that did not takes half a minute."""
        self._lose = False

    async def quiet(self) -> None:
        """Wait until no user is texting any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._http.aclose()

    # --- callers ---

    async def _do(self, errands: Sequence[Errand], began: float) -> None:
        """One after the other: what the caller heard accepted first has to arrive first."""
        for errand in errands:
            await asyncio.sleep(max(0.0, began + errand.at - time.monotonic()))
            if not errand.connector:
                assert errand.agent is not None
                await self._text(errand.user, errand.agent)
            elif errand.twice:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._send(errand))
                    group.create_task(self._send(errand))
            else:
                await self._send(errand)

    async def _send(self, errand: Errand) -> None:
        body = {"user_number": errand.user, "message": errand.text}
        if errand.agent is not None:
            body["agent_number"] = errand.agent
        headers = {
            "X-PolyAi-Auth-Token": KEY,
            "X-TOKEN-ID": errand.connector,
            "Idempotency-Key": f"{self._seed} {errand.text}",
        }
        ends = time.monotonic() + PATIENCE_SECONDS
        wait = self._rng.uniform(0.005, 0.05) if errand.hasty else CALLER_SECONDS
        while time.monotonic() < ends:
            nth = self._rng.randrange(len(self._deployment.apis))
            asked = time.time()
            try:
                answer = await self._http.post(
                    self._deployment.urls[nth] + ROUTE, json=body, headers=headers, timeout=wait
                )
            except httpx.TransportError:
                wait = CALLER_SECONDS
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            now = time.time()
            if answer.status_code == 202:
                self.accepted.append(
                    Accepted(
                        text=errand.text,
                        message_id=answer.headers["x-message-id"],
                        conversation_id=answer.headers["x-conversation-id"],
                        user=errand.user,
                        at=now,
                    )
                )
                return
            part = self._deployment.apis[nth].name
            self.answers.append(Answer(part, ROUTE, answer.status_code, asked, now, by_log=False))
            await asyncio.sleep(AGAIN_SECONDS)
        self.never_accepted.append(errand.text)

    # --- the carrier ---

    def _taken(self, message: Message) -> Receipts:
        """The carrier took a text of ours: its receipts, and what its user does."""
        self.created.append(evidence.created(message, time.time()))
        self._task(self._answer(message.to, message.from_, message.body))
        return self._rng.choices(
            (
                Receipts(),
                Receipts(delay=0),  # maybe before the response
                Receipts(delay=self._rng.uniform(0.5, 4)),
                Receipts(copies=3),
                Receipts(statuses=("delivered", "sent", "sending")),
                Receipts(statuses=("sent", "undelivered"), error_code=30003),
                Receipts(statuses=()),
            ),
            weights=(4, 3, 3, 2, 2, 1, 6),
        )[0]

    # --- users ---

    async def _answer(self, user: str, agent: str, heard: str) -> None:
        """Read a text, and maybe say something."""
        rng, habit = self._rng, self._script.habits[user]
        chance = {"campaign": 0.2, "talker": 0.95, "idler": 1, "walk-in": 0.9, "leaver": 0.3}[habit]
        if heard == CLOSING or self._rounds[user] >= MOST_ROUNDS[habit] or rng.random() > chance:
            return
        if habit == "idler" and heard != WARNING and self._rounds[user] > 0:
            return
        if heard == WARNING and rng.random() < 0.5:
            return
        self._rounds[user] += 1
        await asyncio.sleep(rng.uniform(0.05, 0.8))
        if habit == "leaver":
            await self._text(user, agent, "STOP")
            await asyncio.sleep(rng.uniform(0.5, 3))
            await self._text(user, agent, "START")
            return
        for _ in range(rng.choice((1, 1, 2, 3)) if habit == "talker" else 1):
            await self._text(user, agent)
            await asyncio.sleep(rng.uniform(0, 0.4))

    async def _text(self, user: str, agent: str, words: str | None = None) -> None:
        text = words or f"user text {len(self._said):05d}"
        fate = self._rng.random()
        if self._lose and fate < 0.1 and words is None:
            lost = self._deployment.twilio.unheard(user, agent, text)
            self._said[lost.sid] = Said(lost.sid, user, agent, text, acknowledged=False)
            return
        message_sid = sid("SM")
        self._said[message_sid] = Said(message_sid, user, agent, text, acknowledged=False)
        self._task(self._webhook(self._said[message_sid]))
        if fate > 0.85:  # a repetition of Twilio's, at the same time, and to another process
            url = f"{self._rng.choice(self._deployment.urls)}{INBOUND}"
            self._task(self._webhook(self._said[message_sid], url))

    async def _webhook(self, said: Said, url: str | None = None) -> None:
        try:
            answer = await self._deployment.twilio.text(
                said.user, said.agent, said.text, message_sid=said.sid, url=url
            )
        except httpx.TransportError:
            return
        if answer.is_success:
            self._said[said.sid] = replace(said, acknowledged=True)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
