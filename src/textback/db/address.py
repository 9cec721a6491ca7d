"""How the URL of a Postgres is read. What it says of TLS means what it means to libpq.

https://www.postgresql.org/docs/current/libpq-ssl.html
"""

from typing import Final
from urllib.parse import urlencode

from sqlalchemy.engine import URL, make_url

TLS: Final = frozenset(
    {
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl"),
        *("sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)


def read(database_url: str) -> tuple[URL, dict[str, str]]:
    """For SQLAlchemy, of a plain `postgresql://` URL: its own URL, and `connect_args` for asyncpg.

    asyncpg knows most of TLS' parameters only from a URL of its own, beside which what SQLAlchemy
    hands it counts. Without `sslmode` it is libpq's `prefer`: TLS where the server has it, and
    nothing is verified.
    """
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    tls = {name: value for name, value in url.normalized_query.items() if name in TLS}
    if not tls:
        return url, {}
    dsn = f"postgresql://?{urlencode({name: values[-1] for name, values in tls.items()})}"
    return url.difference_update_query(TLS), {"dsn": dsn}
