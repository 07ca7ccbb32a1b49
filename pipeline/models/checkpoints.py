"""Checkpoints of one network's training: which files, in which order, and what each is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.data.discover import absolute, expand
from schemas.errors import ModelError, SpecError
from schemas.secrets import mask
from schemas.values import weights_file

_NUMBER = re.compile(r"(\d+)")
_ENDING = re.compile(r"\.[A-Za-z]+$")


@dataclass(frozen=True)
class Checkpoint:
    """A weights file.

    Attributes:
        name: unique among the checkpoints: the file's name without its ending, and as many folders
            before it as tell it apart.
        url: where it is, a path or URL.
    """

    name: str
    url: str


def find_checkpoints(places: Sequence[str]) -> tuple[Checkpoint, ...]:
    """The files that some places name.

    Args:
        places: paths, URLs, globs or braces (`pipeline.data.discover.expand`), in their order.

    Returns:
        At least two, in the order of the places; what one matches in natural order, that is with
        numbers by their value: ``epoch2`` before ``epoch10``.

    Raises:
        ModelError: a place matches nothing, or names no file.
        SpecError: fewer than two are found, or one stands twice.
    """
    urls: list[str] = []
    for place in places:
        if weights_file(place) is None:
            raise ModelError(f"checkpoints: {place!r} names no file; give a weights file or a glob")
        found = [absolute(url) for url in expand(place)]
        if not found:
            raise ModelError(
                f"checkpoints: {mask(place)!r} matches no file; give weights files, or a glob over "
                "them ('weights/epoch*.safetensors', in quotes so that the shell leaves it alone)"
            )
        urls += sorted(found, key=natural_key)
    if twice := [url for url in urls if urls.count(url) > 1]:
        raise SpecError(f"checkpoints: {mask(twice[0])} is named twice; give each once")
    if len(urls) < 2:
        raise SpecError(
            f"checkpoints: {mask(urls[0])} is the only one, and nothing changes in one; give two "
            "or more"
        )
    return tuple(map(Checkpoint, _names(urls), urls))


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sorts texts with the numbers in them by their value."""
    parts = _NUMBER.split(text)
    return [(int(part) if place % 2 else 0, part) for place, part in enumerate(parts)]


def _names(urls: list[str]) -> list[str]:
    """The shortest endings of the paths that differ, without what all end with."""
    stems = [_ENDING.sub("", url) for url in urls]
    paths = [stem.split("/") for stem in (stems if len(set(stems)) == len(urls) else urls)]
    while all(paths) and len({path[-1] for path in paths}) == 1:
        paths = [path[:-1] for path in paths]
    for steps in range(1, max(map(len, paths)) + 1):
        names = [_safe("-".join(filter(None, path[-steps:]))) for path in paths]
        if all(names) and len(set(names)) == len(names):
            return names
    raise SpecError(
        f"checkpoints: {mask(urls[0])} and others have names that differ in special characters "
        "only; rename the files"
    )


def _safe(name: str) -> str:
    """What a file system or a URL could misread becomes ``_``; never hidden, at most 120 long."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".")[-120:]
