"""YAML text -> plain values, each with the line it stands on, and `${NAME}` taken from outside.

What is understood: YAML 1.1 as PyYAML's safe loader reads it (aliases and `<<` too), without tags
of one's own. No message quotes a value of the file: it may be a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import Reader

from textback.core.plan import Path

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 50
MAX_VALUES: Final = 100_000
"""After aliases were followed: a few nested ones can stand for millions of values."""

SECRETS: Final = frozenset({"key", "auth_token", "secret", "api_key", "token", "webhook_secret"})
"""Fields whose values are never shown."""

# The C parser where PyYAML was built with it: ten times as fast.
_LOADER = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))

_TAG = "tag:yaml.org,2002:"
_TEXT = {_TAG + name for name in ("str", "timestamp", "value")}  # dates are read by who wants one
_PLAIN = {_TAG + name for name in ("int", "float", "bool", "null")}
_MERGE = _TAG + "merge"
_COLLECTION = {_TAG + "map", _TAG + "seq"}

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|(\$\{)")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_STORED = "has a character that cannot be stored (NUL, or half a surrogate pair)"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to change in the file. `path` as `shown` writes it; empty: the file as a whole."""

    line: int
    path: str
    problem: str


@dataclass(slots=True)
class Tree:
    """What the file says. Where it could not be read `value` has None, and `bad` the path."""

    value: object = None
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    key_lines: dict[Path, int] = field(default_factory=dict[Path, int])
    variables: dict[Path, list[str]] = field(default_factory=dict[Path, list[str]])
    """Names of the environment variables that a text was made with."""
    bad: set[Path] = field(default_factory=set[Path])
    problems: list[Problem] = field(default_factory=list[Problem])

    def line(self, path: Path, *, of_key: bool = False) -> int:
        """Where it stands; for what is missing, where the entry begins that misses it."""
        if of_key and path in self.key_lines:
            return self.key_lines[path]
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def is_bad(self, path: Path) -> bool:
        """Whether it, or what it stands in, has been complained about already."""
        return any(path[:length] in self.bad for length in range(len(path) + 1))


def shown(path: Path) -> str:
    """`("accounts", 0, "name")` -> `accounts[0].name`; nothing of what is inside a secret."""
    said = ""
    for step in path:
        said += f"[{step}]" if isinstance(step, int) else f".{step}"
        if step in SECRETS:
            break
    return said.removeprefix(".")


def read(source: bytes, environment: Mapping[str, str]) -> Tree:
    """Never raises: what is wrong is in `problems`."""
    tree = Tree()
    text = _decoded(source, tree)
    if text is None:
        return tree
    try:
        root = _composed(text)
    except yaml.MarkedYAMLError as error:
        tree.problems.append(_syntax(error))
        return tree
    except _TooMuchError as error:
        tree.problems.append(Problem(error.line, "", str(error)))
        return tree
    if root is None:
        tree.problems.append(Problem(1, "", "the file is empty; it needs a list of accounts"))
        return tree
    try:
        tree.value = _Walk(tree, environment).value(root, ())
    except _TooMuchError as error:
        tree.problems.append(Problem(error.line, "", str(error)))
    return tree


class _TooMuchError(Exception):
    def __init__(self, node: Node | yaml.Event, what: str) -> None:
        super().__init__(what)
        self.line = _line(node)


