"""What was promised against what happened. Pure: it is given everything, and can be tested alone.

Times are seconds of the wall clock.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos import planned, told
from tests.chaos.record import Answer, Created, Record, Row, Turn

GRACE: Final = 5.0
"""Seconds after an outage of Postgres' in which a 503 is still its doing: pools find their dead
connections, and a request that had begun before waits for one for as long as it may."""

SLOW: Final = 4.9
"""A 503 after this long is one for want of time: the machine, and not Postgres, was busy."""

MAY_BE_OVER: Final = ("/v1/sends/", "/v1/batches/", "/v1/deliveries/")
"""What a caller wants to stop, or to have again, may be under way or over by then."""

STOP_GRACE: Final = 7.0
"""Seconds over the time to drain: a worker's last words (2 s), a connection to a Postgres that is
away (3 s, which nothing cuts short), and the interpreter's own end on a machine that is busy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    figures: Mapping[str, object]
    violations: Sequence[str]

    def table(self) -> str:
        width = max(len(name) for name in self.figures)
        lines = [f"  {name.ljust(width)}  {value}" for name, value in self.figures.items()]
        if self.violations:
            lines += ["", f"  {len(self.violations)} broken promises:"]
            lines += [f"  - {violation}" for violation in self.violations]
        return "\n".join(lines)


def judge(record: Record) -> Verdict:
    return _Judge(record).verdict()


