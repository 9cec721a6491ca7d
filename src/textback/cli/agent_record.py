"""`textback agent record`: conversations that were held, as JSON lines without phone numbers."""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from textback.cli.agent_recording import Call, Earlier, Recording, Text, Turn
from textback.cli.context import fail
from textback.cli.words import in_json
from textback.core.ids import AgentId
from textback.db import agents, recorded
from textback.db.recorded import AnyRow, Held
from textback.db.session import create_engine, transaction
from textback.settings import Settings


async def run(
    settings: Settings, agent_id: AgentId, *, out: Path | None, limit: int, since: datetime | None
) -> None:
    db = create_engine(settings.need("database_url")["database_url"], pool_size=2)
    try:
        async with transaction(db) as c:
            if await agents.get(c, agent_id) is None:
                raise fail(f'There is no agent "{agent_id}"; textback agent list has them.')
            ids = await recorded.ids(c, agent_id, limit=limit, since=since)
        with _opened(out) as file:
            for each in ids:
                async with transaction(db) as c:
                    held = await recorded.held(c, each)
                print(line(held), file=file)
    finally:
        await db.dispose()


@contextmanager
def _opened(out: Path | None) -> Generator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("w", encoding="utf-8")
    except OSError as error:
        raise fail(f"{out} cannot be written: {error.strerror}") from None
    with file:
        yield file


def line(held: Held) -> str:
    """One conversation. Wherever its two numbers stand in it, they are left out."""
    talk = held.talk
    whole = Recording(
        id=talk.id,
        agent=talk.agent_id,
        agent_version=talk.agent_version,
        objective=talk.objective,
        variables=talk.variables,
        metadata=talk.extra,
        start_node=talk.start_node,
        timezone=held.timezone,
        earlier=tuple(
            Earlier(
                ended_at=one.ended_at,
                summary=one.summary,
                texts=tuple(Text(role=s.role, text=s.text, at=s.at) for s in one.transcript),
            )
            for one in held.earlier
        ),
        turns=tuple(_turns(held)),
    )
    said = in_json(whole.model_dump(mode="json", exclude_defaults=True))
    for number, instead in ((talk.user_number, "user"), (talk.agent_number, "agent")):
        said = said.replace(number, f"[number of the {instead}]")
    return said


def _turns(held: Held) -> Iterator[Turn]:
    answers = {turn.id: _answer(turn, held) for turn in held.turns}
    theirs = {text.id for texts in answers.values() for text in texts}
    told: set[str] = set()
    heard_seq = 0
    for turn in held.turns:
        upto = turn.upto_seq or 0
        before = [
            text
            for text in held.texts
            if text.id not in told | theirs and _was_there(text, turn, upto)
        ]
        told |= {text.id for text in before}
        handed_off = [row.data.get("reason") for row in held.handed_off if row.at == turn.ended_at]
        asked_at = max((text.created_at for text in before), default=turn.ended_at)
        yield Turn(
            id=turn.id,
            at=asked_at,
            texts=tuple(_text(text, heard_seq) for text in before),
            said=tuple(text.text for text in answers[turn.id]),
            answered_at=turn.ended_at,
            calls=tuple(
                Call(
                    name=call.name,
                    arguments=call.arguments,
                    result=call.result,
                    failed=bool(call.failed),
                )
                for call in held.calls
                if call.turn_id == turn.id
            ),
            failed=turn.outcome == "failed",
            ended=held.talk.reason == "agent_ended" and held.talk.closed_at == turn.ended_at,
            handed_off=str(handed_off[0] or "") if handed_off else None,
        )
        heard_seq = max(heard_seq, upto)


def _answer(turn: AnyRow, held: Held) -> list[AnyRow]:
    """What it wrote is stored at the moment at which it ended; but for a promised opener."""
    return [
        text
        for text in held.texts
        if text.id == turn.opener_id
        or (text.kind in {"opener", "reply"} and text.created_at == turn.ended_at)
    ]


def _was_there(text: AnyRow, turn: AnyRow, upto: int) -> bool:
    if text.direction == "inbound":
        return text.seq <= upto
    return text.created_at < turn.ended_at


def _text(text: AnyRow, heard_seq: int) -> Text:
    if text.direction == "inbound":
        heard = text.kind == "text" and text.seq > heard_seq
        return Text(text=text.text, at=text.created_at, heard=heard)
    role = "person" if text.kind == "person" else "agent"
    return Text(role=role, text=text.text, at=text.created_at)
