"""Bring a database to the newest schema."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

_PACKAGED = Path(__file__).parents[1] / "_migrations"
_SOURCE = Path(__file__).parents[3] / "migrations"


def upgrade(database_url: str, *, to: str = "head") -> None:
    """Run the migrations; several processes at once wait for one another."""
    command.upgrade(config(database_url), to)


def config(database_url: str) -> Config:
    found = Config()
    found.set_main_option("script_location", str(_PACKAGED if _PACKAGED.exists() else _SOURCE))
    found.attributes["database_url"] = database_url
    return found


def head() -> str:
    """The newest revision that this code knows."""
    found = ScriptDirectory.from_config(config("")).get_current_head()
    assert found is not None  # noqa: S101 - there is always a first migration
    return found


def fits(revision: str | None) -> bool:
    """Whether this code can work on a schema at `revision`: at its own newest, or at a newer one.

    Of a newer version nothing is known here; but a release only adds what the one before can live
    with, so that processes can be replaced one after the other.
    """
    return revision is not None and revision not in _older()


@cache
def _older() -> frozenset[str]:
    script = ScriptDirectory.from_config(config(""))
    return frozenset(known.revision for known in script.walk_revisions()) - {head()}
