"""JSON merge patches: https://www.rfc-editor.org/rfc/rfc7396."""

from collections.abc import Mapping
from typing import cast


def merged(target: object, patch: object, *, keep_null: bool = False) -> object:
    """Section 2 of the RFC: null removes; lists, and all else that is no object, are replaced.

    `keep_null`: null stays where it is given, for who knows what it means there.
    """
    if not isinstance(patch, Mapping):
        return patch
    whole = dict(cast("Mapping[str, object]", target)) if isinstance(target, Mapping) else {}
    for name, value in cast("Mapping[str, object]", patch).items():
        if value is None and not keep_null:
            whole.pop(name, None)
        else:
            whole[name] = merged(whole.get(name), value, keep_null=keep_null)
    return whole
