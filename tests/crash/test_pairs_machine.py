"""Two users, our number, callers, workers, the carrier, an agent and an operator, in every order.

One at a time, so that Hypothesis can shrink what it finds; `tests/flows/test_together.py` has them
all at once.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, get_args

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from tests.support.aftermath import FarCarrier, unfinished
from tests.support.deployment import HTTP, NOW, key
from tests.support.doubles import LATER, NEVER, NO_ANSWER, OPTED_OUT, SLOW_DOWN
from tests.support.records import Text
from tests.support.world import World
from textback.core.commands import Accepted
from textback.core.engine import Later, ToolResult, TurnFailed, TurnLost, TurnReply
from textback.core.errors import NotUncertain
from textback.core.phone import Phone
from textback.core.policy import WhileThinking
from textback.core.ports import ReceiptStatus, SendError
from textback.db import tables
from textback.db.session import create_engine, transaction
from textback.db.thinking import Thinking
from textback.flows import operate, send, turn
from textback.flows.journal import TurnJournal
from textback.flows.send import Job

T = TypeVar("T")

USERS = [Phone("+14155550201"), Phone("+14155550202")]
MANY = {"requests": 100_000, "per_seconds": 60}
PROJECT: dict[str, object] = {
    "reply_delay_seconds": 2,
    "inactivity": {"warn_after_seconds": 900, "close_after_seconds": 300},
    "inbound_limits": {"per_sender": MANY, "per_project": MANY, "repeats": {"count": 1000}},
    "reply_budget": {"replies": 1000, "per_seconds": 3600},
}
ANSWERS = ["says", "says", "two", "ends", "fails", "silent", "later", "later"]
WITHIN = timedelta(minutes=2)
FINAL = {"sent", "delivered", "failed", "suppressed"}

Fate = Literal["taken", "answer lost", "never arrives", "later", "slow down", "never", "opted out"]
REFUSALS: dict[Fate, SendError] = {
    "later": LATER, "slow down": SLOW_DOWN, "never": NEVER, "opted out": OPTED_OUT
}  # fmt: skip
fates = st.sampled_from(get_args(Fate)) | st.sampled_from(["taken", "answer lost"])
users = st.sampled_from(USERS)
pick = st.integers(0, 20)


class Pairs(RuleBasedStateMachine):
    """Rules do one step each; what workers hold meanwhile is in `jobs`, `told` and `thinking`."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.carrier = FarCarrier()
        self.accepted: list[Accepted] = []
        self.keys: list[tuple[str, Phone, str | None, Accepted]] = []
        self.heard: dict[str, tuple[Phone, str]] = {}
        self.jobs: list[Job] = []
        self.told: list[tuple[Job, send.Outcome]] = []
        self.thinking: list[Thinking] = []
        self.awaited: list[Thinking] = []
        self.said: list[str] = []
        """What the agent was recorded to have said."""
        self.done = set[tuple[str, str]]()
        """What was called for which turn."""
        self.counter = 0

    def next(self, what: str) -> str:
        self.counter += 1
        return f"{what} {self.counter}"

    # Callers and users

    @rule(user=users, written=st.booleans())
    def accept(self, user: Phone, written: bool) -> None:  # noqa: FBT001 - Hypothesis'
        words, name = self.next("Opener") if written else None, self.next("key")
        accepted = self.run(
            self.world.accept(words, user=user, idempotency=key(name), now=self.now)
        )
        self.accepted.append(accepted)
        self.keys.append((name, user, words, accepted))

    @rule(which=pick)
    @precondition(lambda self: bool(self.keys))
    def ask_again(self, which: int) -> None:
        name, user, words, first = self.keys[which % len(self.keys)]
        again = self.run(self.world.accept(words, user=user, idempotency=key(name), now=self.now))
        assert (again.message_id, again.replayed) == (first.message_id, True)

    @rule(user=users, keyword=st.sampled_from([None] * 6 + ["STOP", "START", "HELP"]))
    def hear(self, user: Phone, keyword: str | None) -> None:
        sid = self.next("IN")
        self.heard[sid] = (user, keyword or self.next("Hello"))
        heard = self.run(self.world.hear(self.heard[sid][1], user=user, sid=sid, now=self.now))
        assert heard.outcome != "duplicate"

    @rule(which=pick)
    @precondition(lambda self: bool(self.heard))
    def webhook_repeated(self, which: int) -> None:
        sid = list(self.heard)[which % len(self.heard)]
        user, words = self.heard[sid]
        heard = self.run(self.world.hear(words, user=user, sid=sid, now=self.now))
        assert heard.outcome == "duplicate"

    # Workers that send

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        claimed = self.run(self.world.claim(now=self.now, limit=limit))
        for job in claimed:
            m = job.message
            assert m.kind == "notice" or self.run(self.world.may_text(user=m.user_number))
        self.jobs += claimed

    @rule(which=pick, fate=fates)
    @precondition(lambda self: bool(self.jobs))
    def hand_over(self, which: int, fate: Fate) -> None:
        job = self.jobs.pop(which % len(self.jobs))
        asked, had = len(self.carrier.sent), len(self.carrier.had)
        self.carrier.refuses = REFUSALS.get(fate) or (NEVER if fate == "never arrives" else None)
        outcome = self.run(self.world.hand_over(job, now=self.now, carrier=self.carrier))
        if len(self.carrier.sent) > asked and fate in {"answer lost", "never arrives"}:
            outcome = NO_ANSWER
        self.told.append((job, outcome))
        if len(self.carrier.had) > had:
            self.nobody_is_texted_twice_nor_out_of_order()

    @rule(which=pick)
    @precondition(lambda self: bool(self.told))
    def record(self, which: int) -> None:
        job, outcome = self.told.pop(which % len(self.told))
        self.run(self.world.record(job, outcome, now=self.now))

    @rule(which=pick, told=st.booleans())
    def worker_dies(self, which: int, told: bool) -> None:  # noqa: FBT001 - Hypothesis'
        held: list[Any] = self.told if told else self.jobs
        if held:
            held.pop(which % len(held))

    @rule()
    def rescue(self) -> None:
        self.run(self.world.rescue(now=self.now))
        self.run(self.world.rescue_turns(now=self.now))

    @rule()
    def settle(self) -> None:
        self.run(self.world.settle(now=self.now, carrier=self.carrier))

    @rule(which=pick, status=st.sampled_from(get_args(ReceiptStatus)), sid_only=st.booleans())
    @precondition(lambda self: bool(self.carrier.had))
    def receipt(self, which: int, status: ReceiptStatus, sid_only: bool) -> None:  # noqa: FBT001
        sid, had = self.carrier.had[which % len(self.carrier.had)]
        message_id = None if sid_only else had.message_id
        self.run(self.world.receipt(status, sid=sid, message_id=message_id, now=self.now))

    @rule(which=pick)
    def operator(self, which: int) -> None:
        """Tells the truth about a text in doubt that no worker may yet hand over."""
        uncertain = [t for t in self.texts() if t.state == "uncertain"]
        if not uncertain:
            return
        m = uncertain[which % len(uncertain)]
        sids = [sid for sid, had in self.carrier.had if had.message_id == m.id]
        held = [job.message.id for job in self.jobs]
        with suppress(NotUncertain):
            if sids:
                settling = operate.settle_as_sent(
                    self.world.db, m.id, carrier_message_id=sids[0], now=self.now
                )
                self.run(settling)
            elif m.id not in held:
                self.run(operate.settle_as_not_sent(self.world.db, m.id, now=self.now))

    # Workers that let the agent think

    @rule()
    def claim_turns(self) -> None:
        # All that are due, in an order of their words: that of what is due at once is Postgres',
        # and a run that is repeated must be the same.
        claimed = self.run(self.world.claim_turns(now=self.now))
        self.thinking += sorted(claimed, key=lambda each: (each.heard, len(each.transcript)))

    @rule(which=pick, how=st.sampled_from(ANSWERS))
    @precondition(lambda self: bool(self.thinking))
    def answer(self, which: int, how: str) -> None:
        thinking = self.thinking.pop(which % len(self.thinking))
        texts = [self.next("Reply") for _ in range({"silent": 0, "two": 2}.get(how, 1))]
        said = TurnReply(texts=texts, end_conversation=how == "ends")
        others = {"fails": TurnFailed("no answer"), "later": Later(within=WITHIN)}
        answer = others.get(how, said)
        outcome = self.run(self.world.answer(thinking, answer, now=self.now))
        if outcome == "answered":
            self.said += texts
        if how == "later":  # also when it was not heard: its answer may come all the same
            self.awaited.append(thinking)

    @rule(which=pick)
    @precondition(lambda self: bool(self.awaited))
    def posts(self, which: int) -> None:
        thinking, words = self.awaited[which % len(self.awaited)], self.next("Reply")
        if self.run(self.world.post(thinking, words, now=self.now)) == "recorded":
            self.said.append(words)

    @rule(which=pick)
    @precondition(lambda self: bool(self.thinking))
    def posts_early(self, which: int) -> None:
        self.awaited.append(self.thinking[which % len(self.thinking)])
        self.posts(-1)

    @rule(which=pick, name=st.sampled_from(["book", "look"]))
    @precondition(lambda self: bool(self.thinking))
    def calls(self, which: int, name: str) -> None:
        """What was done once for a turn is not done again."""
        thinking = self.thinking[which % len(self.thinking)]
        journal = TurnJournal(self.world.db, thinking, now=lambda: self.now)

        async def do(_: str) -> ToolResult:
            done = (thinking.id, name)
            assert done not in self.done
            self.done.add(done)
            return ToolResult("done")

        with suppress(TurnLost):
            assert self.run(journal.call(name, {}, do)) == ToolResult("done")

    @rule(policy=st.sampled_from(get_args(WhileThinking)))
    def policy_changes(self, policy: WhileThinking) -> None:
        self.run(self.set_policy(policy))

    async def set_policy(self, policy: WhileThinking) -> None:
        change = (
            "update projects set policy ="
            " policy || jsonb_build_object('while_thinking', cast(:to as text))"
        )
        async with transaction(self.world.db) as c:
            await c.execute(text(change), {"to": policy})

    @rule(which=pick)
    @precondition(lambda self: bool(self.thinking))
    def give_back(self, which: int) -> None:
        thinking = self.thinking.pop(which % len(self.thinking))
        self.run(turn.give_back(self.world.db, thinking, due_at=self.now))

    @rule(which=pick)
    @precondition(lambda self: bool(self.thinking))
    def thinker_dies(self, which: int) -> None:
        self.thinking.pop(which % len(self.thinking))

    # Time

    @rule(seconds=st.sampled_from([1, 3, 15, 35, 70, 300, 900]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def expire(self) -> None:
        self.run(self.world.expire(now=self.now))

    # What must hold

    def texts(self) -> list[Text]:
        return [t for user in USERS for t in self.run(self.world.texts(user=user))]

    def nobody_is_texted_twice_nor_out_of_order(self) -> None:
        texts = {t.id: t for t in self.texts()}
        for user in USERS:
            had = [h.message_id for _sid, h in self.carrier.had if h.user_number == user]
            seqs = [texts[message_id].seq for message_id in had]
            assert len(set(had)) == len(had), "texted twice"
            assert seqs == sorted(seqs), "out of order"
            for message_id in had:
                assert texts[message_id].state not in {"queued", "suppressed"}
        for t in texts.values():
            sids = [sid for sid, h in self.carrier.had if h.message_id == t.id]
            if t.direction == "outbound" and t.carrier_message_id is not None:
                assert [t.carrier_message_id] == sids

    def teardown(self) -> None:
        """Everybody is well again: what was promised comes true."""
        try:
            self.heal()
            self.nobody_is_texted_twice_nor_out_of_order()
            self.all_promises_were_kept()
        finally:
            self.run(self.wipe())

    def heal(self) -> None:
        world = self.world
        self.carrier.refuses = None
        for _ in range(60):
            if not self.run(unfinished(world)):
                return
            self.now += timedelta(seconds=61)
            self.run(world.rescue(now=self.now))
            self.run(world.rescue_turns(now=self.now))
            self.run(world.settle(now=self.now, carrier=self.carrier))
            self.thinking = self.run(world.claim_turns(now=self.now))
            while self.thinking:
                self.answer(0, "says")
            self.run(world.send_all(now=self.now, carrier=self.carrier))
        raise AssertionError(f"unfinished: {self.texts()}, {self.run(world.turns())}")

    def all_promises_were_kept(self) -> None:
        texts = self.texts()
        by_id = {t.id: t for t in texts}
        taken = {h.message_id for _sid, h in self.carrier.had}
        for t in texts:
            if t.direction == "outbound":
                assert t.state in FINAL
                if t.state in {"sent", "delivered"}:
                    assert t.id in taken
                elif t.id not in taken:
                    assert t.error_code or t.drop_reason, "no reason"
        assert all(a.message_id in by_id for a in self.accepted)
        for sid in self.heard:
            assert sum(t.carrier_message_id == sid for t in texts) == 1, f"{sid} not stored once"
        for words in self.said:
            assert sum(t.text == words for t in texts) == 1, f"{words} not said once"
        turns = self.run(self.world.turns())
        for talk in self.run(self.world.talks()):
            events = self.run(self.world.events(talk.id))
            warnings = [t for t in texts if t.conversation_id == talk.id and t.kind == "warning"]
            assert events.count("conversation.warned") == len(warnings)
            assert events.count("conversation.closed") == (talk.state == "closed")
            unheard = [
                t.text
                for t in texts
                if (t.conversation_id, t.kind) == (talk.id, "text") and t.seq > talk.heard_seq
            ]
            if unheard:
                assert talk.state == "closed", f"not answered: {unheard}"
                dropped = [
                    t for t in turns if (t.conversation_id, t.outcome) == (talk.id, "dropped")
                ]
                assert dropped, f"neither answered nor dropped: {unheard}"

    async def wipe(self) -> None:
        async with transaction(self.world.db) as c:
            await c.execute(text("set local session_replication_role = replica"))
            for table in (
                tables.events, tables.tool_calls, tables.turns, tables.usage_days,
                tables.messages, tables.conversations, tables.opt_outs, tables.idempotency_keys,
            ):  # fmt: skip
                await c.execute(table.delete())


def keep_promises(machine: type["Pairs"], database_url: str, *, examples: int) -> None:
    """Run the machine through so many examples, in a world of its own."""
    with asyncio.Runner() as runner:

        async def begin() -> World:
            world = World(create_engine(database_url))
            await world.provision(agent={"greeting": None, "engine": HTTP}, project=PROJECT)
            return world

        made = runner.run(begin())
        here = type("Here", (machine,), {"world": made, "run": staticmethod(runner.run)})
        try:
            run_state_machine_as_test(
                here,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=30,
                    deadline=None,
                    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                ),
            )
        finally:
            runner.run(made.close())
            runner.run(made.db.dispose())


def test_all_promises_are_kept_in_every_order(database_url: str) -> None:
    keep_promises(Pairs, database_url, examples=30)
