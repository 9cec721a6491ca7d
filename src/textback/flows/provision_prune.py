"""What `apply --prune` removes: what is the file's, and is not in it any more.

What an API made stays, unless what it is inside of goes: an account, a project.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from textback.db.provisioning import Key, Kind, Row, gone_column

_NEEDS: Final[tuple[tuple[Kind, str, Kind], ...]] = (
    ("project", "agent_id", "agent"),
    ("number", "agent_id", "agent"),
    ("number", "carrier_id", "carrier"),
    ("account", "agent_template", "agent"),
)
_INSIDE_OF: Final[tuple[tuple[str, Kind], ...]] = (
    ("account_id", "account"),
    ("project_id", "project"),
)


def pruned(
    there: Mapping[Kind, Mapping[Key, Row]], named: Mapping[Kind, AbstractSet[Key]]
) -> tuple[dict[Kind, dict[Key, Row]], list[str]]:
    """What goes; and sentences about what would go, but that what stays needs it."""
    gone: dict[Kind, dict[Key, Row]] = {}
    for kind, rows in there.items():
        gone[kind] = {
            key: row
            for key, row in rows.items()
            if key not in named[kind]
            and row[gone_column(kind)] is None
            and (row["source"] == "file" or _is_inside(row, gone))
        }
    return gone, list(_needed(there, named, gone))


def _is_inside(row: Row, gone: Mapping[Kind, Mapping[Key, Row]]) -> bool:
    return any((row.get(column),) in gone.get(kind, {}) for column, kind in _INSIDE_OF)


def _needed(
    there: Mapping[Kind, Mapping[Key, Row]],
    named: Mapping[Kind, AbstractSet[Key]],
    gone: Mapping[Kind, Mapping[Key, Row]],
) -> Iterator[str]:
    for user, column, kind in _NEEDS:
        for key, row in there[user].items():
            stays = key not in named[user] and key not in gone[user]
            if stays and row["removed_at"] is None and (row[column],) in gone[kind]:
                yield (
                    f'--prune would remove {kind} "{row[column]}", which {user} "{key[0]}" needs:'
                    " that was made through the API; remove it there first, or name the"
                    f" {kind} in the file"
                )