class _Judge:
    def __init__(self, record: Record) -> None:
        self.r = record
        self.violations: list[str] = []
        self.rows = {row.id: row for row in record.rows}
        self.ours = [row for row in record.rows if row.direction == "outbound"]
        self.theirs = [row for row in record.rows if row.direction == "inbound"]
        self.creates: dict[str, list[Created]] = defaultdict(list)
        for created in record.created:
            self.creates[created.message_id].append(created)
        self.stops = {(said.agent, said.user) for said in record.said if said.text == "STOP"}

    def verdict(self) -> Verdict:
        figures: dict[str, object] = {"seed": self.r.seed}
        for check in (self._texts, self._order, self._heard, self._answered, self._idle):
            figures |= check()
        for judged in (planned.judge(self.r), told.judge(self.r)):
            figures |= judged.figures
            self.violations += judged.violations
        figures |= self._recovery() | self._errors() | self._ends()
        done = defaultdict[str, list[str]](list)
        for part, what in sorted(self.r.did):
            done[part].append(f"{what} {self.r.did[part, what]}")
        figures |= {f"done to {part}": "; ".join(whats) for part, whats in done.items()}
        return Verdict(figures, self.violations)

    def _wrong(self, what: str) -> None:
        self.violations.append(what)

    def _texts(self) -> dict[str, object]:
        """Each 202 has its row; each row left once, or with a reason not at all; no other did."""
        promised = {a.message_id: a for a in self.r.accepted}
        ids = defaultdict[str, set[str]](set)
        for accepted in self.r.accepted:
            ids[accepted.text].add(accepted.message_id)
            row = self.rows.get(accepted.message_id)
            if row is None or (row.conversation_id, row.text, row.user) != (
                accepted.conversation_id,
                accepted.text,
                accepted.user,
            ):
                self._wrong(f"lost: {accepted.text!r} was accepted as {accepted.message_id}: {row}")
        for text, several in ids.items():
            if len(several) > 1:
                self._wrong(f"accepted twice: {text!r} as {sorted(several)}")
        for text in self.r.never_accepted:
            self._wrong(f"never accepted: {text!r}")
        later = {plan.id for plan in self.r.plans}
        for row in self.ours:
            if row.kind == "opener" and row.id not in promised and row.id not in later:
                self._wrong(f"not asked for: {row.id} {row.text!r}")
        counted = Counter(self._fate(row) for row in self.ours)
        for message_id, creates in self.creates.items():
            if message_id not in self.rows:
                self._wrong(f"created out of nothing: {[c.text for c in creates]} {message_id!r}")
        return {
            "accepted": len(promised),
            "accepted, to go on": len({a.message_id for a in self.r.accepted if a.resumed}),
            "texts of ours": len(self.ours),
            "delivered once": counted["once"],
            "duplicated": counted["duplicated"],
            "lost": counted["lost"]
            + sum(1 for message_id in promised if message_id not in self.rows),
            "uncertain": counted["uncertain"],
            "suppressed or refused": counted["not sent"],
        }

    def _fate(self, row: Row) -> str:
        creates = self.creates.get(row.id, [])
        if len(creates) > 1:
            took = ", ".join(f"{c.sid} {c.at:.3f}" for c in creates)
            self._wrong(f"duplicated: {row.id} {row.text!r} as {took}")
            return "duplicated"
        if creates and creates[0].text != row.text:
            self._wrong(f"other words: {row.id} {row.text!r} became {creates[0].text!r}")
        if creates and row.state in {"sent", "delivered", "failed"}:
            if row.sid != creates[0].sid:
                self._wrong(f"mixed up: {row.id} has {row.sid}, and is {creates[0].sid}")
            return "once"
        kept_back = (row.state, row.why) in {("suppressed", "opted_out"), ("failed", "21610")}
        if kept_back and (row.agent, row.user) in self.stops and not creates:
            return "not sent"
        if row.state == "uncertain":
            self._wrong(f"uncertain for ever: {row.id} {row.text!r}")
            return "uncertain"
        self._wrong(
            f"lost: {row.id} {row.text!r} is {row.state} ({row.why}), created {len(creates)} times"
        )
        return "lost"

    def _order(self) -> dict[str, object]:
        """Of each pair, the carrier got the texts in the order of their rows, and of their 202s."""
        wrong = 0
        last: dict[tuple[str, str], Row] = {}
        for created in self.r.created:
            row = self.rows.get(created.message_id)
            if row is None:
                continue
            before = last.get((row.agent, row.user))
            if before is not None and before.seq > row.seq:
                wrong += 1
                self._wrong(
                    f"out of order: {row.id} {row.text!r} after {before.id} {before.text!r}"
                )
            last[row.agent, row.user] = row
        latest: dict[tuple[str, str], Row] = {}
        for accepted in sorted(self.r.accepted, key=lambda a: a.at):
            row = self.rows.get(accepted.message_id)
            if row is None:
                continue
            before = latest.get((row.agent, row.user))
            if before is not None and before.seq > row.seq:
                wrong += 1
                self._wrong(f"out of order: {row.id} was accepted after {before.id}")
            latest[row.agent, row.user] = row
        return {"out of order": wrong}

    def _heard(self) -> dict[str, object]:
        """Each text of a user's is stored once."""
        stored = Counter(row.sid for row in self.theirs)
        once = missed = 0
        for said in self.r.said:
            times = stored.pop(said.sid, 0)
            once += times == 1
            if times > 1:
                self._wrong(f"stored {times} times: {said.sid} {said.text!r}")
            elif times == 0 and said.acknowledged:
                self._wrong(f"acknowledged, and not stored: {said.sid} {said.text!r}")
            elif times == 0:
                missed += 1
                if self.r.can_sweep:
                    self._wrong(f"never found: {said.sid} {said.text!r}")
        for sid in stored:
            self._wrong(f"stored, and never said: {sid}")
        return {
            "user texts": len(self.r.said),
            "stored once": once,
            "not stored": missed,
            "recovered": sum(1 for row in self.theirs if row.note == "recovered"),
        }

    def _answered(self) -> dict[str, object]:
        """Each text that went to the agent was answered by one reply; unless a send took over."""
        ended = defaultdict[str, list[Turn]](list)
        for turn in self.r.turns:
            if turn.state == "ended" and turn.upto_seq is not None:
                ended[turn.conversation_id].append(turn)
        echoes = Counter(
            line
            for row in self.ours
            if row.kind == "reply"
            for line in row.text.removeprefix("You said: ").splitlines()
        )
        counted = Counter[str]()
        for row in self.theirs:
            if row.kind != "text":
                continue
            outcome = self._outcome(row, ended[row.conversation_id])
            times = echoes.pop(row.text, 0)
            reason = self.r.reasons.get(row.conversation_id)
            has_left = reason == "opted_out" and (row.agent, row.user) in self.stops
            if times > 1:
                self._wrong(f"answered {times} times: {row.id} {row.text!r}")
            elif times == 1:
                counted["once"] += 1
            elif outcome == "failed":
                counted["by the fallback"] += 1
            elif (has_left or reason == "superseded") and outcome in {"dropped", None}:
                counted["overtaken"] += 1
            else:
                self._wrong(f"unanswered: {row.id} {row.text!r}, its turn {outcome}")
                counted["unanswered"] += 1
        return {
            "answered once": counted["once"],
            "answered by the fallback": counted["by the fallback"],
            "overtaken by a send": counted["overtaken"],
            "unanswered": counted["unanswered"],
        }

    @staticmethod
    def _outcome(row: Row, turns: Iterable[Turn]) -> str | None:
        """Of the first turn that heard it."""
        heard = [t for t in turns if t.upto_seq is not None and t.upto_seq >= row.seq]
        return min(heard, key=lambda t: t.upto_seq or 0).outcome if heard else None

    def _idle(self) -> dict[str, object]:
        """One warning per silence, one close; and a text for each that says one."""
        warned = Counter[str]()
        closed = Counter[str]()
        before: dict[str, str] = {}
        for event in self.r.events:
            if not event.kind.startswith("conversation."):
                continue
            if event.kind == before.get(event.conversation_id) == "conversation.warned":
                self._wrong(f"warned twice in one silence: {event.conversation_id}")
            if before.get(event.conversation_id) == "conversation.closed":
                self._wrong(f"{event.kind} after its close: {event.conversation_id}")
            before[event.conversation_id] = event.kind
            warned[event.conversation_id] += event.kind == "conversation.warned"
            closed[event.conversation_id] += event.kind == "conversation.closed"
        said = Counter((row.conversation_id, row.kind) for row in self.ours)
        for conversation_id, reason in self.r.reasons.items():
            if closed[conversation_id] != (reason is not None):
                self._wrong(f"closed {closed[conversation_id]} times: {conversation_id}")
            if said[conversation_id, "warning"] != warned[conversation_id]:
                self._wrong(f"warned, and not told so, or told too often: {conversation_id}")
            if said[conversation_id, "closing"] != (reason == "idle"):
                self._wrong(f"the closing text of {conversation_id} ({reason}) is not there once")
        return {
            "conversations": len(self.r.reasons),
            "warnings": warned.total(),
            "closed for silence": sum(1 for reason in self.r.reasons.values() if reason == "idle"),
        }

    def _recovery(self) -> dict[str, object]:
        """How long accepted texts took, in all; and after the last thing that was in their way."""
        slowest = recovery = 0.0
        ends = sorted(fault.ended for fault in self.r.faults if fault.ended is not None)
        for accepted in self.r.accepted:
            for created in self.creates.get(accepted.message_id, [])[:1]:
                slowest = max(slowest, created.at - accepted.at)
                over = [end for end in ends if accepted.at < end <= created.at]
                recovery = max(recovery, created.at - max([accepted.at, *over]))
        return {
            "slowest, from the 202 to the carrier": f"{slowest:.1f} s",
            "slowest recovery, from the last fault's end": f"{recovery:.1f} s",
        }

    def _errors(self) -> dict[str, object]:
        """No 5xx but 503, and that only while Postgres was away; no other refusal; no traceback."""
        asked_to_stop = [exit_ for exit_ in self.r.exits if exit_.asked == "SIGTERM"]
        unavailable = slow = 0
        for answer in self.r.answers:
            stopping = any(
                e.part == answer.part and e.at - e.seconds <= answer.at <= e.at
                for e in asked_to_stop
            )
            away = self._postgres_was_away(answer)
            late = not away and answer.at - answer.asked >= SLOW
            if answer.status == 503 and answer.by_log:
                unavailable += away
                slow += late
            overtaken = answer.status == 409 and answer.path.startswith(MAY_BE_OVER)
            if not overtaken and (answer.status != 503 or not (away or late)):
                self._wrong(
                    f"{answer.status} from {answer.part}{' (told to stop)' if stopping else ''}"
                    f" at {answer.at:.3f} on {answer.path}"
                )
        for trace in self.r.tracebacks:
            self._wrong(f"traceback: {trace}")
        return {
            "503 while Postgres was away": unavailable,
            "503 for want of time": slow,
            "tracebacks": len(self.r.tracebacks),
        }

    def _postgres_was_away(self, answer: Answer) -> bool:
        return any(
            fault.began <= answer.at
            and (fault.ended is None or answer.asked <= fault.ended + GRACE)
            for fault in self.r.faults
            if fault.part == "postgres"
        )

    def _ends(self) -> dict[str, object]:
        """Who was told to stop did so, in time and cleanly; and nobody else ended."""
        slowest = 0.0
        for exit_ in self.r.exits:
            if exit_.asked == "SIGKILL":
                continue
            if not exit_.asked:
                self._wrong(f"{exit_.part} ended by itself, with code {exit_.code}")
                continue
            slowest = max(slowest, exit_.seconds)
            if exit_.code != 0 or exit_.seconds > self.r.drain + STOP_GRACE:
                self._wrong(
                    f"{exit_.part} was told to stop, and ended with code {exit_.code}"
                    f" after {exit_.seconds:.1f} s"
                )
        return {"slowest stop": f"{slowest:.1f} s"}
