"""The commands for whoever operates a deployment."""

from typing import Annotated

import typer

from textback.cli import context


def register(app: typer.Typer) -> None:
    for command in (uncertain, doubt, reseal, doctor):
        app.command()(command)


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


def doubt(
    hand_off: Annotated[
        bool,
        typer.Option(
            "--hand-off/--no-hand-off",
            help="Whether conversations in which an answer, a warning or a closing was due go to a "
            "person.",
        ),
    ] = True,
) -> None:
    """After the database was restored from a backup: say nothing twice that it has forgotten.

    Also after a replica that lagged took over. Stop all workers, and run this before they start:
    texts that are queued are looked up in the carrier's own list, and sent if they are not there;
    conversations in which an answer, a warning or a closing was due are handed to a person, who
    gives them back with textback resume. docs/runbook.md has all the steps of a restore.
    """
    from textback.cli import uncertain as command  # noqa: PLC0415

    found = context.settings()
    context.run(lambda: command.doubt(found, hand_off=hand_off))


def reseal(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what an older key sealed.")
    ] = False,
) -> None:
    """After a new key was put first in TEXTBACK_SECRET_KEY: seal every stored secret with it.

    Run it while all processes have both keys; then the old key can be taken away. Nothing stops
    meanwhile. See docs/runbook.md for the steps.
    """
    from textback.cli import reseal as command  # noqa: PLC0415

    found = context.settings()
    raise typer.Exit(context.run(lambda: command.run(found, dry_run=dry_run)))


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything a deployment needs, and say what to fix. Exits with 1 if anything is wrong.

    Postgres (schema, version, whether it keeps what it confirms, encryption, connections, standbys,
    its log), Redis, clocks, texts in doubt, queues, workers, webhooks, secrets, each carrier's
    credentials, that each number's webhook points here, and that a webhook signed for the public
    URL arrives and verifies. It changes nothing.
    """
    from textback.cli import doctor as command  # noqa: PLC0415

    found = context.settings()
    raise typer.Exit(context.run(lambda: command.run(found, as_json=as_json)))
