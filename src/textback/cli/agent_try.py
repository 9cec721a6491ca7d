"""`textback agent try`: a conversation with an agent in the terminal. Nothing is sent or stored."""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime

from textback.cli import agent_subject
from textback.cli.agent_subject import Answer, Subject, Wanted
from textback.cli.agent_words import cost, readable, size, sized
from textback.cli.context import fail
from textback.cli.words import in_json
from textback.core.engine import (
    Do,
    Role,
    Said,
    ToolCall,
    ToolResult,
    TurnRequest,
    Usage,
)
from textback.core.frozen import frozen
from textback.core.ids import ConversationId, ProjectId, new_conversation_id, new_turn_id
from textback.settings import Settings
from textback.wiring import clock

NO_TOOLS = ToolResult("Tools are switched off while this agent is tried.", failed=True)

_MORE = "\\"


@frozen
class Options:
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    objective: str | None = None
    opener: str | None = None
    """The caller's words, in place of the agent's."""
    start_node: str | None = None
    no_tools: bool = False
    as_json: bool = False


def variables(given: Sequence[str]) -> dict[str, object]:
    """`name=text`, or `name:=` and JSON."""
    found: dict[str, object] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.strip(":"):
            raise fail(f"--var is name=value, or name:=JSON, and not {each!r}.")
        if not name.endswith(":"):
            found[name] = value
            continue
        try:
            found[name.removesuffix(":")] = json.loads(value)
        except ValueError:
            raise fail(f"--var {name}= is not followed by JSON.") from None
    return found


async def run(settings: Settings, wanted: Wanted, options: Options) -> None:
    subject = await agent_subject.find(settings, wanted)
    try:
        if options.start_node is not None and options.start_node not in subject.nodes:
            raise fail(f'The agent has no node "{options.start_node}" to start from.')
        await _Trial(subject, options).run()
    finally:
        await subject.engine.close()


