"""Callers of our own API: sends for later, sends that go on with a conversation, and batches."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import httpx

from tests.chaos.deployment import FIRST, KEY, SECOND, Deployment
from tests.chaos.record import Accepted, Answer, Many, Planned
from tests.chaos.traffic import AGAIN_SECONDS, CALLER_SECONDS, PATIENCE_SECONDS, Habit

PROJECT: Final = "patient"
AHEAD_SECONDS: Final = (1.0, 6.0)
ROWS: Final = (5, 20)
"""Of a batch: the fewest and the most."""

What = Literal["sent", "paused", "cancelled"]


@dataclass(frozen=True, slots=True)
class Send:
    at: float
    user: str
    text: str
    agent: str | None
    resumes: bool
    ahead: float | None
    """Seconds from when it is asked for until it is due; None: at once."""
    cancelled_after: float | None
    """Seconds after it was answered."""
    twice: bool
    """By two requests at the same time, with the same key."""


@dataclass(frozen=True, slots=True)
class Batch:
    at: float
    name: str
    users: Sequence[str]
    what: What
    after: float
    """Seconds until it is paused, or cancelled."""
    lasts: float
    """Seconds of the pause."""


@dataclass(frozen=True, slots=True)
class Script:
    habits: Mapping[str, Habit]
    sends: Sequence[Send]
    batches: Sequence[Batch]


def script(seed: int, *, sends: int, seconds: float) -> Script:
    """What these callers do: with a fifth of `sends` as single texts, and a batch of each kind.

    The same seed, the same script.
    """
    rng = random.Random(f"{seed}:later")  # noqa: S311 - it has to be the same again
    habits: dict[str, Habit] = {}
    singles: list[Send] = []
    for n in range(max(2, sends // 20)):
        user = f"+1415557{n:04d}"
        habits[user] = rng.choice(("talker", "campaign"))
        agent = rng.choice((None, FIRST, SECOND))
        for nth, at in enumerate(sorted(rng.uniform(0, seconds) for _ in range(4))):
            ahead = rng.uniform(*AHEAD_SECONDS) if rng.random() < 0.5 else None
            stops = rng.uniform(0, AHEAD_SECONDS[1]) if rng.random() < 0.3 else None
            singles.append(
                Send(
                    at=at,
                    user=user,
                    text=f"later {nth} to {user[-4:]}",
                    agent=agent,
                    resumes=nth > 0 and rng.random() < 0.7,
                    ahead=ahead,
                    cancelled_after=None if ahead is None else stops,
                    twice=rng.random() < 0.2,
                )
            )
    batches: list[Batch] = []
    rows = min(max(sends // 10, ROWS[0]), ROWS[1])
    kinds: list[What] = ["sent", "paused", "cancelled"] * max(1, round(seconds / 60))
    for n, what in enumerate(kinds):
        users = [f"+1415558{n:02d}{row:02d}" for row in range(rows)]
        habits |= dict.fromkeys(users, "campaign")
        batches.append(
            Batch(
                at=rng.uniform(0, seconds * 0.8),
                name=f"batch {n}",
                users=users,
                what=what,
                after=rng.uniform(0, 0.8),  # they are quick
                lasts=rng.uniform(1, 4),
            )
        )
    return Script(habits, singles, batches)


class Later:
    """One run of a script against a deployment."""

    def __init__(self, deployment: Deployment, found: Script, *, seed: int) -> None:
        self.accepted: list[Accepted] = []
        self.planned: list[Planned] = []
        self.many: list[Many] = []
        self.never_accepted: list[str] = []
        self.answers: list[Answer] = []
        self._deployment, self._script, self._seed = deployment, found, seed
        self._rng = random.Random(f"{seed}:callers")  # noqa: S311 - as above
        self._http = httpx.AsyncClient(trust_env=False, timeout=CALLER_SECONDS)

    async def close(self) -> None:
        await self._http.aclose()

    async def listen(self, url: str, secret: str) -> None:
        """The account wants to be told of everything, from now on."""
        made = await self._ask("POST", "/v1/webhooks", {"url": url, "secret": secret})
        assert made is not None
        assert made.status_code == 201, made.text

    async def run(self) -> None:
        of_user: dict[str, list[Send]] = defaultdict(list)
        for send in self._script.sends:
            of_user[send.user].append(send)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for sends in of_user.values():
                group.create_task(self._do(sends, began))
            for batch in self._script.batches:
                group.create_task(self._batch(batch, began))

    async def again(self, deliveries: Sequence[int]) -> None:
        """The account asks for these at once, rather than when they would be tried again."""
        for each in deliveries:
            await self._ask("POST", f"/v1/deliveries/dlv_{each}/replay", {})

    async def _do(self, sends: Sequence[Send], began: float) -> None:
        """One after the other, as one caller does who waits for each answer."""
        async with asyncio.TaskGroup() as group:
            for send in sends:
                await asyncio.sleep(max(0.0, began + send.at - time.monotonic()))
                body = _body(send)
                if send.twice:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._send(send, body))
                        one = both.create_task(self._send(send, body))
                    planned = one.result()
                else:
                    planned = await self._send(send, body)
                if planned is not None and send.cancelled_after is not None:
                    group.create_task(self._cancel(planned, send.cancelled_after))

    async def _send(self, send: Send, body: Mapping[str, object]) -> Planned | None:
        answer = await self._ask("POST", "/v1/messages", body, key=send.text)
        if answer is None or answer.status_code != 202:
            self.never_accepted.append(send.text)
            return None
        found: dict[str, Any] = answer.json()
        if found["state"] != "planned":
            self.accepted.append(
                Accepted(
                    text=send.text,
                    message_id=found["message_id"],
                    conversation_id=found["conversation_id"],
                    user=send.user,
                    at=time.time(),
                    resumed=found["resumed"],
                )
            )
            return None
        planned = Planned(send.text, found["message_id"], send.user)
        if planned not in self.planned:
            self.planned.append(planned)
        return planned

    async def _cancel(self, planned: Planned, after: float) -> None:
        await asyncio.sleep(after)
        at = self.planned.index(planned)
        self.planned[at] = asked = replace(planned, is_stopped=True)
        answer = await self._ask("DELETE", f"/v1/sends/{planned.message_id}")
        if answer is not None and answer.is_success:
            self.planned[at] = replace(asked, cancelled_at=time.time())

    async def _batch(self, batch: Batch, began: float) -> None:
        await asyncio.sleep(max(0.0, began + batch.at - time.monotonic()))
        texts = {user: f"{batch.name} to {user[-4:]}" for user in batch.users}
        body = {
            "project": PROJECT,
            "name": batch.name,
            "text": batch.name + " to {{tail}}",
            "rows": [{"to": user, "variables": {"tail": user[-4:]}} for user in batch.users],
        }
        made = await self._ask("POST", "/v1/batches", body, key=batch.name)
        if made is None or made.status_code != 201:
            self.never_accepted.append(batch.name)
            return
        found = Many(id=made.json()["id"], texts=texts, is_stopped=batch.what == "cancelled")
        self.many.append(found)
        where = self.many.index(found)
        await asyncio.sleep(0 if batch.what == "sent" else batch.after)
        if batch.what == "cancelled":
            done = await self._ask("POST", f"/v1/batches/{found.id}/cancel")
            if done is not None and done.is_success:
                self.many[where] = replace(found, cancelled_at=time.time())
        elif batch.what == "paused":
            done = await self._ask("POST", f"/v1/batches/{found.id}/pause")
            since = time.time()
            await asyncio.sleep(batch.lasts)
            until = time.time()
            if done is not None and done.is_success:
                self.many[where] = replace(found, pauses=[(since, until)])
            resumed = await self._ask("POST", f"/v1/batches/{found.id}/resume")
            if resumed is None:
                self.never_accepted.append(f"the resume of {batch.name}")

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
    ) -> httpx.Response | None:
        """Until it is answered other than by 503; None: it never was."""
        headers = {"Authorization": f"Bearer {KEY}"}
        if key is not None:
            headers["Idempotency-Key"] = f"{self._seed} {key}"
        ends = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends:
            nth = self._rng.randrange(len(self._deployment.apis))
            asked = time.time()
            try:
                answer = await self._http.request(
                    method, self._deployment.urls[nth] + path, json=body, headers=headers
                )
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if answer.is_success:
                return answer
            part, now = self._deployment.apis[nth].name, time.time()
            status = answer.status_code
            self.answers.append(Answer(part, path, status, asked, now, by_log=False))
            if status != 503:
                return answer
            await asyncio.sleep(AGAIN_SECONDS)
        return None


def _body(send: Send) -> dict[str, object]:
    """The moment is named once, so that the repetition asks for the same."""
    body: dict[str, object] = {"to": send.user, "text": send.text, "project": PROJECT}
    if send.agent is not None:
        body["from"] = send.agent
    if send.resumes:
        body["conversation"] = "resume"
    if send.ahead is not None:
        body["send_at"] = datetime.fromtimestamp(time.time() + send.ahead, UTC).isoformat()
    return body
