"""Choose layers by shell-style globs over their names; needs no model."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from schemas.errors import LayerError, nearest
from schemas.specs import LayerSelection


def match_layers(
    names: Sequence[str],
    selection: LayerSelection,
    *,
    missing: str,
    default: Collection[str] | None = None,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The names that a selection takes, in the order given.

    Args:
        names: of the layers to choose from.
        selection: globs to include and exclude.
        missing: the clause of the message for a glob without a match ("matches no scanned layer").
        default: what is included where the selection includes nothing by name; None: all names.
        refused: names that can never be chosen, and why; a glob that matches only such says so.

    Raises:
        LayerError: a glob matches nothing, or nothing is left.
    """
    for glob in (*selection.include, *selection.exclude):
        if fnmatch.filter(names, glob):
            continue
        unscannable = next((name for name in refused if fnmatch.fnmatch(name, glob)), None)
        hint = (
            nearest(glob, names)
            if unscannable is None
            else f"{unscannable} cannot be scanned: {refused[unscannable]}"
        )
        raise LayerError(f"layers: {glob!r} {missing}; {hint}")
    unnamed = set(names if default is None else default)
    included = _matched(names, selection.include) if selection.include else unnamed
    chosen = included - _matched(names, selection.exclude)
    if not chosen:
        raise LayerError("layers: the selection leaves no layer; widen include or drop exclude")
    return [name for name in names if name in chosen]


def _matched(names: Sequence[str], globs: Sequence[str]) -> set[str]:
    return {name for glob in globs for name in names if fnmatch.fnmatchcase(name, glob)}
