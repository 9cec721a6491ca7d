"""Who carries a conversation on, and what he is told of it, is for the caller to say."""

from typing import Any

import pytest

from tests.support.deployment import (
    AGENT,
    DEV,
    HTTP,
    NEIGHBOUR,
    NOW,
    SCRIPTED,
    USER,
    caller,
    key,
    number,
    second,
)
from tests.support.doubles import EngineDouble
from tests.support.provision import provision
from tests.support.world import World
from textback.core.commands import Accepted, AgentChoice, Idempotency, SendText
from textback.core.errors import NothingToSay, UnknownAgent
from textback.core.ids import AgentId
from textback.core.policy import Environment
from textback.flows import accept

DRAFT: dict[str, Any] = {"greeting": "The draft says hello.", "engine": HTTP}
NODES = [{"id": n, "say": f"This is {n}.", "entry": True} for n in ("start", "book")]
FLOW = {"kind": "flow", "nodes": [node | {"then": "start"} for node in NODES]}

OTHERS = """\
accounts:
- id: acme
  agents:
  - {id: sales, greeting: Buy something!, engine: {kind: scripted, default: "Sales: {text}"}}
- id: globex
  agents:
  - {id: theirs, greeting: Hi!, engine: {kind: scripted}}
"""


async def send(
    world: World,
    agent: AgentChoice | None = None,
    *,
    words: str | None = None,
    environment: Environment = "live",
    idempotency: Idempotency | None = None,
    **more: Any,
) -> Accepted:
    command = SendText(
        user_number=USER,
        text=words,
        agent_number=AGENT,
        agent=agent or AgentChoice(),
        idempotency=idempotency,
        **more,
    )
    return await accept.send_text(world.db, caller(environment), command, now=NOW)


async def whom(world: World) -> tuple[str, int]:
    """Who answers what was heard, and which version of him."""
    (thinking,) = await world.claim_turns(now=second(60))
    return thinking.agent_id, thinking.agent_version


async def test_an_agent_of_the_account_other_than_the_projects_can_be_named(world: World):
    await provision(world.db, OTHERS)

    await send(world, AgentChoice(agent_id=AgentId("sales")))

    assert [text.text for text in await world.texts()] == ["Buy something!"]
    await world.hear("Hello", now=second(1))
    assert await whom(world) == ("sales", 1)


@pytest.mark.parametrize(
    ("version", "greeting", "number"),
    [
        (None, "Hello, how can I help?", 1),
        ("production", "Hello, how can I help?", 1),
        ("draft", "The draft says hello.", 2),
        (1, "Hello, how can I help?", 1),
        (2, "The draft says hello.", 2),
    ],
)
async def test_a_version_can_be_named_by_its_label_or_its_number(
    world: World, version: Any, greeting: str, number: int
):
    await world.provision(agent={"draft": DRAFT})

    await send(world, AgentChoice(version=version))

    assert [text.text for text in await world.texts()] == [greeting]
    await world.hear("Hello", now=second(1))
    assert await whom(world) == ("bookings", number)


async def test_an_old_version_can_be_named_although_no_label_is_on_it(world: World):
    await world.provision(agent={"engine": SCRIPTED | {"default": "Newer: {text}"}})

    await send(world, AgentChoice(version=1))

    await world.hear("Hello", now=second(1))
    assert await whom(world) == ("bookings", 1)


async def test_an_agent_without_a_draft_has_production_for_one(world: World):
    await send(world, AgentChoice(version="draft"))

    await world.hear("Hello", now=second(1))
    assert await whom(world) == ("bookings", 1)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (
            AgentChoice(agent_id=AgentId("nobody")),
            'This account has no agent "nobody" with a version production.',
        ),
        (
            AgentChoice(agent_id=AgentId("theirs")),
            'This account has no agent "theirs" with a version production.',
        ),
        (
            AgentChoice(agent_id=AgentId("no\x00body")),
            'This account has no agent "no\x00body" with a version production.',
        ),
        (AgentChoice(version=7), 'This account has no agent "bookings" with a version 7.'),
        (AgentChoice(version=0), 'This account has no agent "bookings" with a version 0.'),
        (
            AgentChoice(version=2**31),
            'This account has no agent "bookings" with a version 2147483648.',
        ),
        (
            AgentChoice(start_node="book"),
            'Agent "bookings" has no node "book" to start from.',
        ),
    ],
)
async def test_an_agent_a_version_or_a_node_that_is_not_there_is_refused_and_nothing_is_kept(
    world: World, choice: AgentChoice, sentence: str
):
    await provision(world.db, OTHERS)

    with pytest.raises(UnknownAgent) as refused:
        await send(world, choice, words="Hello", idempotency=key("one"))

    assert refused.value.sentence == sentence
    assert (await world.talks(), await world.texts(), await world.turns()) == ([], [], [])
    await send(world, words="Hello", idempotency=key("one"))  # the key was not used up
    assert len(await world.talks()) == 1


