"""`textback uncertain`: what an operator sees and settles."""

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.world import World
from textback.cli.main import app
from textback.core.ids import MessageId
from textback.db.session import create_engine


@pytest.fixture
def doubtful(database_url: str, monkeypatch: pytest.MonkeyPatch) -> MessageId:
    """One text of which nobody knows whether it went out."""
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)

    async def arrange() -> MessageId:
        db = create_engine(database_url)
        world = World(db)
        await world.provision()
        accepted = await world.accept("Is 3pm good?")
        await world.send(carrier=CarrierDouble(NO_ANSWER))
        await world.close()
        await db.dispose()
        return accepted.message_id

    return asyncio.run(arrange())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["uncertain", *arguments])


def test_an_uncertain_text_is_listed_with_what_to_do(doubtful: MessageId):
    result = run()

    assert result.exit_code == 0
    assert doubtful in result.stdout
    assert "Is 3pm good?" in result.stdout
    assert "textback uncertain ID --sent" in result.stdout


def test_the_list_can_be_read_by_a_program(doubtful: MessageId):
    (listed,) = json.loads(run("--json").stdout)

    assert listed["id"] == doubtful
    assert listed["look_ups"] == 0
    assert listed["look_up_at"] is not None


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (["--sent"], "recorded as sent"),
        (["--sent", "--sid", "SM0123456789abcdef0123456789abcdef"], "recorded as sent"),
        # It was accepted long ago, by this computer's clock.
        (["--not-sent"], "its validity is over"),
    ],
)
def test_an_operators_word_settles_it(doubtful: MessageId, verdict: list[str], answer: str):
    result = run(doubtful, *verdict)

    assert result.exit_code == 0
    assert answer in result.stdout
    assert run().stdout == "No uncertain texts.\n"
    again = run(doubtful, *verdict)
    assert again.exit_code == 1
    assert "there is nothing to settle" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["msg_1"], "Say what became of it"),
        (["--sent"], "Name the text"),
        (["--sid", "SM1"], "Name the text"),
        (["msg_1", "--not-sent", "--sid", "SM1"], "leave out --sid"),
        (["msg_1", "--sent", "--sid", "SM 1"], "cannot be a carrier's message id"),
        (["msg_1", "--sent"], "is not one of our texts"),
    ],
)
def test_a_mistake_is_one_clear_sentence_and_changes_nothing(
    doubtful: MessageId, arguments: list[str], sentence: str
):
    result = run(*arguments)

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert doubtful in run().stdout
