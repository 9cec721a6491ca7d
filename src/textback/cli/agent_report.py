"""What a replay prints: the turns that are different, and a sum."""

import json
from collections import Counter
from collections.abc import Sequence

from textback.cli.agent_compare import Compared, Made
from textback.cli.agent_recording import Turn
from textback.cli.agent_subject import Answer
from textback.cli.agent_words import readable
from textback.core.frozen import frozen


@frozen
class Replayed:
    conversation: str
    number: int
    turn: Turn
    answer: Answer
    compared: Compared
    calls: Sequence[Made]


def show(turn: Replayed) -> None:
    found = turn.compared
    before = "" if found.segments_before is None else f"{found.segments_before} -> "
    size = f"{before}{found.segments} segments"
    print(f"\n{turn.conversation} turn {turn.number}: {found.verdict} ({size})")
    for text in turn.turn.texts:
        if text.role == "user":
            print(f"    user: {readable(text.text)}")
    if found.verdict == "new":
        for text in found.said:
            print(f"    agent: {readable(text)}")
    for difference in found.differences:
        print(f"    {readable(difference)}")
    for unmet in found.unmet:
        print(f"    expected, and not so: {readable(unmet)}")


def as_json(turn: Replayed) -> dict[str, object]:
    found, usage = turn.compared, turn.answer.reply.usage
    return {
        "conversation": turn.conversation,
        "turn": turn.number,
        "verdict": found.verdict,
        "before": None if turn.turn.said is None else list(turn.turn.said),
        "now": list(found.said),
        "failed": turn.answer.failed,
        "ended": turn.answer.ends,
        "handed_off": turn.answer.hands_off,
        "differences": list(found.differences),
        "unmet": list(found.unmet),
        "segments_before": found.segments_before,
        "segments": found.segments,
        "calls": [
            {"name": call.name, "arguments": json.loads(call.arguments), "how": call.how}
            for call in turn.calls
        ],
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": usage.cost_usd,
        "seconds": round(turn.answer.seconds, 3),
    }


class Totals:
    def __init__(self) -> None:
        self.verdicts = Counter[str]()
        self.turns = self.unmet = self.expected = self.refused = 0
        self.before = self.segments = self.input = self.output = 0
        self.cost = 0.0

    def add(self, turn: Replayed) -> None:
        found, usage = turn.compared, turn.answer.reply.usage
        self.turns += 1
        self.verdicts[found.verdict] += 1
        self.unmet += len(found.unmet)
        self.expected += found.expected
        self.refused += sum(call.how == "refused" for call in turn.calls)
        if found.segments_before is not None:
            self.before += found.segments_before
            self.segments += found.segments
        self.input += usage.input_tokens
        self.output += usage.output_tokens
        self.cost += usage.cost_usd

    def show(self, *, is_json: bool) -> None:
        verdicts = {each: self.verdicts[each] for each in ("same", "changed", "failed", "new")}
        if is_json:
            whole = {
                "turns": self.turns,
                **verdicts,
                "expected": self.expected,
                "unmet": self.unmet,
                "calls_not_made": self.refused,
                "segments_before": self.before,
                "segments": self.segments,
                "input_tokens": self.input,
                "output_tokens": self.output,
                "cost_usd": self.cost,
            }
            print(json.dumps(whole))
            return
        counts = ", ".join(f"{count} {name}" for name, count in verdicts.items() if count)
        print(f"\n{self.turns} turns: {counts}; {self.before} -> {self.segments} segments")
        if self.expected:
            print(f"{self.expected} expectations, {self.unmet} not met")
        if self.refused:
            print(f"{self.refused} calls of tools were not recorded and not made (--live-tools)")
        if self.input or self.output:
            cost = f", ${self.cost:.4f}" if self.cost else ""
            print(f"{self.input} + {self.output} tokens{cost}")
