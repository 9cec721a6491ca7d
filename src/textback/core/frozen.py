"""Dataclasses whose fields nobody sets again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(of: type[T], /) -> type[T]: ...
@overload
def frozen(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def frozen(
    of: type[T] | None = None, /, *, kw_only: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """A frozen dataclass for whoever checks types, which is everything we merge.

    Python does not hold anybody to it: a dataclass that is frozen for Python too sets its fields by
    a call each, which makes it three times as dear, and a text passes through some hundred fields
    (ADR 35).
    """
    make = dataclass(slots=True, kw_only=kw_only, unsafe_hash=True)
    return make if of is None else make(of)
