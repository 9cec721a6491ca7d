"""What is wrong with a query of Prometheus', or with the words of an alert, going by our code."""

import ast
import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast, get_args

import promql_parser as promql
import yaml

from tests.support.api import settings
from tests.support.metrics import TARGET, declared, series
from tests.support.routes import routes
from textback import exposition, metrics, wiring
from textback.api import hooks, measured
from textback.carriers import chat
from textback.core import turn
from textback.core.errors import Refusal
from textback.core.plan import CarrierKind
from textback.db import watch
from textback.flows import analyse, deliver, heard, opening_due, receipt, send
from textback.settings import DIALECTS

Values = frozenset[str]

OPEN: Final = frozenset(
    {
        ("", "code"),  # the carrier's
        ("", "engine"),  # a class' name
        ("", "instance"),
        ("", "le"),
        ("", "version"),
        ("textback_engine_errors_total", "kind"),  # the words of several functions
        ("textback_forgotten_total", "what"),
        ("textback_webhook_endpoints", "state"),  # a query's columns
    }
)
"""Metrics (or any) and their labels, whose values are not compared with anything."""

_SOURCES: Final = Path(metrics.__file__).parent
_SCRAPES: Final = Path("deploy/prometheus/prometheus.yml")


# --- Queries -------------------------------------------------------------------------------------


def faults(query: str) -> list[str]:
    """Raises ValueError, if it is no query at all."""
    known, found = series(), list[str]()

    def look(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            name = node.name or ""
            if name not in known:
                found.append(f"there is no metric {name}")
                return
            for each in node.matchers.matchers:
                if each.name not in known[name]:
                    found.append(f"{name} has no label {each.name}")
                else:
                    found.extend(_never(name, each))
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found.extend(
                f"none of what is summed up has the label {label}"
                for label in set(node.modifier.labels) - _labels(node.expr)
            )

    promql.walk(promql.parse(query), look)
    return found


def labels(query: str) -> frozenset[str]:
    """Those that every series of its result has."""
    return _labels(promql.parse(query))


def _labels(node: promql.Expr) -> frozenset[str]:  # noqa: PLR0911
    match node:
        case promql.VectorSelector():
            return series().get(node.name or "", frozenset())
        case promql.MatrixSelector():
            return _labels(node.vector_selector)
        case promql.AggregateExpr():
            inner, by = _labels(node.expr), node.modifier
            if by is None:
                return inner if str(node.op) in {"topk", "bottomk"} else frozenset()
            named = frozenset(by.labels)
            return inner & named if by.type == promql.AggModifierType.By else inner - named
        case promql.Call():
            return _labels_of_call(node)
        case promql.BinaryExpr():
            return _labels_of_both(node)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr)
        case _:
            return frozenset()


def _labels_of_call(node: promql.Call) -> frozenset[str]:
    name, given = node.func.name, cast("list[promql.Expr]", node.args)
    if name in {"label_replace", "label_join"}:
        raise ValueError(f"nobody knows the labels that {name} makes")
    if name == "absent":  # says what it looked for
        matchers = given[0].matchers.matchers if isinstance(given[0], promql.VectorSelector) else []
        return frozenset(each.name for each in matchers if each.op == promql.MatchOp.Equal)
    found = frozenset[str]().union(*(_labels(each) for each in given))
    return found - {"le"} if name == "histogram_quantile" else found


def _labels_of_both(node: promql.BinaryExpr) -> frozenset[str]:
    left, right = _labels(node.lhs), _labels(node.rhs)
    if isinstance(node.lhs, promql.NumberLiteral):
        return right
    if str(node.op) == "or":
        return left & right
    how = node.modifier
    if how is None or how.matching is None or str(node.op) in {"and", "unless"}:
        return left
    if how.group_labels is not None:
        raise ValueError("nobody knows the labels that group_left and group_right leave")
    named = frozenset(how.matching.labels)
    return left & named if how.matching.type == promql.LabelModifierType.Include else left - named


# --- The values of labels ------------------------------------------------------------------------


def _never(name: str, matcher: promql.Matcher) -> Iterator[str]:
    """What a matcher names and no series has."""
    known = values().get((_family(name), matcher.name))
    if known is None:
        return
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):  # no hash
        if matcher.value not in known:
            yield f'{name} has never {matcher.name}="{matcher.value}"'
        return
    for each in branches(matcher.value):
        if not any(re.fullmatch(each, value) for value in known):
            yield f'{name} has never {matcher.name}=~"{each}"'