class _Trial:
    def __init__(self, subject: Subject, options: Options) -> None:
        self.subject, self.options = subject, options
        now = clock()
        self.conversation_id = ConversationId(new_conversation_id(now))
        self.transcript: list[Said] = []
        self.calls: list[ToolCall] = []
        self.state: Mapping[str, object] = {}
        self.spent = Usage()
        self.turns = 0

    async def run(self) -> None:
        is_asking = sys.stdin.isatty() and not self.options.as_json
        if is_asking:
            print(
                f"You are talking to {self.subject.agent_id}, {self.subject.name}. Nothing is sent."
                f" A line is a text and a turn; end it with {_MORE} to add a text to the turn."
                " /quit or Ctrl-D leaves."
            )
        goes_on = await self._open()
        texts: list[str] = []
        lines = _lines()
        while goes_on:
            if is_asking:
                print("you> ", end="", flush=True)
            line = await anext(lines, None)
            if line is None and is_asking:
                print()  # after the prompt that nobody answered
            if line is None or line.strip() == "/quit":
                break
            if not is_asking and line.strip() and not self.options.as_json:
                print(f"you> {readable(line)}")
            texts += [line.removesuffix(_MORE).strip()] if line.removesuffix(_MORE).strip() else []
            if texts and not line.endswith(_MORE):
                goes_on = await self._turn(texts)
                texts = []
        self._sum()

    async def _open(self) -> bool:
        words = self.options.opener or self.subject.greeting
        if words is None:
            return await self._turn([]) if self.subject.can_open else True
        self._say("agent", words)
        self._show_texts([(words, 0)])
        return True

    async def _turn(self, heard: Sequence[str]) -> bool:
        """Whether the conversation goes on after it."""
        now = clock()
        for text in heard:
            self._say("user", text)
        self.turns += 1
        turn_id = new_turn_id(now)
        answer = await agent_subject.ask(
            self.subject,
            TurnRequest(
                turn_id=turn_id,
                conversation_id=self.conversation_id,
                agent_id=self.subject.agent_id,
                project_id=ProjectId("try"),
                transcript=tuple(self.transcript),
                heard="\n".join(heard),
                metadata={},
                variables=self.options.variables,
                objective=self.options.objective,
                start_node=self.options.start_node,
                state=self.state,
                calls=tuple(self.calls),
                now=now,
                timezone=self.subject.policy.timezone,
                journal=_Shown(self, turn_id, now),
            ),
        )
        state = getattr(answer.reply, "state", None)
        self.state = self.state if state is None else state
        usage = answer.reply.usage
        self.spent = Usage(
            input_tokens=self.spent.input_tokens + usage.input_tokens,
            output_tokens=self.spent.output_tokens + usage.output_tokens,
            cost_usd=self.spent.cost_usd + usage.cost_usd,
        )
        for part in answer.parts:
            self._say("agent", part.text)
        self._show(answer)
        return not answer.ends and answer.hands_off is None

    def _say(self, role: Role, text: str) -> None:
        said = Said(seq=len(self.transcript) + 1, role=role, text=text, at=clock())
        self.transcript.append(said)

    # --- What is printed --------------------------------------------------------------------------

    def _show(self, answer: Answer) -> None:
        usage = answer.reply.usage
        if self.options.as_json:
            self._print_json(
                kind="answer",
                texts=[sized(part.text, part.saved) for part in answer.parts],
                failed=answer.failed,
                ended=answer.ends,
                handed_off=answer.hands_off,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_usd=usage.cost_usd,
                seconds=round(answer.seconds, 3),
            )
            return
        if answer.failed is not None:
            print(f"       failed: {readable(answer.failed)}")
            print("       what the user would get:" if answer.parts else "       nothing is said")
        elif not answer.parts:
            print("       (the agent stays silent)")
        more = [cost(usage), f"{answer.seconds:.1f} s"]
        self._show_texts([(part.text, part.saved) for part in answer.parts], more)
        if answer.hands_off is not None:
            print(f"       (a person is to take over: {readable(answer.hands_off)})")
        if answer.ends:
            print("       (the agent ended the conversation)")

    def _show_texts(self, texts: Sequence[tuple[str, int]], more: Sequence[str] = ()) -> None:
        if self.options.as_json and not more:
            self._print_json(kind="opener", texts=[sized(*text) for text in texts])
            return
        for text, _ in texts:
            print("agent> " + readable(text).replace("\n", "\n       "))
        said = [size(texts), *more] if texts else list(more)
        print("       " + " · ".join(part for part in said if part), flush=True)

    def show_call(self, name: str, arguments: Mapping[str, object], result: ToolResult) -> None:
        if self.options.as_json:
            self._print_json(
                kind="tool",
                name=name,
                arguments=dict(arguments),
                result=result.text,
                failed=result.failed,
            )
            return
        how = "failed: " if result.failed else ""
        print(f"       -> {how}{readable(result.text)}", flush=True)

    def _sum(self) -> None:
        if self.options.as_json:
            self._print_json(
                kind="end",
                turns=self.turns,
                input_tokens=self.spent.input_tokens,
                output_tokens=self.spent.output_tokens,
                cost_usd=self.spent.cost_usd,
            )
        elif used := cost(self.spent):
            print(f"{self.turns} turns · {used}")

    def _print_json(self, **fields: object) -> None:
        print(in_json(fields), flush=True)


class _Shown:
    """A journal that shows each call as it is made."""

    def __init__(self, trial: _Trial, turn_id: str, now: datetime) -> None:
        self._trial, self._turn_id, self._now = trial, turn_id, now

    async def call(self, name: str, arguments: Mapping[str, object], do: Do) -> ToolResult:
        trial = self._trial
        call_id = f"{self._turn_id}.{len(trial.calls) + 1}"
        if not trial.options.as_json:
            print(f"       {name} {in_json(dict(arguments))}", flush=True)
        result = NO_TOOLS if trial.options.no_tools else await do(call_id)
        trial.calls.append(
            ToolCall(
                call_id=call_id,
                turn_id=self._turn_id,
                name=name,
                arguments=dict(arguments),
                at=self._now,
                result=result,
            )
        )
        trial.show_call(name, arguments, result)
        return result


async def _lines() -> AsyncIterator[str]:
    """Lines typed, until the end of input. A daemon thread reads: leaving must not wait for it."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def hand_on(line: str | None) -> None:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, line)
        except RuntimeError:  # the conversation is over
            return

    def read() -> None:
        try:
            for line in sys.stdin:
                hand_on(line.rstrip("\r\n"))
        except (UnicodeDecodeError, ValueError):
            hand_on(None)
        hand_on(None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line