async def test_an_agent_that_was_removed_is_not_to_be_had(world: World):
    await provision(world.db, OTHERS)
    await world.provision(prune=True)

    with pytest.raises(UnknownAgent):
        await send(world, AgentChoice(agent_id=AgentId("sales")))


async def test_whether_there_is_something_to_open_with_is_the_chosen_versions_matter(
    world: World,
):
    await world.provision(agent={"greeting": None, "draft": {"engine": HTTP}})

    with pytest.raises(NothingToSay):
        await send(world)
    accepted = await send(world, AgentChoice(version="draft"))

    (waiting,) = await world.waiting()
    assert waiting.opener_id == accepted.message_id


async def test_a_flow_is_told_where_to_start(world: World):
    await world.provision(agent={"greeting": None, "engine": FLOW})
    engine = EngineDouble("This is book.")

    await send(world, AgentChoice(start_node="book"))
    await world.think(now=second(1), engine=engine)

    assert engine.asked[0].start_node == "book"


async def test_what_the_caller_knows_and_wants_reaches_the_engine(world: World):
    engine = EngineDouble("Good morning, Ada.")
    variables = {"name": "Ada", "slots": ["9:00", None, {"x": 1.5}]}

    await send(
        world,
        words="Hello.",
        objective="Move the appointment.",
        variables=variables,
        metadata={"crm": 7},
    )
    await world.hear("Hi", now=second(1))
    await world.think(now=second(2), engine=engine)

    (asked,) = engine.asked
    assert asked.variables == variables
    assert (asked.objective, asked.metadata) == ("Move the appointment.", {"crm": 7})


async def test_a_request_that_comes_again_is_answered_as_before_whatever_became_of_the_agent(
    world: World,
):
    await provision(world.db, OTHERS)
    choice = AgentChoice(agent_id=AgentId("sales"))
    first = await send(world, choice, idempotency=key("one"))
    await world.provision(prune=True)

    again = await send(world, choice, idempotency=key("one"))

    assert (again.conversation_id, again.replayed) == (first.conversation_id, True)
    assert len(await world.talks()) == 1


# --- Where conversations begin on the draft -------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "version"), [("dev", 2), ("sandbox", 1), ("live", 1), ("pre-release", 1)]
)
async def test_connectors_of_the_drafts_environments_begin_on_it(
    world: World, environment: Environment, version: int
):
    await world.provision(agent={"draft": DRAFT}, project={"draft_environments": ["dev"]})

    await send(world, environment=environment)

    await world.hear("Hello", now=second(1))
    assert await whom(world) == ("bookings", version)


async def test_a_caller_may_ask_for_production_all_the_same(world: World):
    await world.provision(agent={"draft": DRAFT}, project={"draft_environments": ["dev"]})

    await send(world, AgentChoice(version="production"), environment="dev")

    assert [text.text for text in await world.texts()] == ["Hello, how can I help?"]


async def test_another_agent_that_is_named_begins_on_its_draft_there_too(world: World):
    await world.provision(project={"draft_environments": ["dev"]})
    draft = "draft: {greeting: Try something!}"
    await provision(world.db, OTHERS.replace("{id: sales,", f"{{id: sales, {draft},"))

    await send(world, AgentChoice(agent_id=AgentId("sales")), environment="dev")

    assert [text.text for text in await world.texts()] == ["Try something!"]


@pytest.mark.parametrize(("to", "version"), [(DEV, 2), (AGENT, 1)])
async def test_users_who_open_on_a_number_of_such_an_environment_talk_to_the_draft(
    world: World, to: str, version: int
):
    numbers = [number(AGENT), number(DEV, environment="dev")]
    await world.provision(
        agent={"draft": DRAFT}, project={"draft_environments": ["dev"]}, numbers=numbers
    )

    await world.hear("Hello", user=NEIGHBOUR, agent_number=to, now=second(1))

    assert await whom(world) == ("bookings", version)
