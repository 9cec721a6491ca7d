"""Our own routes about the account: what it used, whose key it is, its projects."""

from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from textback.core.commands import Scope
from textback.core.errors import BadKey, BadRequest
from textback.db import account_reads, usage_reads
from textback.dialects.native import paging, serving, usage_openapi, usage_wire
from textback.dialects.native.paging import Page, Query
from textback.dialects.native.serving import Asked

router = serving.router("Account")


@router.get(usage_wire.USAGE, **usage_openapi.USAGE)
async def usage(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.query(usage_wire.UsageQuery)
        days = (it.until - it.since).days + 1
        if not 1 <= days <= usage_wire.MOST_DAYS:
            raise BadRequest(
                f"until must be since or up to {usage_wire.MOST_DAYS - 1} days after it."
            )
        found = await asked.rt.reading.ask(
            usage_reads.used,
            asked.account_id,
            project=it.project,
            first=it.since,
            last=it.until,
            by=it.by,
        )
        data = [_shown(key, of, known=it.by != "number") for key, of in found.items()]
        return serving.shown(usage_wire.Usage(since=it.since, until=it.until, by=it.by, data=data))

    return await serving.answer(request, "read", act)


@router.get(usage_wire.ME, **usage_openapi.ME)
async def me(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await account_reads.key_of(asked.rt.db, asked.account_id, asked.by.key_id)
        if found is None:
            raise BadKey("The API key is not valid any more.")
        ends = found.expires_at
        scopes = get_args(Scope) if asked.by.scopes is None else sorted(asked.by.scopes)
        return serving.shown(
            usage_wire.Me(
                account=asked.account_id,
                account_name=found.account_name,
                key_id=asked.by.key_id,
                key_name=found.key_name,
                scopes=list(scopes),
                expires_at=None if ends is None else ends.isoformat(),
            )
        )

    return await serving.answer(request, None, act)


@router.get(usage_wire.PROJECTS, **usage_openapi.PROJECTS)
async def projects(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        page = asked.query(Query)
        found = await account_reads.projects_of(
            asked.rt.db,
            asked.account_id,
            after=paging.after_text(page, "projects"),
            limit=page.limit + 1,
        )
        data = [usage_wire.Project(id=which, name=name) for which, name in found[: page.limit]]
        more = paging.next_cursor(page, "projects", [which for which, _ in found])
        return serving.shown(Page(data=data, next_cursor=more))

    return await serving.answer(request, "read", act)


def _shown(key: str, of: usage_reads.Used, *, known: bool) -> usage_wire.Used:
    return usage_wire.Used(
        key=key,
        texts=usage_wire.Texts(
            received=of.received,
            written=of.written,
            by_state=dict(of.states),
            by_error_code=dict(of.error_codes),
            segments=of.segments,
            segments_saved=of.segments_saved,
        ),
        conversations=usage_wire.Talks(opened=of.opened, closed=dict(of.closed)),
        agents=usage_wire.Turns(turns=of.turns, tokens=of.tokens, cost_usd=of.cost_usd)
        if known
        else None,
    )
