"""For whom an account sends, when it names little."""

import pytest

from tests.support.deployment import ACME, AGENT, DEV, number
from tests.support.world import World
from textback.core.errors import BadRequest, NumberNotProvisioned, UnknownConnector, UnknownResource
from textback.core.ids import AccountId
from textback.db.book import Book
from textback.flows import admit


async def test_with_nothing_named_it_is_the_only_project_live(world: World) -> None:
    found = await admit.sender(Book(world.db), ACME)
    assert (found.project_id, found.connector_id, found.environment) == ("reminders", None, "live")


async def test_where_all_numbers_are_in_one_environment_it_is_that_one(world: World) -> None:
    await world.provision(numbers=[number(DEV, environment="dev")], prune=True)
    assert (await admit.sender(Book(world.db), ACME)).environment == "dev"
    named = await admit.sender(Book(world.db), ACME, project="reminders", environment="live")
    assert named.environment == "live"


async def test_a_number_brings_its_project_and_environment(world: World) -> None:
    assert (await admit.sender(Book(world.db), ACME, agent_number=AGENT)).environment == "live"
    assert (await admit.sender(Book(world.db), ACME, agent_number=DEV)).environment == "dev"
    with pytest.raises(NumberNotProvisioned):
        await admit.sender(Book(world.db), AccountId("globex"), agent_number=AGENT)


async def test_what_the_account_does_not_have_is_told(world: World) -> None:
    with pytest.raises(UnknownConnector):
        await admit.sender(Book(world.db), AccountId("globex"), connector="conn-live")
    with pytest.raises(UnknownResource):
        await admit.sender(Book(world.db), AccountId("globex"), project="reminders")
    with pytest.raises(BadRequest, match="Name the project"):
        await admit.sender(Book(world.db), AccountId("globex"))
