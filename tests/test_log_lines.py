"""One line: what others said is in it without numbers and keys, and moves no cursor."""

import logging
from collections.abc import Generator
from io import StringIO
from time import perf_counter

import pytest
import structlog

from tests.support.api import captured_logs, log_to
from tests.support.log_lines import line_of
from textback.log_lines import hide_in_path, hide_in_words

LOG = structlog.stdlib.get_logger()
MESSAGE = "msg_01m8415555019955501994qx7z"
PLANTED = "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202e\u2066\rhello"


@pytest.fixture
def logged() -> Generator[StringIO]:
    with captured_logs() as found:
        yield found


@pytest.fixture
def terminal(logged: StringIO) -> StringIO:
    """A log for people to read."""
    log_to(logged, pretty=True)
    return logged


# --- What others said --------------------------------------------------------------------------


@pytest.mark.parametrize("pretty", [True, False], ids=["pretty", "json"])
def test_a_number_that_the_carriers_own_words_hold_is_masked_without_a_plus_too(
    logged: StringIO, *, pretty: bool
) -> None:
    log_to(logged, pretty=pretty)
    LOG.info("send.refused", why="The 'To' number +14155550199 (4155550199) is not valid")
    assert "+1415***0199 (4155***99)" in logged.getvalue()
    assert "4155550199" not in logged.getvalue()


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("to%2B14155550199", "to%2B1415***0199"),
        ("tel:14155550199;ext=1", "tel:1415***0199;ext=1"),
        ("no such key tb_Qm9va2luZ3MtYW5kLXJl", "no such key [hidden]"),
        ("no such key nxfs_Qm9va2luZ3MtYW5kLXJl", "no such key [hidden]"),
        ("no such key whsec_Qm9va2luZ3MtYW5k/XJl", "no such key [hidden]"),
        ("error 21211, 999999 of them", "error 21211, 999999 of them"),
    ],
)
def test_numbers_and_keys_are_hidden_in_words_of_others(
    logged: StringIO, why: str, told: str
) -> None:
    LOG.info("send.refused", why=why)
    assert line_of(logged.getvalue(), "send.refused")["why"] == told


@pytest.mark.parametrize(
    "why",
    [
        f"{MESSAGE} is gone",
        "at 2026-11-21T09:00:00.123456Z",
        "0198c0de-1234-7000-8000-123456789012 is gone",
        "SM12345678901234567890123456789012 is gone",
        None,
    ],
)
def test_ids_and_times_in_words_of_others_stay_as_they_are(
    logged: StringIO, why: str | None
) -> None:
    LOG.info("send.refused", why=why, message_id=MESSAGE)
    line = line_of(logged.getvalue(), "send.refused")
    assert (line["why"], line["message_id"]) == (why, MESSAGE)


def test_a_level_above_warning_quiets_libraries_too(logged: StringIO) -> None:
    log_to(logged, "error")
    logging.getLogger("httpx").warning("a warning")
    logging.getLogger("uvicorn.error").error("an error")
    assert "a warning" not in logged.getvalue()
    assert "an error" in logged.getvalue()


@pytest.mark.parametrize("piece", ["a", "ab1-", "tb_", "1234567/", "/conv_", "aB"])
def test_what_a_stranger_asks_for_is_looked_through_in_no_time(piece: str) -> None:
    path = "/" + piece * (60_000 // len(piece))
    began = perf_counter()
    hide_in_path(path)
    hide_in_words(path)
    assert perf_counter() - began < 1


# --- A terminal --------------------------------------------------------------------------------


class Raw:
    """Shows itself as it is."""

    def __repr__(self) -> str:
        return PLANTED


def is_harmless(said: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in said)


@pytest.mark.parametrize(
    "value",
    [PLANTED, f"/{PLANTED} with blanks", "a\nb", [PLANTED], {"deep": Raw()}, Raw()],
    ids=["text", "blanks", "newline", "list", "deep", "object"],
)
def test_what_a_value_holds_moves_no_cursor(terminal: StringIO, value: object) -> None:
    LOG.info("something.happened", path=value)
    assert is_harmless(terminal.getvalue())
    assert terminal.getvalue().count("\n") == 1
    assert "something.happened" in terminal.getvalue()


def test_what_a_library_says_moves_no_cursor_and_is_one_line(terminal: StringIO) -> None:
    logging.getLogger("a.library").error("said %s\n[info] it.never_happened", PLANTED)
    assert is_harmless(terminal.getvalue())
    assert terminal.getvalue().count("\n") == 1
    assert "hello" in terminal.getvalue()


def test_a_traceback_keeps_its_lines_and_what_it_quotes_moves_no_cursor(
    terminal: StringIO,
) -> None:
    def fail() -> None:
        raise ZeroDivisionError(PLANTED)

    try:
        fail()
    except ZeroDivisionError:
        LOG.exception("it.failed")
    assert is_harmless(terminal.getvalue())
    assert "\nTraceback (most recent call last):\n  File " in terminal.getvalue()
    assert "hello" in terminal.getvalue()


def test_plain_values_look_as_they_did(terminal: StringIO) -> None:
    LOG.info("something.happened", status=202, ms=1.5, path="/v1/ü", why="two words", none=None)
    assert "status=202" in terminal.getvalue()
    assert "path=/v1/ü" in terminal.getvalue()
    assert "why='two words'" in terminal.getvalue()
    assert "none=None" in terminal.getvalue()
