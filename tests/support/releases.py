"""The code of the release before: as it was when the newest migration was not there yet."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final

from alembic.script import ScriptDirectory

from textback.db import migrate

ROOT: Final = Path(__file__).parents[2]


def release_before(folder: Path) -> Path:
    """Unpack its `src` and `migrations` into the folder; gives what PYTHONPATH has to be."""
    commit = _commit_before(f"migrations/versions/{migrate.head()}_*.py")
    archive = _git("archive", commit, "src", "migrations")
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def revision_before() -> str:
    """Of its schema."""
    script = ScriptDirectory.from_config(migrate.config(""))
    newest = script.get_revision(migrate.head())
    assert isinstance(newest.down_revision, str)
    return newest.down_revision


def _commit_before(migration: str) -> str:
    """The last commit without this file. In a work tree in which it is new: the last of all."""
    added = _git("log", "--diff-filter=A", "--format=%H", "--", migration).split()
    commit = f"{added[-1].decode()}^" if added else "HEAD"
    if added and _git("rev-parse", "--is-shallow-repository").strip() == b"true":
        parents = _git("rev-list", "--parents", "-1", added[-1].decode()).split()
        assert len(parents) > 1, (
            "This clone is shallow: the code of the release before is not in it, so nobody can see"
            " whether it works on the new schema. Fetch the history: git fetch --unshallow"
        )
    return commit


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(  # as developers and CI have it
            ["git", "-C", str(ROOT), *arguments],  # noqa: S607
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise AssertionError(
            "The code of the release before is taken from git's history, and git says: "
            f"{said.decode().strip()}. Run this test in a clone, with git."
        ) from None
    return done.stdout
