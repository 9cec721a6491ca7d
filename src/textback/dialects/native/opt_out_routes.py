"""Our own routes about opt-outs: listed, recorded, ended, brought in and taken out as CSV."""

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from textback.core import optout
from textback.core.errors import BadRequest, TooLarge, UnknownResource
from textback.core.phone import Phone
from textback.db import opt_out_reads
from textback.db.opt_out_reads import OptOutFilter, OptOutRecord
from textback.dialects.native import (
    opt_out_csv,
    opt_out_openapi,
    opt_out_wire,
    paging,
    reading,
    serving,
)
from textback.dialects.native.serving import Asked
from textback.flows import consent
from textback.flows.consent import Imported, Wish

router = serving.router("Opt-outs")

_LIST = "opt-outs"
_AT_ONCE = 1000
"""Rows that an export reads at a time."""


@router.get(opt_out_wire.ROUTE, **opt_out_openapi.LIST)
async def opt_outs(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.query(opt_out_wire.OptOuts)
        which = OptOutFilter(
            user_number=it.user_number,
            agent_number=it.agent_number,
            project=it.project,
            standing=it.standing,
        )
        found = await asked.rt.reading.ask(
            opt_out_reads.list_opt_outs,
            asked.account_id,
            which,
            limit=it.limit + 1,
            before=paging.after_text(it, _LIST),
        )
        return serving.shown(
            paging.Page[opt_out_wire.OptOut](
                data=[_shown(each) for each in found[: it.limit]],
                next_cursor=paging.next_cursor(it, _LIST, [each.id for each in found]),
            )
        )

    return await serving.answer(request, "read", act)


@router.post(opt_out_wire.ROUTE, **opt_out_openapi.CREATE)
async def create(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it, rt = asked.body(opt_out_wire.Create), asked.rt
        wish = Wish(
            user_number=Phone(it.user_number),
            agent_number=it.agent_number,
            project=it.project,
            reason=it.reason,
        )
        done = await consent.opt_out_user(rt.db, asked.account_id, wish, now=rt.now())
        whole = _shown(await _found(asked, done.id))
        return serving.shown(
            opt_out_wire.Recorded(**whole.model_dump(), already_opted_out=done.state == "already")
        )

    return await serving.answer(request, "opt_outs", act)


@router.get(opt_out_wire.ROUTE + "/export", **opt_out_openapi.EXPORT)
async def export(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.query(opt_out_wire.Export)
        which = OptOutFilter(project=it.project, standing=it.standing)
        named = {"Content-Disposition": 'attachment; filename="opt-outs.csv"'}
        return StreamingResponse(_lines(asked, which), 200, named, "text/csv")

    return await serving.answer(request, "read", act)


@router.post(opt_out_wire.ROUTE + "/import", **opt_out_openapi.IMPORT)
async def bring_in(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        default = asked.query(opt_out_wire.Import)
        if default.project is not None and default.agent_number is not None:
            raise BadRequest("Give project or agent_number for all rows, not both.")
        rows = opt_out_csv.read(_csv(asked), default)
        done = await consent.import_opt_outs(
            asked.rt.db,
            asked.account_id,
            [
                Wish(
                    user_number=row.user_number,
                    agent_number=row.agent_number,
                    project=row.project,
                    reason=row.reason,
                )
                for row in rows
                if row.user_number is not None
            ],
            now=asked.rt.now(),
        )
        return serving.shown(_imported(rows, done))

    return await serving.answer(request, "opt_outs", act, at_most=opt_out_wire.MAX_CSV)


@router.delete(opt_out_wire.ROUTE + "/{opt_out_id}", **opt_out_openapi.END)
async def end(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which = reading.an_id(asked.path("opt_out_id"), opt_out_wire.ID, "opt-out")
        it, rt = asked.body(opt_out_wire.End), asked.rt
        await consent.opt_in_user(rt.db, asked.account_id, which, it.reason, now=rt.now())
        return serving.shown(_shown(await _found(asked, which)))

    return await serving.answer(request, "opt_outs", act)


async def _found(asked: Asked, which: str) -> OptOutRecord:
    found = await opt_out_reads.find_opt_out(asked.rt.db, asked.account_id, which)
    if found is None:
        raise UnknownResource(f"There is no opt-out {which}.")
    return found


async def _lines(asked: Asked, which: OptOutFilter) -> AsyncGenerator[str]:
    """A page at a time, so that no transaction waits for a slow reader."""
    yield opt_out_csv.header()
    before: str | None = None
    while True:
        found = await asked.rt.reading.ask(
            opt_out_reads.list_opt_outs,
            asked.account_id,
            which,
            limit=_AT_ONCE,
            before=before,
        )
        yield "".join(map(opt_out_csv.line, found))
        if len(found) < _AT_ONCE:
            return
        before = found[-1].id


def _csv(asked: Asked) -> bytes:
    if asked.raw is None:
        raise TooLarge(opt_out_csv.too_large())
    kind = asked.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/csv":
        raise BadRequest("Send the file as it is, with Content-Type: text/csv.")
    return asked.raw


def _imported(rows: list[opt_out_csv.Row], done: list[Imported]) -> opt_out_wire.Imported:
    results = iter(done)
    told: list[opt_out_wire.Row] = []
    for number, row in enumerate(rows, start=1):
        result = None if row.user_number is None else next(results)
        refusal = None if result is None else result.refusal
        told.append(
            opt_out_wire.Row(
                row=number,
                user_number=row.given,
                state="refused" if result is None else result.state,
                detail=row.wrong if refusal is None else refusal.sentence,
            )
        )
    states = [row.state for row in told]
    return opt_out_wire.Imported(
        recorded=states.count("recorded"),
        already=states.count("already"),
        refused=states.count("refused"),
        rows=told,
    )


def _shown(found: OptOutRecord) -> opt_out_wire.OptOut:
    whole = optout.project_of(found.agent_number) is not None
    return opt_out_wire.OptOut(
        id=found.id,
        user_number=found.user_number,
        agent_number=None if whole else found.agent_number,
        project=found.project_id,
        standing=found.opted_in_at is None,
        opted_out_at=found.opted_out_at,
        source=found.source,
        words=found.words,
        reason=found.reason,
        opted_in_at=found.opted_in_at,
        opted_in_source=found.opted_in_source,
        opted_in_words=found.opted_in_words,
        opted_in_reason=found.opted_in_reason,
    )
