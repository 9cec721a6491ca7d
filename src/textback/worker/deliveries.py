"""Events on their way out: posted to the endpoints that want them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic

import structlog

from textback import logs, metrics, tracing
from textback.core.frozen import frozen
from textback.core.webhook import Answered, NotAnswered, verdict
from textback.flows import deliver, traces
from textback.flows.deliver import Held, Post, Recorded, Round
from textback.runtime import Runtime
from textback.worker.loop import Loop, given_back, persist

log = structlog.stdlib.get_logger()

AT_ONCE = 32
"""Posts of one worker; they wait for others' servers more than they work."""

SHARE = 4
"""Of one endpoint, and of one host of one account, which may hang."""

UNSIGNED_WAIT = timedelta(seconds=30)
"""A secret cannot be opened: an operator has to put its key back."""

BATCH = 1000


@frozen
class _Posted:
    outcome: Answered | NotAnswered
    span: Mapping[str, str]
    """The ids of the span that it was posted in, which has ended when it is logged."""

    @property
    def why(self) -> str | None:
        """Why it was not delivered."""
        if isinstance(self.outcome, NotAnswered):
            return self.outcome.why
        well = verdict(self.outcome) == "delivered"
        return None if well else f"HTTP {self.outcome.status}"


class Deliveries:
    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self._under_way = Counter[str]()
        self._unsigned = set[str]()
        self._round = Round()
        self._posts = Loop(
            "deliver", self._claim, self._deliver, concurrency=AT_ONCE, poll=rt.poll, now=rt.now
        )
        self._tidy = Loop(
            "tidy-webhooks", self._tidy_up, _nothing, concurrency=1, poll=rt.sweep, now=rt.now
        )
        self.loops = (self._posts, self._tidy)

    def wake(self) -> None:
        self._posts.wake()

    async def _claim(self, limit: int) -> tuple[Sequence[Held], datetime | None]:
        held, upcoming = await deliver.claim(
            self.rt.db,
            self._round,
            limit=limit,
            share=SHARE,
            under_way=self._under_way,
            now=self.rt.now(),
        )
        self._under_way.update(each.target for each in held)
        return held, upcoming

    async def _deliver(self, held: Held) -> None:
        try:
            done = await self._run(held)
        finally:
            self._under_way[held.target] -= 1
            self._under_way += Counter()  # forgets who has none
        metrics.WEBHOOKS.labels(done.came).inc()
        if done.paused is not None:
            metrics.WEBHOOKS_PAUSED.inc()
            log.error("webhook.paused", endpoint_id=held.endpoint_id, why=done.paused)

    async def _run(self, held: Held) -> Recorded:
        rt = self.rt
        # That it may have arrived by then is what "at least once" is for.
        async with given_back(lambda: deliver.give_back(rt.db, held, until=rt.now())):
            posted = await self._outcome(held)
        if isinstance(posted, Recorded):
            return posted
        outcome = posted.outcome
        metrics.WEBHOOK.observe(outcome.milliseconds / 1000)
        done = await persist(lambda: deliver.record(rt.db, held, outcome, now=rt.now()))
        log.info(
            "webhook.posted",
            came=done.came,
            endpoint_id=held.endpoint_id,
            delivery_id=held.id,
            event_id=held.event_id,
            conversation_id=held.conversation_id,
            message_id=held.message_id,
            tries=held.tries,
            status=outcome.status if isinstance(outcome, Answered) else None,
            why=posted.why,
            ms=outcome.milliseconds,
            **posted.span,
        )
        return done

    async def _outcome(self, held: Held) -> _Posted | Recorded:
        """Recorded: it was not posted."""
        rt, began = self.rt, monotonic()
        written = await persist(lambda: deliver.write(rt.db, held, rt.formats, now=rt.now()))
        if isinstance(written, Recorded):
            return written
        try:
            post = deliver.signed(held, written, rt.formats, rt.vault, now=rt.now())
        except (KeyError, ValueError) as error:
            self._tell_of(held.endpoint_id, error)
            await deliver.give_back(rt.db, held, until=rt.now() + UNSIGNED_WAIT)
            return Recorded(came="unsigned")
        self._unsigned.discard(held.endpoint_id)
        return await self._post(held, post, began)

    def _tell_of(self, endpoint_id: str, error: KeyError | ValueError) -> None:
        """Once, until it works again: each delivery to it comes again and again."""
        if endpoint_id not in self._unsigned:
            self._unsigned.add(endpoint_id)
            sealed = isinstance(error, ValueError)
            why = "no key of ours opens its secret" if sealed else "its format is none of ours"
            log.error("webhook.unsigned", endpoint_id=endpoint_id, why=why)

    async def _post(self, held: Held, post: Post, began: float) -> _Posted:
        parent = await traces.of_event(self.rt.db, held.event_id)
        with tracing.span(
            "webhook.post",
            kind="client",
            parent=parent,
            endpoint_id=held.endpoint_id,
            event_id=held.event_id,
        ) as span:
            here = tracing.current()
            headers = post.headers if here is None else {**post.headers, "traceparent": here}
            outcome = await self._answer(held, replace(post, headers=headers), began)
            if isinstance(outcome, Answered):
                span.set(**{"http.response.status_code": outcome.status})
            else:
                span.fail("no_answer")
            return _Posted(outcome=outcome, span=logs.spanned.get() or {})

    async def _answer(self, held: Held, post: Post, began: float) -> Answered | NotAnswered:
        try:
            return await self.rt.webhooks.post(held.url, post.headers, post.body)
        except Exception as error:
            log.exception("webhook.sender_failed", endpoint_id=held.endpoint_id)
            spent = round((monotonic() - began) * 1000)
            return NotAnswered(why=f"the sender raised {type(error).__name__}", milliseconds=spent)

    async def _tidy_up(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        await deliver.tidy(self.rt.db, limit=BATCH, now=self.rt.now())
        return (), None


async def _nothing(_item: None) -> None:
    """The claim did it all."""
