"""Kore.ai's words: no database, no HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest

from textback.api.body import parse
from textback.core.commands import SendText
from textback.core.errors import BadRequest, BadToken, RateLimited
from textback.core.policy import MAX_TEXT
from textback.dialects.kore import wire

GOLDEN = Path(__file__).parent / "golden"
NUMBERS = {"fromNo": "+14155550100", "toNo": "+14155551234"}


def cases(name: str) -> list[Any]:
    found = json.loads((GOLDEN / name).read_text())
    return [pytest.param(case, id=case["case"]) for case in found]


def command(case: dict[str, Any]) -> SendText:
    content_type = case.get("content_type", "application/json")
    return wire.to_command(parse(content_type, case["body"].encode(), at_most=wire.MAX_BODY))


@pytest.mark.parametrize("case", cases("accepted.json"))
def test_a_request_means_what_kore_ai_documents(case: dict[str, Any]) -> None:
    found = command(case)
    assert {name: getattr(found, name) for name in case["command"]} == case["command"]
    assert (found.thread, found.dialect, found.idempotency) == ("new", "kore", None)


@pytest.mark.parametrize("case", cases("refused.json"))
def test_a_wrong_request_is_told_in_one_sentence_what_to_change(case: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        command(case)
    assert wire.refused(refused.value) == (400, {"errors": [{"msg": case["msg"], "code": 400}]})


def test_a_message_has_an_end() -> None:
    assert wire.to_command({**NUMBERS, "message": "x" * MAX_TEXT}).text == "x" * MAX_TEXT
    with pytest.raises(BadRequest, match="too long"):
        wire.to_command({**NUMBERS, "message": "x" * (MAX_TEXT + 1)})


def test_codes_are_statuses_but_for_credentials() -> None:
    unknown = BadToken("Invalid SDK credentials", of_nobody=True)
    assert wire.refused(unknown) == (
        401,
        {"errors": [{"msg": "Invalid SDK credentials", "code": 4002}]},
    )
    replayed = BadToken("error verifying the jwt: possibly a replay")
    assert wire.refused(replayed)[1]["errors"][0]["code"] == 401
    limited = RateLimited(wire.EXCEEDED, retry_after=1)
    assert wire.refused(limited)[0] == 429
