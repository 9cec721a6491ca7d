"""Every command, and the words that teach them."""

from pathlib import Path
from typing import Annotated

import typer

from textback import __version__
from textback.cli import agent as agents
from textback.cli import context, hand_commands, key_commands

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
        schema.upgrade(found.need("database_url")["database_url"])
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
    import os  # noqa: PLC0415

    # Options are settings that were given for once.
    os.environ |= {"TEXTBACK_HOST": host} if host else {}
    os.environ |= {"TEXTBACK_PORT": str(port)} if port is not None else {}
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
    ] = 32,
) -> None:
    """Send texts, run turns, find lost replies and watch deadlines. Run as many as you like."""
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
def uncertain(
    message_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One text, to say what became of it.")
    ] = None,
    sent: Annotated[
        bool | None,
        typer.Option("--sent/--not-sent", help="Whether the carrier has it; you know for certain."),
    ] = None,
    sid: Annotated[
        str | None, typer.Option(help="With --sent: the carrier's id of it, if you know it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, oldest first.")] = 50,
) -> None:
    """List texts of which nobody knows whether they went out, or settle one by hand.

    No answer came when they were handed to the carrier. They are looked up there by themselves;
    those that could not be looked up within their validity wait for an operator. None is ever sent
    again blindly: --not-sent sends it, if it is still valid; --sent never does.
    """
    from textback.cli import uncertain as command  # noqa: PLC0415

    found = context.settings()
    if message_id is None:
        if sent is not None or sid is not None:
            raise context.fail("Name the text: textback uncertain ID --sent, or --not-sent.")
        context.run(lambda: command.show(found, limit=limit, as_json=as_json))
        return
    if sent is None:
        raise context.fail("Say what became of it: --sent, or --not-sent.")
    if sid is not None and not sent:
        raise context.fail("A text that was not sent has no carrier's id: leave out --sid.")
    context.run(lambda: command.settle(found, message_id, sent=sent, sid=sid))


@app.command()
def doubt() -> None:
    """After the database was restored from a backup: ask the carrier before sending what is queued.

    Also after a replica that lagged took over. What the database calls queued may have been sent in
    the moments that it lost. Stop all workers, run this, then start them: they look each text up in
    the carrier's own list, and send what is not there.
    """
    from textback.cli import uncertain as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.doubt(found))


@app.command()
def doctor() -> None:
    """Check everything a deployment needs, and say what to fix. Exits with 1 if anything is wrong.

    Database, migrations, whether Postgres keeps what it confirms, clocks, texts in doubt, Redis,
    secrets, each carrier's credentials, that each number's webhook points here, and that a webhook
    signed for the public URL arrives and verifies.
    """
    from textback.cli import doctor as command  # noqa: PLC0415

    found = context.settings()
    raise typer.Exit(context.run(lambda: command.run(found)))


app.add_typer(agents.app)
app.add_typer(key_commands.app)


def main() -> None:
    app()
