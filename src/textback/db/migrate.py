"""Bring a database to the newest schema.

Alembic does it, and is imported when there is something to do: a process that only wants to know
whether it fits starts a tenth sooner without it.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

_PACKAGED = Path(__file__).parents[1] / "_migrations"
_SOURCE = Path(__file__).parents[3] / "migrations"


def upgrade(database_url: str, *, to: str = "head") -> None:
    """Run the migrations; several processes at once wait for one another."""
    from alembic import command  # noqa: PLC0415

    command.upgrade(config(database_url), to)


def config(database_url: str) -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    found = Config()
    found.set_main_option("script_location", str(_folder()))
    found.attributes["database_url"] = database_url
    return found


def head() -> str:
    """The newest revision that this code knows."""
    return revisions()[-1]


def fits(revision: str | None) -> bool:
    """Whether this code can work on a schema at `revision`: at its own newest, or at a newer one.

    Of a newer version nothing is known here; but a release only adds what the one before can live
    with, so that processes can be replaced one after the other.
    """
    return revision is not None and revision not in revisions()[:-1]


@cache
def revisions() -> tuple[str, ...]:
    """All that this code knows, from the oldest on: their files begin with them."""
    files = (_folder() / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(file.name.partition("_")[0] for file in files))


def _folder() -> Path:
    return _PACKAGED if _PACKAGED.exists() else _SOURCE
