"""The commands about one user's data."""

from pathlib import Path
from typing import Annotated

import typer

from textback.cli import context

_Number = Annotated[
    str,
    typer.Argument(
        metavar="NUMBER", help="+14155550123: on every channel; whatsapp:+1415...: there alone."
    ),
]
_Account = Annotated[
    str | None, typer.Option(help="Only what this account holds; default: every account.")
]


def register(app: typer.Typer) -> None:
    for command in (export, erase):
        app.command()(command)


def export(
    number: _Number,
    account: _Account = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file instead of standard output."),
    ] = None,
) -> None:
    """Print all that is held about a user, as JSON: what was said, told, planned and opted out of.

    docs/retention.md says what each field is.
    """
    from textback.cli import user_data as command  # noqa: PLC0415

    found, who = context.settings(), command.user(number)
    context.run(lambda: command.export(found, who, account, to=output))


def erase(
    number: _Number,
    account: _Account = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase all that is held about a user, for good: conversations, plans, rows of batches, files.

    What is planned is cancelled, live conversations are closed without a word. Opt-outs stay, or
    the user would be texted again. A conversation of which a text may be on its way stays too,
    closed and silent: then this exits with 1; run it again a little later.
    """
    from textback.cli import user_data as command  # noqa: PLC0415

    found, who = context.settings(), command.user(number)
    raise typer.Exit(
        context.run(lambda: command.erase(found, who, account, yes=yes, as_json=as_json))
    )
