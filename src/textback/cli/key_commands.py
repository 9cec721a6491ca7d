"""The commands about API keys."""

from typing import Annotated

import typer

from textback.cli import context

app = typer.Typer(
    name="key", no_args_is_help=True, help="API keys: make, list, change over, revoke."
)

_Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account's id.")]
_Key = Annotated[str, typer.Argument(metavar="KEY", help="A key's name or id.")]


@app.command()
def create(
    account: _Account,
    name: Annotated[str, typer.Option(help="What it is called; of an account's keys, once.")],
    scopes: Annotated[
        str | None,
        typer.Option(
            help="What it may do, with commas: send, read, converse, opt_outs, webhooks, manage; "
            "default: everything."
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="A date (2027-01-31) or a time with its zone; default: never."),
    ] = None,
) -> None:
    """Make a key and print it, this once: only a hash is kept."""
    from textback.cli import key as command  # noqa: PLC0415 - keeps --help quick

    found = context.settings()
    context.run(lambda: command.create(found, account, name, scopes=scopes, expires=expires))


@app.command("list")
def list_(account: _Account) -> None:
    """The account's keys and key pairs, with what they may do and until when. No key is shown."""
    from textback.cli import key as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.show(found, account))


@app.command()
def rotate(
    account: _Account,
    key: _Key,
    grace: Annotated[
        float | None,
        typer.Option(
            min=0, help="Hours for which the old one works yet; default: 24, for a pair 0."
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Even while the one before the old one works yet: that ends at once."
        ),
    ] = False,
) -> None:
    """Make another key in place of one, and print it, this once."""
    from textback.cli import key as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.rotate(found, account, key, grace=grace, again=again))


@app.command()
def revoke(account: _Account, key: _Key) -> None:
    """From now on the key opens nothing."""
    from textback.cli import key as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.revoke(found, account, key))