def branches(pattern: str) -> list[str]:
    """`a(b|c)` as `ab` and `ac`. Raises ValueError for what is not taken apart so easily."""
    group = re.search(r"\(([^()?]*)\)(?![*+?{])", pattern)
    if group is not None:
        before, after = pattern[: group.start()], pattern[group.end() :]
        return [b for each in group[1].split("|") for b in branches(before + each + after)]
    if re.search(r"[][()\\]", pattern):
        raise ValueError(f"nobody knows the alternatives of {pattern}")
    return pattern.split("|")


@cache
def values() -> Mapping[tuple[str, str], Values]:
    """By metric (without `_bucket` and the like) and label, for all that are not OPEN."""
    found: dict[tuple[str, str], Iterable[str]] = {
        **_of_requests(),
        **_of_work(),
        **_counted_from_the_start(),
        **_standing(),
    }
    config: dict[str, Any] = yaml.safe_load(_SCRAPES.read_text())
    jobs = frozenset[str](each["job_name"] for each in config["scrape_configs"])
    names = {*map(_family, series())}
    return {(n, "job"): jobs for n in names} | {at: Values(each) for at, each in found.items()}


def _of_requests() -> dict[tuple[str, str], Iterable[str]]:
    here: Mapping[str, str] = getattr(measured, "_HERE")  # noqa: B009
    named = getattr(metrics, "_reason")  # noqa: B009
    http, came = "textback_http_request_seconds", set[str]()
    for outcomes in (heard.Outcome, receipt.Outcome):
        came.update(get_args(outcomes))
    return {
        (http, "dialect"): {*DIALECTS, *here.values(), measured.NOBODY},
        (http, "route"): {*(r.path for r in routes() if hasattr(r, "path")), measured.NOBODY},
        (http, "method"): {*measured.METHODS, metrics.OTHER},
        (http, "status"): {*(f"{each // 100}xx" for each in HTTPStatus), *_said("HTTP")},
        **{
            (f"textback_{what}_total", "dialect"): DIALECTS
            for what in ("accepted", "replayed", "refused", "batches")
        },
        ("textback_refused_total", "reason"): {named(each) for each in _kinds_of(Refusal)},
        ("textback_hooks_total", "carrier"): wiring.HOOKS,
        ("textback_hooks_total", "kind"): get_args(hooks.Kind),
        ("textback_hooks_total", "outcome"): came | _said("HOOKS") | _answers(hooks.__file__),
    }


def _of_work() -> dict[tuple[str, str], Iterable[str]]:
    """Of what workers do: the types of what they record, and words where they count."""
    sent = _answers(send.__file__, "word")
    ended = {*get_args(turn.Outcome), *get_args(get_args(turn.Recorded)[-1])}
    return {
        ("textback_sends_total", "outcome"): sent,
        ("textback_look_ups_total", "outcome"): sent,
        ("textback_carrier_seconds", "outcome"): sent,
        ("textback_carrier_seconds", "carrier"): {*get_args(CarrierKind), chat.KIND},
        ("textback_sweeps_total", "outcome"): _said("SWEEPS"),
        ("textback_plans_total", "outcome"): get_args(opening_due.Outcome),
        ("textback_turns_total", "outcome"): ended | _said("TURNS"),
        ("textback_analyses_total", "outcome"): {*get_args(analyse.Outcome), *_said("ANALYSES")},
        ("textback_tokens_total", "direction"): _said("TOKENS"),
        ("textback_tool_calls_total", "outcome"): _said("TOOL_CALLS"),
        ("textback_webhooks_total", "outcome"): get_args(deliver.Came),
        ("textback_group_size", "group"): _said("GROUP"),
    }


def _counted_from_the_start() -> dict[tuple[str, str], Iterable[str]]:
    """Counters of which metrics.py makes every series as it is loaded."""
    all_made = {
        metrics.MESSAGES: "state",
        metrics.CONVERSATIONS: "state",
        metrics.OPT_OUTS: "change",
        metrics.SUPPRESSED: "reason",
        metrics.RESCUED: "queue",
    }
    return {
        (f"{family.name}_total", label): {sample.labels[label] for sample in family.samples}
        for counter, label in all_made.items()
        for family in counter.collect()
    }


def _standing() -> dict[tuple[str, str], Iterable[str]]:
    nothing = watch.Queues(
        looked_up=0,
        unsettled=0,
        oldest=dict.fromkeys(watch.QUEUES),
        lengths=dict.fromkeys(watch.QUEUES, 0),
        endpoints={},
        swept_until=None,
    )
    told = getattr(exposition, "_values")  # noqa: B009
    found: dict[str, dict[str, float]] = told(nothing, now=datetime.now(UTC))  # noqa: TID251
    return {
        (name, label): found[name] if name in found else asyncio.run(_stores())
        for name, (_, names) in exposition.STANDING.items()
        for label in names
        if (name, label) not in OPEN
    }


