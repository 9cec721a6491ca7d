"""What `doctor` asks of Postgres: the server itself, and whether the work goes on."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.db.session import transaction
from textback.db.tables import numbers

_SERVER = text("""
    select
        current_setting('server_version_num')::int as version,
        current_setting('server_version') as version_name,
        pg_is_in_recovery() as is_standby,
        inet_client_addr() is not null and not inet_client_addr() <<= '127.0.0.0/8'
            and inet_client_addr() <> '::1' as is_remote,
        coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as is_encrypted,
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0) as most_connections,
        (select count(*)::int from pg_stat_activity where backend_type = 'client backend')
            as connections,
        (select max(now() - xact_start) from pg_stat_activity
            where backend_type = 'client backend' and pid <> pg_backend_pid())
            as longest_transaction,
        current_setting('autovacuum')::bool as vacuums,
        (select age(datfrozenxid) from pg_database where datname = current_database())
            as transactions_unfrozen,
        pg_database_size(current_database()) as bytes,
        (select count(*)::int from pg_stat_replication) as standbys,
        (select count(*)::int from pg_stat_replication
            where sync_state in ('sync', 'quorum')) as synchronous_standbys,
        current_setting('synchronous_standby_names') <> '' as wants_synchronous,
        (select max(replay_lag) from pg_stat_replication) as lag,
        (select failed_count > 0 and (last_archived_time is null
            or last_failed_time > last_archived_time) from pg_stat_archiver) as fails_to_archive,
        current_setting('archive_mode') <> 'off' as archives
""")

_SLOTS = text("""
    select slot_name as name, case when pg_is_in_recovery() then 0
        else pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint end as bytes
    from pg_replication_slots where not active and restart_lsn is not null order by slot_name
""")


@frozen
class Slot:
    """A replication slot that nobody uses: Postgres keeps its log for it, for ever."""

    name: str
    bytes: int
    """Of the log that is kept."""


@frozen
class Server:
    version: int
    """As 170004 for 17.4."""
    version_name: str
    is_standby: bool
    is_remote: bool
    """We reach it over a network: neither by a socket nor on this machine."""
    is_encrypted: bool
    most_connections: int
    """Without those that are reserved for superusers."""
    connections: int
    longest_transaction: timedelta | None
    vacuums: bool
    transactions_unfrozen: int
    """Postgres stops at about 2.1 thousand million."""
    bytes: int
    """Of this database."""
    standbys: int
    synchronous_standbys: int
    wants_synchronous: bool
    """Commits wait for a standby."""
    lag: timedelta | None
    """Of the slowest standby, as far as this role may see it."""
    fails_to_archive: bool | None
    archives: bool
    slots: Sequence[Slot] = ()


async def server(db: AsyncEngine) -> Server:
    """Raises Unavailable."""
    async with transaction(db) as c:
        row = (await c.execute(_SERVER)).mappings().one()
        slots = [Slot(name=s.name, bytes=s.bytes) for s in await c.execute(_SLOTS)]
    return Server(**row, slots=slots)


async def sweep_due_at(db: AsyncEngine) -> datetime | None:
    """Since when a worker should have looked for lost replies, or when it will have to.

    None: there is no number. Raises Unavailable.
    """
    query = select(func.min(numbers.c.sweep_at)).where(numbers.c.removed_at.is_(None))
    async with transaction(db) as c:
        return await c.scalar(query)
