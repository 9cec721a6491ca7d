"""The states in the database are the types of `core`, no more and no fewer."""

import re
from typing import get_args

import pytest
from sqlalchemy import CheckConstraint, Table

from textback.core.conversation import NAMES, Closed, Live
from textback.core.message import Message
from textback.db.tables import conversations, messages, turns

INBOUND = "received"


def names(*states: type) -> set[str]:
    return {state.__name__.lower() for state in states}


def rules(table: Table) -> list[str]:
    return [str(c.sqltext) for c in table.constraints if isinstance(c, CheckConstraint)]


def states(table: Table) -> set[str]:
    """What the table's CHECK lets its state be."""
    lists = [match[1] for rule in rules(table) if (match := re.fullmatch(r"state in (.*)", rule))]
    assert len(lists) == 1
    return set(re.findall(r"'(\w+)'", lists[0]))


def test_a_text_of_ours_can_be_in_every_state_of_the_types_and_no_other() -> None:
    assert states(messages) == names(*get_args(Message)) | {INBOUND}


def test_a_conversation_can_be_in_every_state_of_the_types_and_no_other() -> None:
    assert set(NAMES) == {*get_args(Live), Closed}
    assert states(conversations) == set(NAMES.values())


@pytest.mark.parametrize("table", [conversations, messages, turns], ids=lambda table: table.name)
def test_no_rule_of_a_table_speaks_of_a_state_it_cannot_have(table: Table) -> None:
    about = [rule for rule in rules(table) if re.search(r"\bstate\b", rule)]
    spoken = {
        name
        for rule in about
        for found in re.findall(r"state (?:=|<>|in) (\([^)]*\)|'\w+')", rule)
        for name in re.findall(r"'(\w+)'", found)
    }
    assert spoken <= states(table)
    assert len(about) > 3