async def _stores() -> set[str]:
    """Nothing answers there, and it is told of each."""
    nowhere = settings("postgresql://nobody@127.0.0.1:9/textback", "redis://127.0.0.1:9")
    families = await exposition.Standing(wiring.runtime(nowhere)).families()
    return {sample.labels["store"] for family in families for sample in family.samples}


def _said(counter: str) -> set[str]:
    """Words with which it is counted: `metrics.COUNTER.labels("word")`."""
    wanted = f"metrics.{counter}.labels"
    return {
        word
        for path in _SOURCES.rglob("*.py")
        if wanted in (source := path.read_text())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == wanted
        for given in (*node.args, *(each.value for each in node.keywords))
        for word in _words(given)
    }


def _answers(path: str, function: str | None = None) -> set[str]:
    """Words that functions there return as they are."""
    top: ast.AST = ast.parse(Path(path).read_text())
    if function is not None:
        top = next(
            node
            for node in ast.walk(top)
            if isinstance(node, ast.FunctionDef) and node.name == function
        )
    returned = (node.value for node in ast.walk(top) if isinstance(node, ast.Return))
    return {word for value in returned if value is not None for word in _words(value)}


def _words(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(word)):
            yield word
        case ast.IfExp():
            yield from (*_words(value.body), *_words(value.orelse))
        case ast.BoolOp():
            yield from (word for each in value.values for word in _words(each))
        case _:
            pass


def _kinds_of(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds_of(each)


def _family(name: str) -> str:
    for each in declared():
        if each.type == "histogram" and name.removeprefix(each.name) in {
            "_bucket",
            "_sum",
            "_count",
        }:
            return each.name
    return name


def unsettled() -> list[tuple[str, str]]:
    """Labels of which neither the values are known nor that they are open; or both."""
    return [
        (each.name, label)
        for each in declared()
        for label in {*each.labels, *TARGET}
        if ((each.name, label) in values()) == bool(OPEN & {("", label), (each.name, label)})
    ]


# --- The words of alerts -------------------------------------------------------------------------

_FUNCTION: Final = re.compile(
    # Prometheus' own, as of 2.45:
    r"args|externalURL|first|graphLink|humanize(1024|Duration|Percentage|Timestamp)?|label|match"
    r"|parseDuration|pathPrefix|query|reReplaceAll|safeHtml|sortByLabel|strip(Domain|Port)|strvalue"
    r"|tableLink|title|to(Lower|Time|Upper)|value"
    # Go's:
    r"|and|eq|ge|gt|html|index|js|le|len|lt|ne|not|or|print(f|ln)?|slice|urlquery"
)
_NEEDS_NOTHING: Final = {"externalURL", "pathPrefix"}
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\$?[A-Za-z_][\w.]*|\d+(?:\.\d+)?|\||\S')


def faults_of_words(template: str, labels: frozenset[str]) -> list[str]:
    """Of an annotation, in an alert whose result has those labels. Pipelines, and no `if`."""
    found = list[str]()
    for action in re.findall(r"\{\{(.*?)\}\}", template):
        commands = [list[str]()]
        for token in _TOKEN.findall(action):
            if token == "|":
                commands.append([])
            else:
                commands[-1].append(token)
        for at, command in enumerate(commands):
            found.extend(_faults_of_command(command, labels, is_first=at == 0))
    if re.search(r"[{}]", re.sub(r"\{\{.*?\}\}", "", template)):
        found.append("a brace has no other")
    return found


def _faults_of_command(
    words: list[str], labels: frozenset[str], *, is_first: bool
) -> Iterator[str]:
    if not words:
        yield "there is nothing to put in"
        return
    head, *rest = words
    if re.match(r"[A-Za-z_]", head):
        if _FUNCTION.fullmatch(head) is None:
            yield f"there is no function {head}"
        elif is_first and not rest and head not in _NEEDS_NOTHING:
            yield f"{head} is given nothing"
    else:
        if rest or not is_first:
            yield f"{head} is no function"
        rest = words
    for word in rest:
        if word.startswith("$labels."):
            if (label := word.removeprefix("$labels.")) not in labels:
                yield f"the result has no label {label}"
        elif word != "$value" and not re.match(r'["\d]', word):
            yield f"there is no {word}"
