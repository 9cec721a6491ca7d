"""Every command, and the words that teach them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from textback import __version__
from textback.cli import agent as agents
from textback.cli import (
    context,
    hand_commands,
    key_commands,
    operation_commands,
    streams,
    user_commands,
)

app = typer.Typer(
    name="textback",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Text people, and let an agent carry on when they text back.

**Try it**: `textback demo` in one terminal, `textback phone` in another.

**Run it**: `textback migrate`, then `textback apply FILE`, then one or more of each
`textback serve` and `textback work`. Settings are environment variables that begin with TEXTBACK_
(see .env.example), or a `.env` file here.
""",
)


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what the last demo kept, and start anew.")
    ] = False,
) -> None:
    """Run everything in this terminal, with nothing else installed and nothing sent to anybody.

    Brings its own Postgres and Redis, a sandbox carrier, an agent and an account; prints a curl to
    paste, and shows the conversation as it happens. Answer as the user with `textback phone` in a
    second terminal. State is kept in the folder TEXTBACK_DATA (.textback). Ctrl-C stops.
    """
    from textback.cli import demo as command  # noqa: PLC0415 - keeps --help quick

    command.run(context.settings(), fresh=fresh)


@app.command()
def phone(
    user: Annotated[
        str, typer.Option(help="Whose handset this is, in E.164 form.")
    ] = "+14155550123",
    agent: Annotated[
        str | None, typer.Option(help="The number to text; default: who texted last, or the first.")
    ] = None,
    wait: Annotated[
        float, typer.Option(help="When input is piped: seconds of quiet to wait for at its end.")
    ] = 5,
) -> None:
    """Play a user's handset on a sandbox number: shows what arrives, sends what you type.

    Each line typed is one text. STOP, START and HELP do what they do on a real phone.
    """
    from textback.cli import phone as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.run(found, user=user, agent=agent, wait=wait))


@app.command()
def migrate() -> None:
    """Create or upgrade the tables. Safe to run again, and from several hosts at once."""
    from textback.db import migrate as schema  # noqa: PLC0415
    from textback.db.session import is_unreachable  # noqa: PLC0415

    found = context.settings()
    try:
        schema.upgrade(found.direct())
    except context.MissingSettings as error:
        raise context.fail(str(error)) from None
    except Exception as error:
        if not is_unreachable(error):
            raise
        raise context.fail(
            f"The database cannot be reached ({error}); check TEXTBACK_DATABASE_URL."
        ) from None
    typer.echo(f"The schema is at revision {schema.head()}.")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [TEXTBACK_HOST].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [TEXTBACK_PORT].")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes to serve with.")] = 1,
) -> None:
    """Serve the API and take the carriers' webhooks."""
    # Options are settings that were given for once.
    os.environ |= {"TEXTBACK_HOST": host} if host else {}
    os.environ |= {"TEXTBACK_PORT": str(port)} if port is not None else {}
    with context.starting():
        from textback.cli import serving  # noqa: PLC0415

    found = context.settings()
    if workers == 1:
        raise typer.Exit(context.run(lambda: serving.serve(found)))
    try:
        raise typer.Exit(serving.serve_with(found, workers=workers))
    except (context.MissingSettings, ValueError) as error:
        raise context.fail(str(error)) from None


@app.command()
def work(
    concurrency: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Texts handled at once; eight times as many turns."),
    ] = 64,
) -> None:
    """Send texts, run turns, find lost replies and watch deadlines. Run as many as you like."""
    with context.starting():
        from textback.cli import serving  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: serving.work(found, concurrency=concurrency))


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="The YAML file; - reads standard input.")],
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what the file does not name.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Provision accounts, keys, carriers, agents, projects and numbers from YAML.

    All or nothing, and safe to repeat. `${NAME}` in the file takes a value from the environment.
    Prints what changed as JSON; a key that the file leaves out is generated and printed this once.
    """
    from textback.cli import apply as command  # noqa: PLC0415

    raise typer.Exit(command.apply(context.settings(), file, prune=prune, dry_run=dry_run))


@app.command()
def conversations(  # noqa: PLR0917 - Typer takes them by name
    conversation_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One conversation: its transcript.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, latest first.")] = 50,
    state: Annotated[
        str | None,
        typer.Option(help="Only opened, engaged, warned, paused, handed_off or closed ones."),
    ] = None,
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only with this user number.")] = None,
) -> None:
    """List conversations, or show one with every text and what became of it."""
    from textback.cli import conversations as command  # noqa: PLC0415

    found = context.settings()
    which = command.Which(limit=limit, state=state, project=project, user=user)
    context.run(lambda: command.run(found, conversation_id, which, as_json=as_json))


hand_commands.register(app)


@app.command()
def listen(  # noqa: PLR0917 - Typer takes them by name
    server: Annotated[
        str | None, typer.Option(help="Whose events; default: TEXTBACK_PUBLIC_URL, or the demo.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="TEXTBACK_API_KEY", help="An API key with the scope webhooks."),
    ] = None,
    kinds: Annotated[
        str, typer.Option(help="Only these, with commas: message.failed,conversation.closed")
    ] = "",
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    forward: Annotated[
        str | None, typer.Option(help="Post each one here, too: http://localhost:3000/hook")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one event a line.")] = False,
) -> None:
    """Print events as they happen, and forward them to a URL on this machine.

    For developing a webhook receiver: what is forwarded is signed as the real ones are, with a
    secret that is printed at the start. Survives restarts of the server. Ctrl-C stops.
    """
    from textback.cli import listen as command  # noqa: PLC0415

    wanted = tuple(each.strip() for each in kinds.split(",") if each.strip())
    asked = command.asked(
        context.settings(),
        server=server,
        key=key,
        kinds=wanted,
        project=project,
        forward=forward,
        as_json=as_json,
    )
    command.command(asked)


@app.command()
def tail(  # noqa: PLR0917 - Typer takes them by name
    account: Annotated[str | None, typer.Option(help="Only this account's.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    number: Annotated[
        str | None, typer.Option(help="Only of conversations with this number, on either side.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="Only these, with commas; * for anything: message.*,turn.failed")
    ] = "",
    since: Annotated[
        str | None, typer.Option(help="Also what happened before, such as 30s, 10m, 2h or 1d.")
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="Do not mask phone numbers.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one event a line, as into a pipe.")
    ] = False,
) -> None:
    """Follow what happens, of all accounts, straight from the database.

    Each event once, in order, also when the database was away meanwhile. Shows no texts. Ctrl-C
    stops.
    """
    from textback import wiring  # noqa: PLC0415
    from textback.cli import tail as command  # noqa: PLC0415
    from textback.db.event_tail import Wanted  # noqa: PLC0415

    found = context.settings()
    wanted = Wanted(
        account=account,
        conversation=conversation,
        number=number,
        kinds=tuple(each.strip() for each in kind.split(",") if each.strip()),
        since=None if since is None else command.since(since, now=wiring.clock()),
    )
    context.run(lambda: command.run(found, wanted, as_json=as_json, numbers=numbers))


operation_commands.register(app)
user_commands.register(app)
app.add_typer(agents.app)
app.add_typer(key_commands.app)


def main() -> None:
    streams.run(app)
