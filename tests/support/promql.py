"""What is wrong with a query of Prometheus', going by the metrics that there are."""

import promql_parser as promql

from tests.support.metrics import series


def faults(query: str) -> list[str]:
    """Raises ValueError, if it is no query at all."""
    known, found = series(), list[str]()

    def look(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            name = node.name or ""
            labels = known.get(name, frozenset())
            if name not in known:
                found.append(f"there is no metric {name}")
            found.extend(
                f"{name} has no label {each.name}"
                for each in node.matchers.matchers
                if each.name not in labels and name in known
            )
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found.extend(
                f"none of what is summed up has the label {label}"
                for label in set(node.modifier.labels) - _labels(node.expr, known)
            )

    promql.walk(promql.parse(query), look)
    return found


def _labels(query: promql.Expr, known: dict[str, frozenset[str]]) -> set[str]:
    found = set[str]()

    def look(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            found.update(known.get(node.name or "", frozenset()))

    promql.walk(query, look)
    return found
