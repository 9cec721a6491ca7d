"""Every metric that there is, as Prometheus knows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

from prometheus_client import Counter, Gauge, Histogram

from textback import metrics
from textback.exposition import STANDING

TARGET: Final = frozenset({"job", "instance"})
"""Labels that Prometheus adds to whatever it scrapes."""

OTHERS: Final = {
    "up": frozenset[str](),
    "process_cpu_seconds_total": frozenset[str](),
    "process_resident_memory_bytes": frozenset[str](),
}
"""What Prometheus and its client have by themselves."""


@dataclass(frozen=True, slots=True)
class Declared:
    name: str
    """As it is exposed: a counter's with `_total`."""
    type: str
    labels: tuple[str, ...]
    says: str


def declared() -> list[Declared]:
    """In the order of the code; then what is read when somebody asks."""
    return [*_counted(), *(Declared(n, "gauge", ls, said) for n, (said, ls) in STANDING.items())]


def _counted() -> Iterator[Declared]:
    for each in vars(metrics).values():
        if isinstance(each, Counter | Gauge | Histogram):
            (family,) = each.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = cast("tuple[str, ...]", getattr(each, "_labelnames"))  # noqa: B009
            yield Declared(name, family.type, labels, family.documentation)


def series() -> dict[str, frozenset[str]]:
    """Every name that a query may use, with the labels it may have."""
    found = {name: labels | TARGET for name, labels in OTHERS.items()}
    for each in declared():
        labels = TARGET | set(each.labels)
        if each.type == "histogram":
            found |= {f"{each.name}_{part}": labels for part in ("sum", "count")}
            found[f"{each.name}_bucket"] = labels | {"le"}
        else:
            found[each.name] = labels
    return found
