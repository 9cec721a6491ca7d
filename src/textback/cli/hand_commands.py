"""The commands about one conversation: who has it, and what is said in it."""

from enum import StrEnum
from typing import Annotated

import typer

from textback.cli import context

_Id = Annotated[str, typer.Argument(metavar="ID", help="A conversation.")]


class _As(StrEnum):
    person = "person"
    agent = "agent"


def register(app: typer.Typer) -> None:
    for command in (handoff, say, resume, end):
        app.command()(command)


def handoff(
    conversation_id: _Id,
    reason: Annotated[
        str, typer.Option(help="Why; whoever takes it over reads it.")
    ] = "an operator took it over",
) -> None:
    """Hand a conversation to a person: its agent falls silent.

    What the user says from now on is kept for the person, who writes with textback say. It is
    neither warned nor closed for silence until textback resume. See textback conversations
    --state handed_off.
    """
    from textback.cli import hand as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.hand_off(found, conversation_id, reason=reason))


def say(
    conversation_id: _Id,
    text: Annotated[str, typer.Argument(help="What to text the user.")],
    sender: Annotated[
        _As, typer.Option("--as", help="Who says it, for the agent to know later.")
    ] = _As.person,
) -> None:
    """Text the user in a conversation that is not over, whoever has it.

    It goes out in its order with the other texts of the two numbers.
    """
    from textback.cli import hand as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.write(found, conversation_id, text, sender=sender.value))


def resume(
    conversation_id: Annotated[
        str, typer.Argument(metavar="ID", help="A conversation that is handed off or paused.")
    ],
    reply: Annotated[
        bool, typer.Option("--reply", help="The agent answers what is open, or goes on by itself.")
    ] = False,
    message: Annotated[str | None, typer.Option(help="What the agent says to begin with.")] = None,
    node: Annotated[str | None, typer.Option(help="Where the agent's flow goes on.")] = None,
) -> None:
    """Give a conversation back to its agent, from a person or after a pause.

    What the user said to a person is not answered again; --reply answers what has come since the
    last text of ours.

    A conversation pauses when its replies have used up the project's reply_budget, which is what
    happens when two machines text each other: see textback conversations --state paused. Resumed,
    its agent answers what was kept, and its budget begins anew. A pause that ends by itself leaves
    unanswered what was said meanwhile.
    """
    from textback.cli import hand as command  # noqa: PLC0415

    found = context.settings()
    context.run(
        lambda: command.resume(found, conversation_id, reply=reply, message=message, node=node)
    )


def end(
    conversation_id: _Id,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept on the record.")] = None,
) -> None:
    """Close a conversation without a word to the user. The user's next text opens another."""
    from textback.cli import hand as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.end(found, conversation_id, reason=reason))
