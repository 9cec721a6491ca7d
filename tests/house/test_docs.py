"""`docs/states.md` draws what the code does: the same states, the same moves, the same names."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import get_args, get_type_hints

import pytest
from sqlalchemy import CheckConstraint

from tests import make
from tests.make import NOW
from textback.core import conversation, message
from textback.core.conversation import Closed, CloseReason, HandedOff, Live, Wait
from textback.core.message import Message
from textback.core.policy import IdlePolicy
from textback.core.ports import ReceiptStatus
from textback.core.turn import Outcome
from textback.db.tables import turns

DOCS = Path(__file__).parents[2] / "docs"
TEXT, CONVERSATION, TURN = (DOCS / "states.md").read_text().split("\n## ")[1:]

Arrow = tuple[str, str]
Moves = dict[Arrow, set[str]]
ARROW = re.compile(r"^ +([\w*\[\]]+) --> ([\w*\[\]]+)(?:: (.+))?$", re.MULTILINE)


def drawn(section: str) -> Moves:
    """The arrows of a chart between two states, with the words on them."""
    found: Moves = defaultdict(set)
    for before, after, words in ARROW.findall(section):
        if "[*]" not in {before, after}:
            found[before, after] |= set(words.split(", "))
    return found


def drawn_states(section: str) -> set[str]:
    return {state for before, after, _ in ARROW.findall(section) for state in (before, after)}


def moves_of(module: ModuleType) -> set[str]:
    return {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def names(*states: type) -> set[str]:
    return {state.__name__ for state in states}


def hinted(names_of_moves: Iterable[str]) -> Moves:
    """What the signatures say: from each state that is taken to each that is given."""
    found: Moves = defaultdict(set)
    for name in names_of_moves:
        hints = get_type_hints(getattr(message, name))
        for before in get_args(hints["m"]) or (hints["m"],):
            for after in get_args(hints["return"]) or (hints["return"],):
                found[before.__name__, after.__name__].add(name)
    return found


def heard() -> Moves:
    """What receipts do to each state."""
    found: Moves = {}
    for m in make.messages():
        for status in get_args(ReceiptStatus):
            after = message.hear(m, make.receipt(status), now=NOW)
            if after != m:
                found[type(m).__name__, type(after).__name__] = {"hear"}
    return found


def talked() -> Moves:
    """What people and time do to each state of a conversation."""
    found: Moves = defaultdict(set)
    for c in make.lives():
        state = type(c).__name__
        moved = conversation.tick(c, now=NOW + timedelta(days=9), policy=IdlePolicy())
        assert isinstance(moved, Wait) == isinstance(c, HandedOff)
        if not isinstance(moved, Wait):
            found[state, type(moved.after).__name__].add("tick")
        found[state, type(conversation.close(c, "operator", now=NOW)).__name__].add("close")
        for move in (conversation.user_texted, conversation.agent_texted):
            found[state, type(move(c, now=NOW)).__name__].add(move.__name__)
    for name in ("paused", "handed_off", "resumed"):
        hints = get_type_hints(getattr(conversation, name))
        for before in get_args(hints["c"]) or (hints["c"],):
            found[before.__name__, hints["return"].__name__].add(name)
    return found


def together(one: Moves, other: Moves) -> Moves:
    return {arrow: one.get(arrow, set()) | other.get(arrow, set()) for arrow in {*one, *other}}


def test_the_chart_of_a_text_has_every_state_and_no_other() -> None:
    assert drawn_states(TEXT) == names(*get_args(Message)) | {"[*]"}


def test_the_chart_of_a_text_draws_every_move_and_no_other() -> None:
    assert drawn(TEXT) == together(hinted(moves_of(message) - {"write", "hear"}), heard())


def test_the_chart_of_a_conversation_has_every_state_and_no_other() -> None:
    assert drawn_states(CONVERSATION) == names(*get_args(Live), Closed) | {"[*]"}


def test_the_chart_of_a_conversation_draws_every_move_and_no_other() -> None:
    assert drawn(CONVERSATION) == talked()


def test_the_chart_of_a_turn_has_every_state_and_no_other() -> None:
    checks = [str(c.sqltext) for c in turns.constraints if isinstance(c, CheckConstraint)]
    assert drawn_states(TURN) == set(re.findall(r"'(\w+)'", "".join(checks))) | {"[*]"}


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_every_outcome_of_a_turn_is_explained(outcome: str) -> None:
    assert f"\n| {outcome} |" in TURN


@pytest.mark.parametrize("move", sorted(moves_of(message)))
def test_who_moves_a_text_is_said(move: str) -> None:
    assert f"\n| `{move}` | `flows/" in TEXT


@pytest.mark.parametrize("move", sorted(moves_of(conversation)))
def test_every_move_of_a_conversation_is_mentioned(move: str) -> None:
    assert f"`{move}`" in CONVERSATION


@pytest.mark.parametrize("reason", get_args(CloseReason))
def test_every_reason_to_close_is_mentioned(reason: str) -> None:
    assert f"`{reason}`" in CONVERSATION


def test_every_file_that_is_named_exists() -> None:
    src = DOCS.parent / "src" / "textback"
    named = set(re.findall(r"`((?:core|db|flows)/\w+\.py)`", TEXT + CONVERSATION + TURN))
    assert {name for name in named if not (src / name).exists()} == set()


def test_every_word_of_the_glossary_is_explained_once() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    words = [word for row in rows if row not in {"word", "---"} for word in row.split(", ")]
    assert len(words) > 40
    assert len(words) == len(set(words))
