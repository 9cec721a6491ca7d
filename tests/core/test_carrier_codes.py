"""Every code is explained: in a sentence, with what to do, and where the carrier says more."""

import re

import pytest

from textback.carriers.twilio import errors
from textback.core import carrier_codes


@pytest.mark.parametrize(
    "code",
    [
        *("10001", "14107", "20003", "20429", "21211", "21408", "21606", "21608", "21610"),
        *("21611", "21614", "21617", "30003", "30005", "30006", "30007", "30008", "30034"),
        *("30036", "30410", "63038", errors.OPTED_OUT),
    ],
)
def test_what_twilio_says_often_is_known_in_plain_words(code: str) -> None:
    found = carrier_codes.meaning(code)
    assert code not in found.sentence
    assert found.page == f"https://www.twilio.com/docs/api/errors/{code}"


@pytest.mark.parametrize("code", ["99999", "30003", "http-502", "unknown", "agent_failed", "odd"])
def test_every_meaning_is_a_sentence_and_so_is_every_advice(code: str) -> None:
    found = carrier_codes.meaning(code)
    for said in (found.sentence, found.advice):
        assert re.fullmatch(r"[A-Z][^\n]+\.", said)
    assert (found.page is not None) is code.isdigit()


def test_an_unknown_code_leads_to_the_carriers_page() -> None:
    found = carrier_codes.meaning("99999")
    assert "99999" in found.sentence
    assert found.page == "https://www.twilio.com/docs/api/errors/99999"
