"""How the URL of a Postgres is read. What it says of TLS means what it means to libpq.

https://www.postgresql.org/docs/current/libpq-ssl.html
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from sqlalchemy.engine import URL, make_url

TLS: Final = frozenset(
    {
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl"),
        *("sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)
BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat
    "/etc/ssl/cert.pem",  # macOS
)
"""Where systems have their authorities in one file: asyncpg takes no folder."""


def read(database_url: str) -> tuple[URL, dict[str, str]]:
    """For SQLAlchemy, of a plain `postgresql://` URL: its own URL, and `connect_args` for asyncpg.

    asyncpg knows most of TLS' parameters only from a URL of its own, beside which what SQLAlchemy
    hands it counts. Without `sslmode` it is libpq's `prefer`: TLS where the server has it, and
    nothing is verified.
    """
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    tls = _tls(url)
    if not tls:
        return url, {}
    return url.difference_update_query(TLS), {"dsn": f"postgresql://?{urlencode(tls)}"}


def plain(database_url: str) -> str:
    """For asyncpg itself."""
    url = make_url(database_url).set(drivername="postgresql")
    url = url.difference_update_query(["prepared_statement_cache_size"])  # SQLAlchemy's own
    return url.update_query_dict(_tls(url)).render_as_string(hide_password=False)


def _tls(url: URL) -> dict[str, str]:
    """What is asked for, with the system's authorities where nobody names others.

    libpq asks for `sslrootcert=system` to go by those, and knows no server otherwise.
    """
    said = {name: values[-1] for name, values in url.normalized_query.items() if name in TLS}
    root = said.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    mode = said.get("sslmode") or os.environ.get("PGSSLMODE")
    if root == "system" and mode in {None, "verify-full"}:
        return {**said, "sslmode": "verify-full", **_of_the_system()}
    if root or mode not in {"verify-ca", "verify-full"} or _own().exists():
        return said
    return {**said, **_of_the_system()}


def _own() -> Path:
    """Where libpq looks."""
    return Path("~/.postgresql/root.crt").expanduser()


def _of_the_system() -> Mapping[str, str]:
    known = (ssl.get_default_verify_paths().cafile, *BUNDLES)
    found = next((path for path in known if path and Path(path).is_file()), None)
    return {"sslrootcert": found} if found else {}
