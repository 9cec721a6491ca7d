"""What is wrong between the entries of a file: the same id twice, a name that leads elsewhere.

Works on what was written, whether or not each entry is right by itself, so that all that is wrong
can be said at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

from textback.core import optout
from textback.core.errors import ProvisioningError
from textback.core.plan import Path
from textback.provisioning_file.yaml_lines import Tree, shown


def between_entries(tree: Tree) -> list[ProvisioningError]:
    return [
        *_twice(tree, "id", "accounts"),
        *_twice(tree, "id", "accounts", "carriers"),
        *_twice(tree, "id", "accounts", "agents"),
        *_twice(tree, "id", "accounts", "projects"),
        *_twice(tree, "id", "accounts", "projects", "connectors"),
        *_twice(tree, "number", "accounts", "projects", "numbers"),
        *_twice(tree, "account_sid", "accounts", "carriers"),
        *_twice(tree, "key", "accounts", "api_keys"),
        *_twice(tree, "name", "accounts", "api_keys", within=_account),
        *_twice(tree, "id", "accounts", "key_pairs"),
        *_twice(tree, "name", "accounts", "key_pairs", within=_account),
        *_keys_and_pairs(tree),
        *_twice(tree, "client_id", "accounts", "jwt_apps"),
        *_same(tree, "id", [("accounts", "webhooks"), ("accounts", "projects", "webhooks")]),
        *_elsewhere(tree, "agent_template", (), "agents"),
        *_elsewhere(tree, "agent", ("projects",), "agents"),
        *_elsewhere(tree, "agent", ("projects", "numbers"), "agents"),
        *_elsewhere(tree, "carrier", ("projects", "numbers"), "carriers"),
        *_words(tree),
    ]


def entries(
    value: object, *names: str, path: Path = ()
) -> Iterator[tuple[Path, dict[str, object]]]:
    """The entries of nested lists, as far as they have that shape: `entries(v, "accounts")`."""
    if not isinstance(value, dict):
        return
    fields = cast("dict[str, object]", value)
    if not names:
        yield path, fields
        return
    inner = fields.get(names[0])
    for place, entry in enumerate(cast("list[object]", inner) if isinstance(inner, list) else []):
        yield from entries(entry, *names[1:], path=(*path, names[0], place))


def _nothing(_path: Path) -> Path:
    return ()


def _account(path: Path) -> Path:
    return path[:2]


def _twice(
    tree: Tree, field: str, *names: str, within: Callable[[Path], Path] = _nothing
) -> Iterator[ProvisioningError]:
    return _same(tree, field, [names], within=within)


def _keys_and_pairs(tree: Tree) -> Iterator[ProvisioningError]:
    """Both are keys, and of an account's keys no two have the same name."""
    named = {
        (path[:2], str(entry.get("name"))): path
        for path, entry in entries(tree.value, "accounts", "api_keys")
    }
    for path, pair in entries(tree.value, "accounts", "key_pairs"):
        name = pair.get("name") or pair.get("id")
        if (before := named.get((path[:2], str(name)))) is not None:
            line = tree.line((*before, "name"))
            yield ProvisioningError(
                (*path, "name"), f"is the same as in {shown(before)} (line {line})"
            )


def _same(
    tree: Tree,
    field: str,
    lists: Sequence[tuple[str, ...]],
    *,
    within: Callable[[Path], Path] = _nothing,
) -> Iterator[ProvisioningError]:
    first: dict[tuple[Path, str], Path] = {}
    found = (each for names in lists for each in entries(tree.value, *names))
    for path, entry in found:
        value = entry.get(field)
        if not isinstance(value, str) or not value:
            continue
        before = first.setdefault((within(path), value), path)
        if before != path:
            line = tree.line((*before, field))
            yield ProvisioningError(
                (*path, field), f"is the same as in {shown(before)} (line {line})"
            )


def _elsewhere(
    tree: Tree, field: str, users: tuple[str, ...], kind: str
) -> Iterator[ProvisioningError]:
    """References into another account. What the file has nowhere may be in the database."""
    owners: dict[object, list[Path]] = {}
    for path, entry in entries(tree.value, "accounts", kind):
        if isinstance(identifier := entry.get("id"), str):
            owners.setdefault(identifier, []).append(path)
    for path, entry in entries(tree.value, "accounts", *users):
        name = entry.get(field)
        found = owners.get(name, []) if isinstance(name, str) else []
        if found and all(_account(path) != _account(owner) for owner in found):
            line = tree.line(found[0])
            yield ProvisioningError(
                (*path, field), f'"{name}" belongs to another account (line {line})'
            )


def _words(tree: Tree) -> Iterator[ProvisioningError]:
    for path, project in entries(tree.value, "accounts", "projects"):
        for where, problem in meanings(project, path):
            yield ProvisioningError(where, problem)


def meanings(project: Mapping[str, object], path: Path) -> Iterator[tuple[Path, str]]:
    """A word means one thing; the usual words cannot be given another meaning."""
    usual = {"stop": optout.STOP, "start": optout.START | {optout.YES}, "help": optout.HELP}
    given = project.get("opt_out_words")
    if not isinstance(given, dict):
        return
    meaning: dict[str, str] = {word: kind for kind, words in usual.items() for word in words}
    for kind, words in cast("dict[str, object]", given).items():
        if kind not in usual or not isinstance(words, list):
            continue
        for place, word in enumerate(cast("list[object]", words)):
            if not isinstance(word, str):
                continue
            known = meaning.setdefault(optout.normal(word), kind)
            if known != kind:
                yield (*path, "opt_out_words", kind, place), f"means {known} already"
