"""PgBouncer in transaction mode, as docs/postgres.md has it, between the processes and Postgres."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from tests.chaos.parts import Part, accepts
from textback.embedded import prepare_postgres

NAMES_SINCE: Final = (1, 21)
"""From this version on it knows prepared statements by their names."""
IDLE: Final = "alter database textback set idle_in_transaction_session_timeout = '10s'"

_INI: Final = """
[databases]
textback = host=127.0.0.1 port={postgres} dbname=textback user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
ignore_startup_parameters = extra_float_digits, idle_in_transaction_session_timeout, \
client_connection_check_interval, tcp_keepalives_idle, tcp_keepalives_interval, \
tcp_keepalives_count, default_transaction_read_only
query_wait_timeout = 5
server_login_retry = 1
{more}
"""


class Pooler:
    def __init__(self, program: str, folder: Path, postgres: int, port: int) -> None:
        said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
        found = re.search(r"PgBouncer (\d+)\.(\d+)", said.stdout)
        assert found is not None, said.stdout
        knows_names = (int(found[1]), int(found[2])) >= NAMES_SINCE
        ini = folder / "pgbouncer.ini"
        more = "max_prepared_statements = 200" if knows_names else ""
        ini.write_text(_INI.format(postgres=postgres, port=port, more=more))
        nameless = "" if knows_names else "?prepared_statement_cache_size=0"
        self.url = f"postgresql://postgres@127.0.0.1:{port}/textback{nameless}"

        def command() -> list[str]:
            # It does not run as root, either. Not asked of Postgres' folder, whose lock that takes.
            owner, own = (folder / "postgres").stat(), folder / "pooler"
            own.mkdir(exist_ok=True)
            os.chown(own, owner.st_uid, owner.st_gid)
            *as_user, _ = prepare_postgres(own)
            return [*as_user, program, str(ini)]

        async def is_ready(_part: Part) -> bool:
            return await accepts(port)

        self.part = Part("pgbouncer", folder, command, is_ready, {})
