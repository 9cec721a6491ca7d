"""`textback agent`: versions of agents, and trying them out."""

from pathlib import Path
from typing import Annotated

import typer

from textback.cli import context
from textback.core.ids import AgentId

app = typer.Typer(
    name="agent",
    no_args_is_help=True,
    help="""Versions of agents: list, show and move; try one out, record, and replay.

`try` talks to an agent in this terminal and sends nothing. `record` takes down conversations that
were held, `replay` runs another version against them and says what it would have said otherwise.
""",
)

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id.")]
Version = Annotated[
    str, typer.Option("--version", help="production, draft, or the number of a version.")
]
File = Annotated[
    Path | None,
    typer.Option("--file", help="Take the agent from this provisioning file; needs no database."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="list")
def list_(as_json: Json = False) -> None:
    """List agents, their versions, and how many conversations are live on each.

    Old versions that no conversation is on are listed by --json only.
    """
    from textback.cli import agent_versions as command  # noqa: PLC0415 - keeps --help quick

    found = context.settings()
    context.run(lambda: command.show_all(found, as_json=as_json))


@app.command()
def show(agent: Agent, version: Version = "production") -> None:
    """Show one version of an agent as JSON: all of its settings but the secrets."""
    from textback.cli import agent_subject  # noqa: PLC0415
    from textback.cli import agent_versions as command  # noqa: PLC0415

    wanted, found = agent_subject.version(version), context.settings()
    context.run(lambda: command.show(found, AgentId(agent), wanted))


@app.command()
def move(
    agent: Agent,
    to: Annotated[
        str, typer.Option("--to", help="production, draft, or the number of a version.")
    ] = "production",
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Only those on this version; default: on any other."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for those in the middle of a turn.")
    ] = 60,
) -> None:
    """Move an agent's live conversations to another version of it.

    A turn that an engine has is finished by the version that began it. What the engine kept between
    turns stays, if the other version's engine is of the same kind. Safe to repeat.
    """
    from textback.cli import agent_subject  # noqa: PLC0415
    from textback.cli import agent_versions as command  # noqa: PLC0415

    target = agent_subject.version(to)
    source = None if from_ is None else agent_subject.version(from_)
    found = context.settings()
    code = context.run(lambda: command.move(found, AgentId(agent), target, from_=source, wait=wait))
    raise typer.Exit(code)


@app.command(name="try")
def try_(  # noqa: PLR0917 - Typer takes them by name
    agent: Agent,
    version: Version = "production",
    file: File = None,
    var: Annotated[
        list[str] | None,
        typer.Option("--var", help="A variable: name=value, or name:=JSON. May be repeated."),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="What the conversation is for, as a caller would say it.")
    ] = None,
    opener: Annotated[
        str | None, typer.Option(help="Open with these words, as a caller's `message` does.")
    ] = None,
    start_node: Annotated[str | None, typer.Option(help="Where its flow is to begin.")] = None,
    no_tools: Annotated[
        bool, typer.Option("--no-tools", help="Make no call of a tool; each fails.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
) -> None:
    """Talk to an agent in this terminal; nothing is sent to anybody, and nothing stored.

    Shows what each text would cost, and calls of tools as they happen: they are really made,
    unless --no-tools. Each line is a text and a turn; a backslash at its end adds the next line to
    the same turn. /quit or the end of input leaves. Works in a pipe.
    """
    from textback.cli import agent_subject as subject  # noqa: PLC0415
    from textback.cli import agent_try as command  # noqa: PLC0415

    label = subject.version(version)
    wanted = subject.Wanted(agent_id=AgentId(agent), version=label, file=file)
    options = command.Options(
        variables=command.variables(var or []),
        objective=objective,
        opener=opener,
        start_node=start_node,
        no_tools=no_tools,
        as_json=as_json,
    )
    found = context.settings(demo=file is None)
    try:
        context.run(lambda: command.run(found, wanted, options))
    except KeyboardInterrupt:
        typer.echo("")
        raise typer.Exit(130) from None


@app.command()
def record(
    agent: Agent,
    out: Annotated[Path | None, typer.Option(help="A file; default: standard output.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the latest.")] = 100,
    since: Annotated[
        str | None, typer.Option(help="Only those opened since: 2027-01-31, or a time with a zone.")
    ] = None,
) -> None:
    """Take down an agent's conversations as JSON lines, for `replay`.

    Texts, calls of tools and their results, turn by turn, without the two phone numbers. What users
    wrote is in it: keep it as you keep the database.
    """
    from textback.cli import agent_record as command  # noqa: PLC0415
    from textback.cli import agent_recording  # noqa: PLC0415

    begin, found = agent_recording.moment(since), context.settings()
    context.run(lambda: command.run(found, AgentId(agent), out=out, limit=limit, since=begin))


@app.command()
def replay(  # noqa: PLR0917 - Typer takes them by name
    agent: Agent,
    conversations: Annotated[
        Path, typer.Option(help="JSON lines, as `record` writes them; - reads standard input.")
    ],
    version: Version = "production",
    file: File = None,
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="Exit with 1 if any answer is different.")
    ] = False,
    live_tools: Annotated[
        bool, typer.Option("--live-tools", help="Really make calls that are not recorded.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Conversations at once.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
) -> None:
    """Run a version of an agent on recorded conversations, and say what it says otherwise.

    Each turn is asked about what was said before it. Calls of tools get the results that were
    recorded; others fail, unless --live-tools. Exits with 1 when a turn fails that did not, or
    when what the file expects of a turn is not so.
    """
    from textback.cli import agent_recording  # noqa: PLC0415
    from textback.cli import agent_replay as command  # noqa: PLC0415
    from textback.cli import agent_subject as subject  # noqa: PLC0415

    label = subject.version(version)
    wanted = subject.Wanted(agent_id=AgentId(agent), version=label, file=file)
    recordings = agent_recording.read(conversations)
    options = command.Options(
        as_json=as_json,
        fail_on_change=fail_on_change,
        live_tools=live_tools,
        concurrency=concurrency,
    )
    found = context.settings()
    try:
        code = context.run(lambda: command.run(found, wanted, recordings, options))
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
