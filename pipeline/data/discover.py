"""Paths and URLs of a data set: made absolute, joined to a manifest's folder, globs expanded."""

from __future__ import annotations

import glob
import itertools
import os
import posixpath
import re

from pipeline.io.browse import find_matches
from pipeline.io.objects import local_path

_BRACES = re.compile(r"\{([^{}]*(?:\.\.|,)[^{}]*)\}")
_NUMBERS = re.compile(r"(\d+)\.\.(\d+)")


def absolute(uri: str) -> str:
    """A local path made absolute, as plain path; any other URL as it is."""
    path = local_path(uri)
    return uri if path is None else os.path.abspath(path.expanduser())  # noqa: PTH100 - keeps links


def join_relative(folder: str, name: str) -> str:
    """``name`` seen from ``folder``; a URL or an absolute path stays itself."""
    if "://" in name:
        return absolute(name)
    scheme, mark, path = folder.rpartition("://")
    if name.startswith("/") and not mark:
        return posixpath.normpath(name)
    return scheme + mark + posixpath.normpath(f"{path}/{name}")


def expand(uri: str) -> list[str]:
    """The locations that a glob or a brace expansion stands for.

    ``{0000..0010}`` counts with its leading zeros, ``{a,b}`` lists; then ``*``, ``?`` and
    ``[...]`` match, in sorted order. A URL of http(s) knows braces only.

    Returns:
        Locations that exist where a glob gave them, unchecked where only braces did.
    """
    expanded: list[str] = []
    for url in _braces(uri):
        if not glob.has_magic(url) or url.startswith(("http://", "https://")):
            expanded.append(url)
        else:
            expanded += find_matches(url)
    return expanded


def _braces(text: str) -> list[str]:
    match = _BRACES.search(text)
    if match is None:
        return [text]
    if numbers := _NUMBERS.fullmatch(match[1]):
        first, last = numbers.groups()
        choices = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    tails = _braces(text[match.end() :])
    return [text[: match.start()] + a + b for a, b in itertools.product(choices, tails)]
