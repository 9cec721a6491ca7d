"""`textback agent replay`: another version on conversations that were held. Nothing is sent."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain

from textback.cli import agent_compare, agent_report, agent_subject
from textback.cli.agent_compare import Made
from textback.cli.agent_recording import Recording, Text, Turn
from textback.cli.agent_report import Replayed
from textback.cli.agent_subject import Subject, Wanted
from textback.cli.words import in_json
from textback.core.engine import (
    Do,
    Earlier,
    Role,
    Said,
    ToolCall,
    ToolResult,
    TurnRequest,
)
from textback.core.frozen import frozen
from textback.core.ids import ConversationId, ProjectId
from textback.settings import Settings
from textback.wiring import clock

NOT_RECORDED = ToolResult(
    "This call is not recorded, so it was not made: this is a replay.", failed=True
)
UNKNOWN_END = ToolResult("Nobody knows how this call ended.", failed=True)


@frozen
class Options:
    as_json: bool = False
    fail_on_change: bool = False
    live_tools: bool = False
    concurrency: int = 4


async def run(
    settings: Settings, wanted: Wanted, recordings: Sequence[Recording], options: Options
) -> int:
    """Give the exit code: 1 for what is expected and is not so, for failures, and as told."""
    subject = await agent_subject.find(settings, wanted)
    if not options.as_json:
        print(f"{subject.agent_id}, {subject.name}: {len(recordings)} conversations")
    totals = agent_report.Totals()
    at_once = asyncio.Semaphore(options.concurrency)

    async def one(number: int, recording: Recording) -> list[Replayed]:
        async with at_once:
            return await _Replay(subject, recording, number, options).run()

    tasks = [asyncio.create_task(one(n, each)) for n, each in enumerate(recordings, 1)]
    try:
        for task in tasks:  # in the order of the recordings
            for turn in await task:
                totals.add(turn)
                _print(turn, as_json=options.as_json)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await subject.engine.close()
    totals.show(is_json=options.as_json)
    changed = options.fail_on_change and totals.verdicts["changed"]
    return 1 if totals.unmet or totals.verdicts["failed"] or changed else 0


def _print(turn: Replayed, *, as_json: bool) -> None:
    if as_json:
        print(in_json(agent_report.as_json(turn)), flush=True)
    elif turn.compared.verdict != "same" or turn.compared.unmet:
        agent_report.show(turn)


class _Replay:
    """One conversation: every turn is asked about what was said before it when it was held.

    What the engine keeps between turns is its own: a flow walks on as this version walks.
    """

    def __init__(
        self, subject: Subject, recording: Recording, number: int, options: Options
    ) -> None:
        self._subject, self._recording, self._options = subject, recording, options
        self._id = recording.id or f"conversation-{number}"
        self._transcript: list[Text] = []
        self._calls: list[ToolCall] = []
        self._state: Mapping[str, object] = {}
        self._begun = clock()

    async def run(self) -> list[Replayed]:
        return [await self._turn(n, turn) for n, turn in enumerate(self._recording.turns, 1)]

    async def _turn(self, number: int, turn: Turn) -> Replayed:
        turn_id = turn.id or f"{self._id}.{number}"
        now = turn.at or self._begun
        self._transcript += turn.texts
        journal = _FromTheRecord(self._recording, turn, live=self._options.live_tools)
        answer = await agent_subject.ask(self._subject, self._request(turn, turn_id, now, journal))
        state = getattr(answer.reply, "state", None)
        self._state = self._state if state is None else state
        said = turn.said if turn.said is not None else [part.text for part in answer.parts]
        at = turn.answered_at
        self._transcript += [Text(role="agent", text=text, at=at) for text in said]
        recorded = [
            Made(name=call.name, arguments=_canonical(call.arguments), how="recorded")
            for call in turn.calls
        ]
        self._remember(turn, turn_id, now, journal)
        return Replayed(
            conversation=self._id,
            number=number,
            turn=turn,
            answer=answer,
            compared=agent_compare.compared(turn, recorded, answer, journal.made),
            calls=journal.made,
        )

    def _request(
        self, turn: Turn, turn_id: str, now: datetime, journal: "_FromTheRecord"
    ) -> TurnRequest:
        recording = self._recording
        heard = [text.text for text in turn.texts if text.role == "user" and text.heard]
        return TurnRequest(
            turn_id=turn_id,
            conversation_id=ConversationId(self._id),
            agent_id=self._subject.agent_id,
            project_id=ProjectId("replay"),
            transcript=self._said_so_far(now),
            heard="\n".join(heard),
            metadata=recording.metadata,
            variables=recording.variables,
            objective=recording.objective,
            start_node=recording.start_node,
            state=self._state,
            calls=tuple(self._calls),
            earlier=[
                Earlier(
                    ended_at=one.ended_at,
                    summary=one.summary,
                    transcript=_said(one.texts, one.ended_at),
                )
                for one in recording.earlier
            ],
            now=now,
            timezone=recording.timezone or self._subject.policy.timezone,
            journal=journal,
        )

    def _said_so_far(self, now: datetime) -> list[Said]:
        texts = self._transcript
        if all(text.at is not None for text in texts):
            # A text that came while the agent thought stands before its answer.
            texts = sorted(texts, key=lambda text: text.at or datetime.min.replace(tzinfo=UTC))
        return _said(texts, now)

    def _remember(self, turn: Turn, turn_id: str, now: datetime, journal: "_FromTheRecord") -> None:
        """What later turns are told of calls: what was recorded; of a new turn, what was made."""
        results = (
            [
                (call.name, call.arguments, _result(call.result, failed=call.failed))
                for call in turn.calls
            ]
            if turn.said is not None
            else journal.results
        )
        for name, arguments, result in results:
            self._calls.append(
                ToolCall(
                    call_id=f"{turn_id}.{len(self._calls) + 1}",
                    turn_id=turn_id,
                    name=name,
                    arguments=arguments,
                    at=now,
                    result=result,
                )
            )


def _said(texts: Sequence[Text], at: datetime) -> list[Said]:
    roles: dict[str, Role] = {"user": "user", "agent": "agent", "person": "person"}
    return [
        Said(seq=n, role=roles[text.role], text=text.text, at=text.at or at)
        for n, text in enumerate(texts, 1)
    ]


class _FromTheRecord:
    """A journal that gives back the results that were recorded, by name and arguments."""

    def __init__(self, recording: Recording, turn: Turn, *, live: bool) -> None:
        self._live = live
        others = chain.from_iterable(t.calls for t in recording.turns if t is not turn)
        self._results: dict[tuple[str, str], list[ToolResult]] = {}
        for call in (*turn.calls, *others):
            key = (call.name, _canonical(call.arguments))
            result = _result(call.result, failed=call.failed) or UNKNOWN_END
            self._results.setdefault(key, []).append(result)
        self.made: list[Made] = []
        self.results: list[tuple[str, Mapping[str, object], ToolResult | None]] = []

    async def call(self, name: str, arguments: Mapping[str, object], do: Do) -> ToolResult:
        key = (name, _canonical(arguments))
        known = self._results.get(key)
        if known:
            # In the order in which they were made; the last one for whatever comes after.
            result, how = (known.pop(0) if len(known) > 1 else known[0]), "recorded"
        elif self._live:
            result, how = await do(f"replay.{len(self.made) + 1}"), "made"
        else:
            result, how = NOT_RECORDED, "refused"
        self.made.append(Made(name=name, arguments=key[1], how=how))
        self.results.append((name, dict(arguments), result))
        return result


def _result(text: str | None, *, failed: bool) -> ToolResult | None:
    return None if text is None else ToolResult(text, failed)


def _canonical(arguments: Mapping[str, object]) -> str:
    return json.dumps(dict(arguments), sort_keys=True, ensure_ascii=False)
