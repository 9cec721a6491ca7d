"""What is usual is looked at without a lock: what was done before it is written counts."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
from sqlalchemy import text

from tests.support.deployment import ACME, AGENT, NEIGHBOUR, USER, caller, second
from tests.support.webhooks import Postman
from tests.support.world import World
from textback.core.commands import SendText
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.db.thinking import Thinking
from textback.flows import accept, consent, erase, store_only
from textback.flows.consent import Wish
from textback.flows.say import OPERATOR

HOLD = text("""
    select from conversations where user_number = :user and state <> 'closed' for no key update
""")
SEEN = {
    "conversations": "state, reason, active_at from conversations {of} order by opened_at",
    "texts": "direction, kind, state, text, note from messages {of} order by seq",
    "turns": (
        "state, outcome, due_at, again_at from turns where conversation_id in"
        " (select id from conversations {of}) order by first_text_at"
    ),
    "events": (
        "kind from events where conversation_id in (select id from conversations {of}) order by id"
    ),
    "opt-outs": "agent_number, opted_in_at from opt_outs {of} order by agent_number",
}

Doing: TypeAlias = Callable[[World, Phone], Coroutine[Any, Any, object]]


def command(user: Phone, words: str, **more: Any) -> SendText:
    return SendText(user_number=user, text=words, agent_number=AGENT, **more)


def sid(user: Phone) -> str:
    return f"IN-of-{user}"


async def talk(world: World, user: Phone) -> ConversationId:
    (found,) = [each.id for each in await world.live() if each.user_number == user]
    return found


async def ended(world: World, user: Phone) -> None:
    await world.end(await talk(world, user), now=second(5))


async def handed_off(world: World, user: Phone) -> None:
    await world.hand_off(await talk(world, user), now=second(5))


async def written(world: World, user: Phone) -> None:
    await world.say(await talk(world, user), now=second(5))


async def resumed(world: World, user: Phone) -> None:
    going_on = command(user, "And?", thread="resume")
    await accept.send_text(world.db, caller(), going_on, now=second(5))


async def recorded(world: World, user: Phone) -> None:
    said = command(user, "By phone", thread="resume")
    await store_only.put_on_record(
        world.db, caller(), said, sayer="user", carrier_message_id=sid(user), now=second(5)
    )


async def opted_out(world: World, user: Phone, **where: Any) -> None:
    wish = Wish(user_number=user, reason="by phone", **where)
    await consent.opt_out_user(world.db, ACME, wish, now=second(5))


async def erased(world: World, user: Phone) -> None:
    await erase.erase_conversation(world.db, await talk(world, user), who=OPERATOR, now=second(5))


MEANWHILE: dict[str, Doing] = {
    "another text": lambda world, user: world.hear("Two", user=user, now=second(5)),
    "the same text": lambda world, user: world.hear(
        "Three", user=user, sid=sid(user), now=second(5)
    ),
    "STOP": lambda world, user: world.hear("STOP", user=user, now=second(5)),
    "HELP": lambda world, user: world.hear("HELP", user=user, now=second(5)),
    "a send": lambda world, user: world.accept("New", user=user, now=second(5)),
    "a send that goes on": resumed,
    "the same text, on record": recorded,
    "an opt-out from the number": lambda world, user: opted_out(world, user, agent_number=AGENT),
    "an opt-out from the project": lambda world, user: opted_out(world, user, project="reminders"),
    "erased": erased,
    "an end": ended,
    "a person": handed_off,
    "a text of a person's": written,
}


async def seen(world: World, user: Phone) -> dict[str, list[tuple[object, ...]]]:
    async with world.transaction() as c:
        return {
            name: [
                tuple(row)
                for row in await c.execute(
                    text("select " + query.format(of="where user_number = :user")), {"user": user}
                )
            ]
            for name, query in SEEN.items()
        }


async def meanwhile(
    world: World, do: Doing, then: Callable[[Phone], Coroutine[Any, Any, object]]
) -> None:
    """`then` comes to the same after `do` as when it had looked before that was done."""
    await do(world, NEIGHBOUR)
    afterwards = await then(NEIGHBOUR)
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        await c.execute(HOLD, {"user": USER})
        group.create_task(do(world, USER))
        await world.blocked(1)
        looked = group.create_task(then(USER))
        await world.blocked(2)
    assert looked.result() == afterwards
    assert await seen(world, USER) == await seen(world, NEIGHBOUR)


@pytest.mark.parametrize("turns", ["one waits", "none"])
@pytest.mark.parametrize("what", MEANWHILE)
async def test_what_was_done_before_a_text_was_stored_counts(world: World, what: str, turns: str):
    async def then(user: Phone) -> object:
        heard = await world.hear("Three", user=user, sid=sid(user), now=second(6))
        return heard.outcome, heard.why

    for user in (NEIGHBOUR, USER):
        await world.accept(user=user)
        await world.hear("One", user=user, now=second(1))
        if turns == "none":
            await world.think(now=second(4))
    await meanwhile(world, MEANWHILE[what], then)


@pytest.mark.parametrize("what", MEANWHILE)
async def test_what_was_done_before_an_answer_was_stored_counts(world: World, what: str):
    async def then(user: Phone) -> object:
        return await world.answer(thinking[user], "Yes.", now=second(6))

    for user in (NEIGHBOUR, USER):
        await world.accept(user=user)
        await world.hear("One", user=user, now=second(1))
    thinking = dict[Phone, Thinking]()
    for turn in await world.claim_turns(now=second(4)):
        (conversation,) = [t for t in await world.live() if t.id == turn.conversation_id]
        thinking[conversation.user_number] = turn
    await meanwhile(world, MEANWHILE[what], then)
    usage = await Postman(world).rows("select turns from usage_days")
    assert sum(row["turns"] for row in usage) in {0, 2}