def _decoded(source: bytes, tree: Tree) -> str | None:
    if len(source) > MAX_BYTES:
        tree.problems.append(Problem(1, "", f"the file is over {MAX_BYTES} bytes"))
        return None
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        tree.problems.append(Problem(line, "", "the file is not UTF-8 text"))
        return None
    if (found := Reader.NON_PRINTABLE.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        tree.problems.append(Problem(line, "", "there is a control character"))
        return None
    return text


def _composed(text: str) -> Node | None:
    """Raises MarkedYAMLError, and _TooMuchError before the composer goes deep."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _TooMuchError(event, f"nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return yaml.compose(text, Loader=_LOADER)


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    said = str(error.problem or "")
    if "undefined alias" in said:
        return Problem(line, "", "an alias that nothing defines; quote text that starts with *")
    if "tag" in said:
        return Problem(line, "", "a tag that nothing defines; quote text that starts with !")
    if "another document" in said:
        return Problem(line, "", "more than one document; put everything into the first")
    # What PyYAML quotes beside its own words may be part of a secret.
    said = re.sub(r"'(?!<)[^']{2,}'", "something", said)
    return Problem(line, "", f"this is not YAML: {said}")


def _line(node: Node | yaml.Event) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


class _Walk:
    """From nodes to values, following aliases."""

    def __init__(self, tree: Tree, environment: Mapping[str, str]) -> None:
        self._tree = tree
        self._environment = environment
        self._left = MAX_VALUES
        self._plain = SafeConstructor()

    def value(self, node: Node, path: Path) -> object:
        self._spend(node)
        if len(path) > MAX_DEPTH:
            raise _TooMuchError(node, f"nested more than {MAX_DEPTH} deep, or an alias in itself")
        self._tree.lines[path] = _line(node)
        match node:
            case ScalarNode():
                return self._scalar(node, path)
            case SequenceNode(tag=tag) if tag in _COLLECTION:
                return [self.value(item, (*path, i)) for i, item in enumerate(_items(node))]
            case MappingNode(tag=tag) if tag in _COLLECTION:
                return {
                    name: self._field(key, value, (*path, name))
                    for name, (key, value) in self._fields(node, path, depth=0).items()
                }
            case _:
                return self._no_tags(node, path)

    def _field(self, key: Node, value: Node, path: Path) -> object:
        self._tree.key_lines[path] = _line(key)
        return self.value(value, path)

    def _fields(self, node: MappingNode, path: Path, *, depth: int) -> dict[str, tuple[Node, Node]]:
        """By name; its own before those it takes over with `<<`."""
        found: dict[str, tuple[Node, Node]] = {}
        inherited: list[Node] = []
        for key, value in _pairs(node):
            self._spend(key)
            if key.tag == _MERGE:
                inherited += _items(value) if isinstance(value, SequenceNode) else [value]
            elif not isinstance(key, ScalarNode) or key.tag not in _TEXT:
                self._note(key, path, "a field's name must be text; put quotes around it")
            elif _UNSTORABLE.search(cast("str", key.value)):
                self._note(key, path, f"a field's name {_NOT_STORED}")
            elif (name := cast("str", key.value)) in found:
                first = _line(found[name][0])
                self._note(key, (*path, name), f"is there twice; first in line {first}")
            else:
                found[name] = (key, value)
        for parent in inherited:
            if not isinstance(parent, MappingNode):
                self._note(parent, path, "<< takes fields from a mapping, or a list of them")
            elif depth >= MAX_DEPTH:
                raise _TooMuchError(parent, "a << takes over itself")
            else:
                for name, pair in self._fields(parent, path, depth=depth + 1).items():
                    found.setdefault(name, pair)
        return found

    def _scalar(self, node: ScalarNode, path: Path) -> object:
        if node.tag in _TEXT:
            return self._text(node, path)
        if node.tag not in _PLAIN:
            return self._no_tags(node, path)
        try:
            return cast("object", self._plain.construct_object(node))  # pyright: ignore[reportUnknownMemberType]
        except (ConstructorError, ValueError, KeyError, OverflowError):
            return self._complain(node, path, "cannot be read; put quotes around it if it is text")

    def _text(self, node: ScalarNode, path: Path) -> str | None:
        """`${NAME}` is replaced once: a value that holds another stays as it is."""
        wrong: list[str] = []

        def replaced(found: re.Match[str]) -> str:
            name = found[1]
            if found[2]:
                wrong.append("${ is not followed by NAME}; write $${ for the two characters")
            elif name is None:
                return "${"
            elif name not in self._environment:
                wrong.append(f"the environment variable {name} is not set")
            else:
                self._tree.variables.setdefault(path, []).append(name)
                return self._environment[name]
            return ""

        text = _VARIABLE.sub(replaced, cast("str", node.value))
        if _UNSTORABLE.search(text):
            wrong.append(_NOT_STORED)
        for problem in dict.fromkeys(wrong):
            self._complain(node, path, problem)
        return None if wrong else text

    def _no_tags(self, node: Node, path: Path) -> None:
        # A tag is not quoted either: `auth_token: !abc` was meant as text.
        self._complain(node, path, "has a tag; put quotes around text that starts with !")

    def _complain(self, node: Node, path: Path, problem: str) -> None:
        self._tree.bad.add(path)
        self._note(node, path, problem)

    def _note(self, node: Node, path: Path, problem: str) -> None:
        self._tree.problems.append(Problem(_line(node), shown(path), problem))

    def _spend(self, node: Node) -> None:
        self._left -= 1
        if self._left < 0:
            raise _TooMuchError(node, f"more than {MAX_VALUES} values, aliases followed")


def _items(node: SequenceNode) -> list[Node]:
    return cast("list[Node]", node.value)


def _pairs(node: MappingNode) -> list[tuple[Node, Node]]:
    return cast("list[tuple[Node, Node]]", node.value)
